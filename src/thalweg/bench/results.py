"""What a comparison measured: plain data, rebuilt from the store alone."""

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

from thalweg.core.problem import Better, Decides
from thalweg.core.trace import Trace

if TYPE_CHECKING:
    import pandas as pd

    from thalweg.bench.analysis import Analysis

Lane = Literal["tuned", "defaults"]
LANES: tuple[Lane, ...] = ("tuned", "defaults")


@dataclass(frozen=True)
class ProblemFacts:
    """What a reader of results needs to know of a problem.

    Args:
        name: As shown in reports.
        description: One line.
        kind: Such as ``training``.
        metric: Name of the metric.
        better: ``higher`` or ``lower``.
        margin: Differences smaller than this do not matter.
        percent: Show the metric as a percentage.
        progress: Key of the metric watched along a run and tuned by.
        judged: Key of the metric that is judged at the end of a final run.
        target: Value of the watched metric to be reached, where fixed beforehand.
        steps: Length of a run.
        source: Digest of the problem.
        decides: ``quality`` at the end, or the cost to reach the target that decides instead.
    """

    name: str
    description: str
    kind: str
    metric: str
    better: Better
    margin: float
    percent: bool
    progress: str
    judged: str
    target: float | None
    steps: int
    source: str
    decides: Decides = "quality"


@dataclass(frozen=True)
class Run:
    """One run that was made.

    Args:
        problem: Name of the problem.
        contender: The recipe as the user wrote it.
        lane: ``tuned`` and ``defaults`` for final runs, ``tuning`` for a trial.
        number: Replicate of a final run, or number of the trial.
        parameters: What was tuned, by ``method.argument``.
        recipe: The recipe with these parameters.
        seed: Of the run; equal for all contenders of a replicate.
        steps: Length asked for.
        trace: What was measured.
        fingerprint: Hash of what it started from; equal for all contenders of a replicate.
        machine: Where it ran.
        key: Of its row in the store.
    """

    problem: str
    contender: str
    lane: Literal["tuned", "defaults", "tuning"]
    number: int
    parameters: Mapping[str, Any]
    recipe: str
    seed: int
    steps: int
    trace: Trace
    fingerprint: str
    machine: str
    key: str


@dataclass(frozen=True)
class Results:
    """A finished or unfinished comparison.

    Args:
        problems: What was solved.
        contenders: Recipes as written; the first is the baseline.
        runs: Every run that was made, failed ones included.
        settings: The resolved configuration: trials, seeds, budget, device, jobs, engine,
            search spaces by contender, versions, machine, command.
        missing: Runs of the plan that have not been made yet.
        warnings: What a reader must know before believing anything, in sentences.
    """

    problems: tuple[ProblemFacts, ...]
    contenders: tuple[str, ...]
    runs: tuple[Run, ...]
    settings: Mapping[str, Any]
    missing: int = 0
    warnings: tuple[str, ...] = ()

    @property
    def baseline(self) -> str:
        """The contender that all others are compared with."""
        return self.contenders[0]

    def select(self, problem: str, contender: str, lane: str) -> list[Run]:
        """Return the runs of a contender in a lane (or its trials: ``tuning``), by number."""
        return sorted(
            (
                run
                for run in self.runs
                if (run.problem, run.contender, run.lane) == (problem, contender, lane)
            ),
            key=lambda run: run.number,
        )

    def entries(self, problem: str, contender: str, lane: str) -> list[Run]:
        """Return the runs that stand for a contender in a lane.

        In the tuned lane a contender without anything to tune stands as it is: its runs with the
        defaults have the same seeds.
        """
        tunable = (self.settings.get("spaces") or {}).get(contender, True)
        if lane == "tuned" and not tunable:
            lane = "defaults"
        return self.select(problem, contender, lane)

    @cached_property
    def analysis(self) -> "Analysis":
        """The statistics of the race."""
        from thalweg.bench.analysis import analyse

        return analyse(self)

    @property
    def verdict(self) -> str:
        """The outcome in words, with its uncertainty."""
        return self.analysis.verdict

    @property
    def table(self) -> "pd.DataFrame":
        """One row per problem, lane and contender."""
        return self.analysis.table()

    def to_dict(self) -> dict[str, Any]:
        """Return verdict, table, settings and runs as plain data."""
        table = self.table.astype(object)
        return {
            "verdict": self.verdict.splitlines(),
            "warnings": list(self.warnings),
            "missing": self.missing,
            "table": [
                {name: _plain(value) for name, value in row.items()}
                for row in table.to_dict(orient="records")
            ],
            "settings": dict(self.settings),
            "runs": [{**run.__dict__, "trace": run.trace.to_dict()} for run in self.runs],
        }

    def figures(self, folder: str | Path) -> list[Path]:
        """Write the charts as PNG, SVG and PDF.

        Args:
            folder: Where to write them; made if it does not exist.

        Returns:
            The paths.
        """
        from thalweg.report.page import write_figures

        return write_figures(self, Path(folder))

    def report(self, path: str | Path) -> Path:
        """Write the report as one self-contained HTML file.

        Args:
            path: Where to write it; the folder must exist.

        Returns:
            The path.
        """
        from thalweg.report.page import write_report

        return write_report(self, Path(path))


def _plain(value: Any) -> Any:
    # JSON has no infinities and no NaN.
    if isinstance(value, float) and not math.isfinite(value):
        return None if math.isnan(value) else str(value)
    return value
