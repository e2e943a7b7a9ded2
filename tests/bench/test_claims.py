"""The machinery of claims, on a paper that was never written."""

import json
import math
import os
import signal
import socket
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

from thalweg.bench import claims
from thalweg.bench.claims import read_claims, run_claim, write_claims
from thalweg.bench.compare import Interrupted
from thalweg.bench.listing import BEGIN, END, describe, rows, table, tally, update
from thalweg.core.catalogue import Catalogue, catalogue
from thalweg.core.claim import Effort, Finding, MeasurementClaim, Number, RaceClaim
from thalweg.core.errors import SettingError, StoreError
from thalweg.core.paper import Paper
from thalweg.core.verdicts import beats, combine, matches, reaches_sooner, typical
from thalweg.optim import DiffGrad


def measure(seed, size, log=None, interrupt_at=None):
    if log:
        with open(log, "a") as lines:
            lines.write(f"{seed}\n")
        if interrupt_at == len(Path(log).read_text().splitlines()):
            raise KeyboardInterrupt
    return {"gain": 1.0 + seed % 7, "size": len(size)}


def measure_wrongly(seed, size):
    raise ValueError("the paper was wrong,\nand so was I")


def measure_nothing(seed, size):
    return {"gain": math.nan if seed % 2 else math.inf}


def die_once(seed, size, flag):
    if not Path(flag).exists():
        Path(flag).touch()
        os.kill(os.getpid(), signal.SIGKILL)
    return {"gain": 1.0}


def judge(figures, at_least=1.0):
    number = typical("gain, in furlongs", [figure["gain"] for figure in figures], paper="2 | 3")
    verdict = "reproduced" if number.ours >= at_least else "not reproduced"
    return Finding(verdict, f"It gained {number.ours:.3g} <furlongs>.", (number,))


def measurement(measure=measure, expect=judge, seeds=6):
    return MeasurementClaim(
        "gains", "It gains.", measure, Effort(seeds=2), Effort(seeds=seeds), expect
    )


def paper(*of):
    return Paper("fiction", "On Fiction", 1999, "", "It gains.", (DiffGrad,), claims=of)


def run(claim, path, **settings):
    return run_claim(paper(claim), claim, jobs=1, store=path, **settings)


def known(*of):
    return Catalogue({"fiction": paper(*of)}, {}, {"fiction": "optim"})


@pytest.mark.usefixtures("inline")
class TestRunning:
    def test_the_verdict_is_that_of_expect(self, path):
        assert run(measurement(), path).finding.verdict == "reproduced"
        outcome = run(measurement(expect=partial(judge, at_least=99)), path)
        assert outcome.finding.verdict == "not reproduced"
        assert outcome.finding.numbers[0].interval is not None
        assert (outcome.facts["seeds"], outcome.facts["trials"]) == (6, 0)

    def test_replicates_differ_and_sizes_are_kept_apart(self, path):
        seen = []
        claim = measurement(expect=lambda figures: seen.append(figures) or judge(figures))
        for size in ("full", "smoke", "full"):
            run(claim, path, size=size)
        full, smoke, again = seen
        assert full == again
        assert ([len(full), len(smoke)], {row["size"] for row in smoke}) == ([6, 2], {5})
        assert len({row["gain"] for row in full}) > 1

    def test_a_claim_is_resumed_where_it_was_interrupted(self, path, tmp_path):
        log = tmp_path / "log"
        with pytest.raises(Interrupted):
            run(measurement(partial(measure, log=log, interrupt_at=4)), path)
        outcome = run(measurement(partial(measure, log=log)), path)
        assert outcome.finding.verdict == "reproduced"
        seeds = log.read_text().split()
        assert (len(seeds), len(set(seeds))) == (7, 6)  # the interrupted one twice
        run(measurement(partial(measure, log=log)), path)
        assert len(log.read_text().split()) == 7

    def test_changed_code_is_measured_anew(self, path, tmp_path, monkeypatch):
        claim = measurement(partial(measure, log=tmp_path / "log"))
        run(claim, path)
        monkeypatch.setattr(claims, "_code", lambda objects: "mended")
        run(claim, path)
        assert len((tmp_path / "log").read_text().split()) == 12

    def test_an_error_is_an_outcome_and_no_verdict(self, path, tmp_path):
        for broken, sentence in (
            (measurement(measure_wrongly), "and so was I"),
            (measurement(expect=lambda figures: figures[99]), "IndexError: list index out of"),
            (race(methods=("adamw", "adamq")), "RecipeError: there is no method 'adamq'"),
            (race(problems=("digit",)), "ProblemError: there is no problem 'digit'"),
        ):
            outcome = run(broken, path)
            assert outcome.finding is None
            assert sentence in outcome.error
            assert "\n" not in outcome.error
            with pytest.raises(SettingError, match="failed"):
                write_claims([outcome], tmp_path / "claims")
            assert not list((tmp_path / "claims").glob("*"))

    def test_a_wrong_setting_is_the_users_mistake(self, tmp_path):
        with pytest.raises(SettingError, match="jobs is 0"):
            run_claim(paper(), measurement(), jobs=0, store=tmp_path / "runs.sqlite3")
        with pytest.raises(StoreError, match="create it first"):
            run(measurement(), tmp_path / "no" / "runs.sqlite3")

    def test_a_race_is_judged_by_its_statistics(self, path):
        outcome = run(race(), path)
        assert outcome.error is None
        assert outcome.finding.verdict == "reproduced"
        (number,) = outcome.finding.numbers
        assert number.ours < 0
        assert outcome.facts["methods"] == ["sgd(lr=0.0001)", "sgd(lr=0.1)"]
        assert run(race(expect=matches), path).finding.verdict == "reproduced"
        assert "reached in 6 of 6" in run(race(expect=reaches_sooner), path).finding.sentence
        upside_down = race(methods=("sgd(lr=0.1)", "sgd(lr=0.0001)"))
        for expect in (beats, matches):
            judged = run(race(expect=expect, methods=upside_down.methods), path)
            assert judged.finding.verdict == "not reproduced"
            assert "worse" in judged.finding.sentence


