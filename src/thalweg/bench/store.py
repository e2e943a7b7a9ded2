"""The store: Optuna's relational storage, in which a finished run is found again."""

import hashlib
import random
import signal
import threading
import time
import uuid
from collections.abc import Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import Any

import optuna
from optuna.exceptions import StorageInternalError, UpdateFinishedTrialError
from optuna.storages import RDBStorage
from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState, create_trial
from sqlalchemy import URL, event, make_url
from sqlalchemy.exc import IntegrityError, ProgrammingError, SQLAlchemyError

from thalweg.bench.tuning import distributions, labelled
from thalweg.bench.work import Record
from thalweg.core.errors import StoreError
from thalweg.core.method import Space
from thalweg.core.problem import Better

HEARTBEAT = 5.0  # seconds between signs of life of the runs being made
GRACE = 30.0  # seconds without a sign of life after which a run counts as lost
LONGEST_NAME = 512  # characters that a database takes for the name of a study

# Several programs may write to one file: let each wait for its turn.
_PATIENCE = {"sqlite": {"timeout": 120}, "postgresql": {"connect_timeout": 10}}
_FORM = (
    "give the path of a SQLite file in a folder that exists, or the URL of a database that answers "
    "and whose driver is installed (for PostgreSQL: pip install 'thalweg[postgres]')"
)


@dataclass(frozen=True)
class Shelf:
    """Where rows stand: one Optuna study per problem, contender and stage.

    Args:
        name: Of the study.
        better: Direction of its values.
    """

    name: str
    better: Better


_COMPARISONS = Shelf("thalweg comparisons", "higher")


