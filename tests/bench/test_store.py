import math
import os
import random
import signal
import time
from collections import Counter

import optuna
import pytest
from optuna.exceptions import StorageInternalError
from optuna.trial import TrialState
from sqlalchemy import make_url

from tests.bench import contention
from tests.bench.contention import PARAMETERS, SHELF, SPACE, record
from thalweg.bench.store import LONGEST_NAME, Kept, Shelf, Store, _open
from thalweg.bench.work import Record
from thalweg.core.errors import StoreError
from thalweg.core.method import Choice
from thalweg.core.trace import Cost, Point, Trace


@pytest.fixture
def store(path):
    store = Store(str(path))
    yield store
    store.close()


def claim(store, key="a", shelf=SHELF, parameters=PARAMETERS, space=SPACE):
    return store.claim(shelf, key, parameters, space)


def test_a_record_comes_back_bit_for_bit(store):
    values = [0.1 + 0.2, 1e-300, -0.0, math.inf, -math.inf]
    points = [
        Point(Cost(i, 0.1 * i, 0.1, i, 2 * i, 3 * i, 10**10), {"a": value, "b/c": i / 7})
        for i, value in enumerate(values)
    ]
    points.append(Point(Cost(), {"only once": 1.0}))
    kept = Record(Trace(tuple(points)), "start", "Linux; a \x00 ü 🎉", 1e9 + 0.1, 2e9)
    store.finish(claim(store), kept, 1.0)
    found = store.find(SHELF)["a"]
    assert found == kept
    assert repr(found.trace) == repr(kept.trace)
    strange = Trace((Point(Cost(), {"a": math.nan}),))
    store.finish(claim(store, "nan"), Record(strange, "", "", 0.0, 0.0), -math.inf)
    assert math.isnan(store.find(SHELF)["nan"].trace.points[0].quality["a"])


def test_a_run_is_claimed_once(store, path):
    first = claim(store)
    other = Store(str(path))
    assert claim(other) is None
    assert claim(other, "b") is not None
    assert claim(other, shelf=Shelf("another", "lower")) is not None
    assert store.find(SHELF) == {}
    assert store.finish(first, record(), 1.0)
    assert claim(other) is None
    assert other.find(SHELF) == store.find(SHELF) == {"a": record()}
    other.close()


def test_a_failed_run_is_shown_and_can_be_claimed_again(store):
    failed = record(outcome="failed", error="Traceback: ...")
    assert store.finish(claim(store), failed, math.nan)
    assert store.find(SHELF) == {"a": failed}
    assert store.finish(claim(store), record(), 1.0)
    assert store.find(SHELF) == {"a": record()}


def test_a_diverged_run_is_complete(store):
    store.finish(claim(store), record(outcome="diverged"), -math.inf)
    assert claim(store) is None


@pytest.mark.usefixtures("impatient")
def test_a_claim_lives_as_long_as_its_program(store, path):
    claim(store)
    other = Store(str(path))
    until = time.monotonic() + 2.4  # twice the time after which it would count as lost
    while time.monotonic() < until:
        assert claim(other) is None
        time.sleep(0.05)
    other.close()


def test_a_lost_claim_is_taken_over_and_does_not_count_afterwards(store, path, monkeypatch):
    lost = claim(store)
    store._held.clear()  # no more signs of life
    other = Store(str(path))
    assert claim(other) is None
    monkeypatch.setattr("thalweg.bench.store.GRACE", 0.2)
    time.sleep(0.3)
    taken = claim(other)
    assert taken is not None
    assert not store.finish(lost, record(0.25), 0.25)
    assert other.finish(taken, record(0.75), 0.75)
    assert store.find(SHELF) == {"a": record(0.75)}
    other.close()


def test_the_older_of_two_claims_holds(store, path, monkeypatch):
    # Both look before either has claimed: the later one must notice and give way.
    other = Store(str(path))
    taken = other._is_taken

    def look_then_wait(shelf, key, before):
        answer = taken(shelf, key, before)
        if before is None:
            assert claim(store) is not None
        return answer

    monkeypatch.setattr(other, "_is_taken", look_then_wait)
    assert claim(other) is None
    assert other._held == set()
    other.close()


def test_closing_gives_up_claims_at_once(path):
    first, second = Store(str(path)), Store(str(path))
    assert claim(first) is not None
    first.close()
    assert claim(second) is not None
    second.close()
    open_files = [os.path.realpath(f"/proc/self/fd/{n}") for n in os.listdir("/proc/self/fd")]
    assert not [file for file in open_files if file.startswith(str(path))]