def race(
    methods=("sgd(lr=0.0001)", "sgd(lr=0.1)"), problems=("quadratic(condition=10)",), expect=beats
):
    effort = Effort(seeds=6, steps=30)
    return RaceClaim("runs", "It wins.", problems, methods, effort, effort, expect)


def test_a_killed_worker_loses_nothing_else(path, tmp_path):
    outcome = run(measurement(partial(die_once, flag=tmp_path / "flag")), path)
    assert outcome.error is None
    assert outcome.finding.verdict == "reproduced"


@pytest.mark.usefixtures("inline")
class TestKeeping:
    def test_what_is_written_is_stable_and_read_again(self, path, tmp_path):
        claim = measurement()
        written = write_claims([run(claim, path)], tmp_path / "docs" / "claims")
        text = written.read_text()
        write_claims([run(claim, path)], tmp_path / "docs" / "claims")
        assert written.read_text() == text
        assert list(written.parent.iterdir()) == [written]
        assert json.dumps(json.loads(text), indent=2, sort_keys=True) + "\n" == text
        stored = read_claims(written.parent)["fiction"]["gains"]
        assert set(stored) >= {
            *("verdict", "sentence", "numbers", "seeds", "trials", "steps", "machine"),
            *("versions", "date", "seconds", "size"),
        }
        assert stored["numbers"][0]["paper"] == "2 | 3"
        assert socket.gethostname() not in text

    def test_numbers_that_json_lacks(self, path, tmp_path):
        def expect(figures):
            values = [math.inf, math.nan]
            numbers = tuple(Number("n", value, (-math.inf, value)) for value in values)
            return Finding("partly", "Odd.", numbers)

        written = write_claims([run(measurement(measure_nothing, expect), path)], tmp_path)
        numbers = json.loads(written.read_text())["claims"]["gains"]["numbers"]
        assert [number["ours"] for number in numbers] == ["inf", None]
        assert table(rows(known(measurement()), read_claims(tmp_path)), "html")

    def test_a_smoke_run_is_no_evidence(self, path, tmp_path):
        with pytest.raises(SettingError, match="no evidence"):
            write_claims([run(measurement(), path, size="smoke")], tmp_path)

    def test_a_file_that_cannot_be_read_is_named(self, tmp_path):
        (tmp_path / "odd.json").write_text("{")
        with pytest.raises(SettingError, match=r"odd\.json"):
            read_claims(tmp_path)

    def test_tables_show_what_is_stored_and_what_is_not(self, path, tmp_path):
        claim = measurement()
        unknown, lines = rows(known(), {}), rows(known(claim), {})
        assert [row.verdict for row in (*unknown, *lines)] == ["not yet run"] * 2
        write_claims([run(claim, path)], tmp_path)
        lines = rows(known(claim), read_claims(tmp_path), "optim")
        assert "| fiction | gains | reproduced | It gains. |" in table(lines)
        assert "&lt;furlongs&gt;" in table(lines, "html")
        assert json.loads(table(lines, "json"))[0]["numbers"][0]["paper"] == "2 | 3"
        assert tally(lines).splitlines()[-1] == "| all | 1 | 0 | 0 |"
        with pytest.raises(SettingError, match="did you mean 'optim'"):
            rows(known(claim), {}, "optin")

        page = tmp_path / "README.md"
        page.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
        assert update(page, lines)
        assert not update(page, lines)
        assert page.read_text() == f"before\n{BEGIN}\n{tally(lines)}\n{END}\nafter\n"
        page.write_text("nothing")
        with pytest.raises(SettingError, match="lacks the lines"):
            update(page, lines)

        text = "\n".join(describe(known(claim), paper(claim), read_claims(tmp_path)))
        assert "from thalweg.optim import DiffGrad" in text
        assert "gain, in furlongs: " in text
        assert "paper: 2 | 3" in text