class Store:
    """Finished runs by their key, and claims on runs being made.

    A run is claimed by adding a row in the state *running*; of several claims on a key the oldest
    living one holds, and a claim lives as long as its process gives signs of life. A complete row
    never changes. So a program that is killed loses the runs it was making and nothing else, and
    programs on one store share the work. On several machines their clocks must agree to within a
    few seconds.

    Args:
        url: ``sqlite:///file``, ``postgresql://user@host/database``, any other URL of SQLAlchemy,
            or the path of a SQLite file.

    Attributes:
        name: The URL without its password, to be shown.

    Raises:
        StoreError: Where it cannot be opened; from any method, where it no longer answers.
    """

    def __init__(self, url: str) -> None:
        full = _full_url(url)
        self.name = full.render_as_string(hide_password=True)
        self._storage = _open(full)
        self._studies: dict[Shelf, Study] = {}
        self._held: set[int] = set()
        self._connections: set[Any] = set()
        event.listen(
            self._storage.engine, "checkout", lambda taken, *_: self._connections.add(taken)
        )
        self._owner = uuid.uuid4().hex
        self._closing = threading.Event()
        self._pulse = threading.Thread(target=self._give_signs_of_life, daemon=True)
        self._pulse.start()

    def find(self, shelf: Shelf) -> dict[str, Record]:
        """Return what is known of each run on a shelf, by key.

        The first complete row of a key counts; without one, the last failed attempt.
        """
        found: dict[str, Record] = {}
        complete = set()
        with self._errors_are_sentences():
            rows = self._rows(shelf)
        for row in rows:
            key = row.user_attrs["key"]
            if "record" in row.user_attrs and key not in complete:
                found[key] = Record.from_dict(row.user_attrs["record"])
            if row.state == TrialState.COMPLETE:
                complete.add(key)
        return found

    def claim(
        self, shelf: Shelf, key: str, parameters: Mapping[str, Any], space: Mapping[str, Space]
    ) -> int | None:
        """Claim a run.

        Args:
            shelf: Where it stands.
            key: Its identity.
            parameters: What is tuned, shown with the row.
            space: Where it is tuned.

        Returns:
            The claim; ``None`` where the run is complete or another program is making it.
        """
        inside = {name: part for name, part in space.items() if parameters.get(name) in part}
        with self._errors_are_sentences():
            if self._is_taken(shelf, key, before=None):
                return None
            template = create_trial(
                state=TrialState.RUNNING,
                params=labelled({name: parameters[name] for name in inside}, inside),
                distributions=distributions(inside),
                user_attrs={"key": key, "owner": self._owner, "alive": time.time()},
            )
            claim = self._storage.create_new_trial(self._study(shelf)._study_id, template)
            self._held.add(claim)
            # Another program may have claimed it in between: the older claim holds.
            if self._is_taken(shelf, key, before=claim):
                self._end(claim, TrialState.FAIL)
                return None
        return claim

    def finish(self, claim: int, record: Record, value: float) -> bool:
        """Complete a claimed run; a failed one is kept as such, to be made again another time.

        Returns:
            Whether the record counts; not so where another program took the run over, because
            this one had given no sign of life for too long.
        """
        with self._errors_are_sentences():
            if record.trace.is_result:
                return self._end(claim, TrialState.COMPLETE, record, value)
            return self._end(claim, TrialState.FAIL, record)

    def close(self) -> None:
        """Give up all claims, so that others need not wait for them to die, and disconnect."""
        self._closing.set()
        # What an interrupt cut short holds its locks until it is rolled back.
        for connection in list(self._connections):
            with suppress(self._storage.engine.dialect.loaded_dbapi.Error):
                connection.rollback()
        self._pulse.join()
        with self._errors_are_sentences():
            # Those too that an interrupt kept from being noted.
            for row in [row for shelf in self._studies for row in self._rows(shelf)]:
                if row.state == TrialState.RUNNING and row.user_attrs["owner"] == self._owner:
                    self._end(row._trial_id, TrialState.FAIL)
        self._storage.remove_session()
        self._storage.engine.dispose()

    def remember(self, name: str, facts: Mapping[str, Any]) -> None:
        """Keep the facts of a comparison under a name."""
        with self._errors_are_sentences():
            study = self._study(_COMPARISONS)
            self._storage.set_study_user_attr(study._study_id, name, dict(facts))

    def comparisons(self) -> dict[str, dict[str, Any]]:
        """Return the facts of all comparisons in the store, the latest last."""
        with self._errors_are_sentences():
            kept = self._study(_COMPARISONS).user_attrs
        return dict(sorted(kept.items(), key=lambda item: float(item[1]["started"])))

    def _is_taken(self, shelf: Shelf, key: str, before: int | None) -> bool:
        for row in self._rows(shelf):
            if row.user_attrs["key"] == key and (before is None or row._trial_id < before):
                if row.state == TrialState.COMPLETE:
                    return True
                if row.state == TrialState.RUNNING:
                    if time.time() - row.user_attrs["alive"] < GRACE:
                        return True
                    self._end(row._trial_id, TrialState.FAIL)
        return False

    def _end(
        self,
        claim: int,
        state: TrialState,
        record: Record | None = None,
        value: float | None = None,
    ) -> bool:
        try:
            if record is not None:
                self._storage.set_trial_user_attr(claim, "record", record.to_dict())
            self._storage.set_trial_state_values(claim, state, None if value is None else [value])
            ended = True
        except UpdateFinishedTrialError:
            ended = False
        self._held.discard(claim)
        return ended

    def _rows(self, shelf: Shelf) -> list[FrozenTrial]:
        # The study reads from the database what has changed since the last time.
        rows = self._study(shelf).get_trials(deepcopy=False)
        return sorted(rows, key=lambda row: row._trial_id)

    def _study(self, shelf: Shelf) -> Study:
        if shelf not in self._studies:
            self._studies[shelf] = _study(self._storage, shelf)
        return self._studies[shelf]

    def _give_signs_of_life(self) -> None:
        while not self._closing.wait(HEARTBEAT):
            for claim in list(self._held):
                try:
                    self._storage.set_trial_user_attr(claim, "alive", time.time())
                except UpdateFinishedTrialError:
                    self._held.discard(claim)
                except StorageInternalError:
                    break  # the database may answer again at the next beat
        self._storage.remove_session()

    def _errors_are_sentences(self) -> AbstractContextManager[None]:
        return _errors_are_sentences(self.name)