@pytest.mark.parametrize("moment", ["create_new_trial", "set_trial_user_attr"])
def test_closing_gives_up_claims_that_an_interrupt_cut_short(path, monkeypatch, moment):
    first, second = Store(str(path)), Store(str(path))
    act = getattr(first._storage, moment)

    def act_and_be_interrupted(*arguments):
        act(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(first._storage, moment, act_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        first.finish(claim(first), record(), 1.0)
    monkeypatch.undo()
    assert claim(second) is None
    first.close()
    stored = second.find(SHELF)
    assert stored == ({} if moment == "create_new_trial" else {"a": record()})
    assert claim(second) is not None
    second.close()


@pytest.mark.parametrize("times", [1, 2])
def test_an_interrupt_waits_for_the_database_a_second_one_does_not(store, monkeypatch, times):
    held = claim(store)
    act = store._storage.set_trial_state_values

    def be_interrupted_and_act(*arguments):
        for _ in range(times):
            signal.raise_signal(signal.SIGINT)
        act(*arguments)

    monkeypatch.setattr(store._storage, "set_trial_state_values", be_interrupted_and_act)
    handler = signal.getsignal(signal.SIGINT)
    with pytest.raises(KeyboardInterrupt):
        store.finish(held, record(), 1.0)
    monkeypatch.undo()
    assert signal.getsignal(signal.SIGINT) is handler
    state = store._storage.get_trial(held).state
    assert state == (TrialState.COMPLETE if times == 1 else TrialState.RUNNING)


def test_closing_does_not_wait_for_what_an_interrupt_cut_short(path):
    store = Store(str(path))
    claim(store)
    with store._storage.engine.connect() as cut_short:
        cut_short.exec_driver_sql("select * from trials").fetchone()  # holds a lock
        began = time.monotonic()
        store.close()
        assert time.monotonic() - began < 60
    other = Store(str(path))
    assert claim(other) is not None
    other.close()


def test_a_run_whose_program_died_while_storing_it_is_found(store):
    store._storage.set_trial_user_attr(claim(store), "record", record().to_dict())
    store._held.clear()
    assert store.find(SHELF) == {"a": record()}


@pytest.mark.usefixtures("impatient")
def test_signs_of_life_go_on_after_a_database_has_not_answered(path, monkeypatch):
    store = Store(str(path))
    write, failures = store._storage.set_trial_user_attr, iter(range(3))

    def stumble(*arguments):
        if next(failures, None) is not None:
            raise StorageInternalError
        write(*arguments)

    monkeypatch.setattr(store._storage, "set_trial_user_attr", stumble)
    claimed = claim(store)
    before = store._storage.get_trial_user_attrs(claimed)["alive"]
    time.sleep(0.8)
    assert next(failures, None) is None
    assert store._storage.get_trial_user_attrs(claimed)["alive"] > before
    store.close()


@pytest.mark.parametrize(
    "space",
    [
        {"m.lr": Choice((0.1, 0.2)), "m.betas": Choice(((0.9, 0.99), (0.5, 0.9)))},
        {"m.lr": SPACE["m.lr"]},
        {},
    ],
)
def test_tuned_values_are_shown_by_optunas_own_tools(store, space):
    store.finish(claim(store, space=space), record(), 0.5)
    study = optuna.load_study(study_name=SHELF.name, storage=store._storage)
    (row,) = study.get_trials()
    assert row.value == 0.5
    assert set(row.params) == set(space)
    assert row.params.get("m.betas", "(0.5, 0.9)") == "(0.5, 0.9)"


def test_comparisons_are_remembered_the_latest_last(store):
    assert store.comparisons() == {}
    store.remember("b", {"started": 2.0, "settings": {"x": [1, None]}})
    store.remember("a", {"started": 1.0})
    assert list(store.comparisons()) == ["a", "b"]
    store.remember("a", {"started": 3.0})
    assert list(store.comparisons()) == ["b", "a"]
    assert store.comparisons()["b"]["settings"] == {"x": [1, None]}


def test_the_longest_names_fit_and_stay_apart(store):
    shelves = [Shelf("x" * LONGEST_NAME + end, "higher") for end in ("", "1", "2" * 300)]
    for shelf in shelves:
        store.finish(claim(store, shelf=shelf), record(), 1.0)
    assert [len(store.find(shelf)) for shelf in shelves] == [1, 1, 1]
    names = [study.study_name for study in store._storage.get_all_studies()]
    assert max(map(len, names)) == LONGEST_NAME


@pytest.mark.parametrize("name", ["a b", "{x}", "50%41", "what?", "a#b", "ü🎉", "a+b&c=d;e"])
def test_any_file_name_will_do(tmp_path, name):
    folder = tmp_path / name
    folder.mkdir()
    store = Store(str(folder / f"{name}.db"))
    store.close()
    assert [str(file) for file in tmp_path.rglob("*.db")] == [str(folder / f"{name}.db")]


def test_a_url_is_as_good_as_a_path(path):
    store = Store(f"sqlite:///{path}")
    store.finish(claim(store), record(), 1.0)
    store.close()
    again = Store(str(path))
    assert again.find(SHELF) == {"a": record()}
    again.close()


NO_DATABASE = "give the path of a SQLite file in a folder that exists, or the URL of a database"


@pytest.mark.parametrize(
    ("url", "sentence"),
    [
        ("{folder}/none/runs.db", r"the folder .*/none of the store does not exist; create it"),
        ("sqlite:///{folder}/none/runs.db", f"unable to open database file.*{NO_DATABASE}"),
        ("{folder}", f"unable to open database file.*{NO_DATABASE}"),
        ("{folder}/text", f"file is not a database.*{NO_DATABASE}"),
        ("nosuch://localhost/runs", f"nosuch.*{NO_DATABASE}"),
        ("oracle://localhost/runs", f"No module named.*{NO_DATABASE}"),
        ("postgresql://me:geheim@127.0.0.1:1/runs", f"refused.*{NO_DATABASE}"),
        ("postgres://me:geheim@127.0.0.1:1/runs", f"refused.*{NO_DATABASE}"),
        ("://", f"cannot read the store's URL .*{NO_DATABASE}"),
    ],
)
def test_a_store_that_cannot_be_opened_is_a_sentence(tmp_path, url, sentence):
    pytest.importorskip("psycopg") if "postgres" in url else None
    text = tmp_path / "text"
    text.write_text("this is no database, but a text of more than a hundred characters " * 9)
    before = text.read_bytes()
    with pytest.raises(StoreError, match=sentence) as caught:
        Store(url.format(folder=tmp_path))
    assert text.read_bytes() == before
    assert "\n" not in str(caught.value)
    assert "geheim" not in str(caught.value)


def test_a_store_that_may_only_be_read_is_read_and_says_so_when_written(store, path):
    store.finish(claim(store), record(), 1.0)
    store.remember("race", {"started": 1.0})
    only = Store(f"sqlite:///file:{path}?mode=ro&uri=true")
    assert only.find(SHELF) == {"a": record()}
    assert list(only.comparisons()) == ["race"]
    with pytest.raises(StoreError, match=r"no longer works \(attempt to write a readonly database"):
        only.remember("other", {"started": 2.0})
    only.close()


def test_texts_are_kept_beside_the_runs(store, path):
    store.finish(claim(store), record(), 1.0)
    one, other = Kept(str(path), of="rounds"), Kept(str(path), of="others")
    one["a"] = "1" * 100_000
    other["a"] = "ü 🎉"
    assert Kept(str(path), of="rounds").get("a") == "1" * 100_000
    assert (other.get("a"), other.get("b")) == ("ü 🎉", None)
    assert store.find(SHELF) == {"a": record()}
    only = Kept(f"sqlite:///file:{path}?mode=ro&uri=true", of="rounds")
    assert only.get("a") == "1" * 100_000
    with pytest.raises(StoreError, match=r"no longer works \(attempt to write a readonly database"):
        only["b"] = "2"
    for kept in (one, other, only):
        kept.close()


def test_a_password_is_not_shown(monkeypatch):
    memory = _open(make_url("sqlite://"))
    monkeypatch.setattr("thalweg.bench.store._open", lambda url: memory)
    url = "postgresql://me:geheim@host/runs"
    assert Store(url).name == "postgresql+psycopg://me:***@host/runs"


def test_programs_that_contend_complete_every_run_once(path, folder):
    contention.contend(path, folder / "log")


def test_a_store_survives_that_its_programs_are_killed(path, folder):
    log = folder / "log"
    kills = random.Random(0)
    for seconds in (0.0, 0.2, 0.0, 0.2):
        program = contention.start(path, log, seconds=seconds, grace=0.5)
        known = len(log.read_text()) if log.exists() else 0
        while not (log.exists() and len(log.read_text()) > known):
            time.sleep(0.001)
        time.sleep(kills.uniform(0, 0.05))
        program.kill()
        program.communicate()
    contention.end(contention.start(path, log, grace=0.5))
    assert contention.known_keys(path) == set(contention.KEYS)
    # A run whose program was killed between keeping its record and completing its row is known too.
    assert contention.rows_by_key(path, TrialState.COMPLETE) <= Counter(contention.KEYS)
    assert Counter(log.read_text().splitlines()) <= Counter(contention.KEYS)