def test_every_paper_can_be_described():
    whole = catalogue()
    for one in whole.papers.values():
        assert one.headline in list(describe(whole, one, {}))[2]


@pytest.mark.parametrize(
    ("verdict", "difference", "beaten", "matched"),
    [
        ("better", 1.0, "reproduced", "reproduced"),
        ("equivalent", -0.1, "partly", "reproduced"),
        ("undecided", 1.0, "partly", "partly"),
        ("undecided", -1.0, "not reproduced", "partly"),
        ("worse", -1.0, "not reproduced", "not reproduced"),
    ],
)
def test_verdicts_by_convention(verdict, difference, beaten, matched):
    effect = SimpleNamespace(
        verdict=verdict, difference=difference, low=-9.0, high=math.inf, adjusted_p_value=0.5, n=9
    )
    results = race_of(SimpleNamespace(contender="new", effect=effect))
    assert beats(results).verdict == beaten
    assert matches(results, "new").verdict == matched
    (number,) = beats(results, paper="2 points").numbers
    assert (number.ours, number.interval, number.paper) == (100 * difference, None, "2 points")
    with pytest.raises(ValueError, match="no comparison of newest"):
        beats(results, "newest")


@pytest.mark.parametrize(
    ("ratio", "high", "verdict"),
    [
        (0.5, 0.9, "reproduced"),
        (0.0, 0.0, "reproduced"),
        (0.9, 1.1, "partly"),
        (1.0, 1.0, "not reproduced"),
        (math.inf, math.inf, "not reproduced"),
    ],
)
def test_sooner_by_convention(ratio, high, verdict):
    standing = SimpleNamespace(
        contender="new",
        effect=SimpleNamespace(),
        ratios={"steps": SimpleNamespace(ratio=ratio, low=0.0, high=high)},
        to_target={"steps": SimpleNamespace(reached=3, n=9)},
    )
    assert reaches_sooner(race_of(standing)).verdict == verdict


def race_of(standing):
    problem = SimpleNamespace(
        name="toy", metric="accuracy", percent=True, better="higher", margin=0.01
    )
    item = SimpleNamespace(problem=problem, standings={"defaults": [standing]})
    return SimpleNamespace(baseline="old", analysis=SimpleNamespace(problems=[item]))


@pytest.mark.parametrize(
    ("verdicts", "combined"),
    [("rr", "reproduced"), ("rn", "partly"), ("pp", "partly"), ("pn", "not reproduced")],
)
def test_verdicts_on_several_problems(verdicts, combined):
    words = {"r": "reproduced", "p": "partly", "n": "not reproduced"}
    assert combine([words[letter] for letter in verdicts]) == combined


def test_a_median_and_its_exact_interval():
    assert typical("x", [3.0, 1.0, 2.0]) == Number("x", 2.0, None, "")
    assert typical("x", range(1, 11)).interval == (2, 9)  # of rank 2 and 9, as in tables