class Kept:
    """Texts by name in a store, each written at once: what a long measurement has done so far.

    Args:
        url: As of :class:`Store`: races and measurements may share a database.
        of: What is measured; another name where its code or settings change.

    Raises:
        StoreError: Where it cannot be opened, or, on writing, no longer answers.

    Example:
        >>> import thalweg
        >>> kept = thalweg.Kept("sqlite://", of="rounds")  # in memory; sqlite:///file to go on from
        >>> kept["round 1"] = "done"
        >>> kept.get("round 1"), kept.get("round 2")
        ('done', None)
    """

    def __init__(self, url: str, *, of: str = "measurement") -> None:
        full = _full_url(url)
        self.name = full.render_as_string(hide_password=True)
        self._storage = _open(full)
        with _errors_are_sentences(self.name):
            self._study = _study(self._storage, Shelf(f"thalweg kept: {of}", "higher"))
            self._known: dict[str, str] = self._study.user_attrs

    def get(self, key: str, /) -> str | None:
        """Return what is kept under a name, if anything is."""
        return self._known.get(key)

    def __setitem__(self, key: str, text: str, /) -> None:
        """Keep a text under a name, for good."""
        with _errors_are_sentences(self.name):
            self._study.set_user_attr(key, text)
        self._known[key] = text

    def close(self) -> None:
        """Disconnect."""
        self._storage.remove_session()
        self._storage.engine.dispose()


@contextmanager
def _errors_are_sentences(name: str) -> Iterator[None]:
    try:
        with _interrupts_wait():
            yield
    except StorageInternalError as error:
        raise StoreError(
            f"the store {name} no longer works ({_reason(error)}); the same call goes on "
            "from what it holds once it can be read and written again"
        ) from error


@contextmanager
def _interrupts_wait() -> Iterator[None]:
    """A database's driver that is cut short by Ctrl-C complains; the second one does not wait."""
    before = signal.getsignal(signal.SIGINT)
    if not callable(before) or threading.current_thread() is not threading.main_thread():
        yield
        return
    waiting: list[tuple[int, FrameType | None]] = []

    def hear(number: int, frame: FrameType | None) -> None:
        if waiting:
            before(number, frame)
        waiting.append((number, frame))

    signal.signal(signal.SIGINT, hear)
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if waiting:
            before(*waiting[0])


def _study(storage: RDBStorage, shelf: Shelf) -> Study:
    name = _shortened(shelf.name)
    try:  # to read first: the report of a race needs no right to write
        return optuna.load_study(study_name=name, storage=storage)
    except KeyError:
        return optuna.create_study(
            study_name=name,
            storage=storage,
            direction="maximize" if shelf.better == "higher" else "minimize",
            load_if_exists=True,
        )


def _full_url(url: str) -> URL:
    if "://" not in url:
        path = Path(url).expanduser().resolve()
        if not path.parent.is_dir():
            raise StoreError(
                f"the folder {path.parent} of the store does not exist; create it first"
            )
        return URL.create("sqlite", database=str(path))
    try:
        full = make_url(url)
    except SQLAlchemyError as error:
        raise StoreError(f"cannot read the store's URL ({_reason(error)}); {_FORM}") from None
    if full.drivername in ("postgres", "postgresql"):
        return full.set(drivername="postgresql+psycopg")
    return full


def _open(url: URL, attempts: int = 10) -> RDBStorage:
    # Optuna fills in the braces of the text that it is given.
    text = url.render_as_string(hide_password=False).replace("{", "{{").replace("}", "}}")
    patience = _PATIENCE.get(url.get_backend_name(), {})
    try:
        with _interrupts_wait():
            return RDBStorage(text, engine_kwargs={"pool_pre_ping": True, "connect_args": patience})
    except Exception as error:
        made_elsewhere = isinstance(error, IntegrityError | ProgrammingError)
        if attempts and (made_elsewhere or "already exists" in str(error)):
            # Another program is making the tables at this very moment.
            time.sleep(random.uniform(0, 0.5))
            return _open(url, attempts - 1)
        raise StoreError(
            f"the store {url.render_as_string()} cannot be opened ({_reason(error)}); {_FORM}"
        ) from error


def _reason(error: Exception) -> str:
    deepest: BaseException = error
    while cause := getattr(deepest, "orig", None) or deepest.__cause__:
        deepest = cause
    return " ".join(str(deepest).split())[:300]


def _shortened(name: str) -> str:
    if len(name) <= LONGEST_NAME:
        return name
    digest = hashlib.sha256(name.encode()).hexdigest()[:16]
    return f"{name[: LONGEST_NAME - 17]} {digest}"
