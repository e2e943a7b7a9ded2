"""The tables of the report."""

import csv
import io
import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from thalweg.bench import wording
from thalweg.bench.analysis import ProblemAnalysis, Standing
from thalweg.bench.results import LANES, ProblemFacts, Results, Run
from thalweg.core.trace import COSTS, Cost
from thalweg.report.charts import cost_to_target

BADGES = {
    "better": "▲ better",
    "worse": "▼ worse",
    "equivalent": "≈ equivalent",
    "undecided": "? undecided",
    "baseline": "baseline",
}
COST_BADGES = BADGES | {"better": "▲ cheaper", "worse": "▼ dearer", "equivalent": "≈ as dear"}
LANE_NAMES = {
    "tuned": "Tuned, the same number of trials for all",
    "defaults": "Defaults, as published and not tuned",
}


@dataclass(frozen=True)
class Cell:
    """A cell of a table.

    Args:
        text: As shown.
        order: What rows are sorted by where the text will not do; NaN is always last.
        note: Shown below, smaller.
        badge: Name of the verdict or outcome it shows, for its colour.
        ink: Number of the contender whose colour marks it.
    """

    text: str
    order: float | None = None
    note: str = ""
    badge: str = ""
    ink: int | None = None

    @property
    def key(self) -> str | None:
        """The sort key as an attribute; empty for what comes last."""
        if self.order is None:
            return None
        return "" if math.isnan(self.order) else f"{self.order:.9g}"


@dataclass(frozen=True)
class Column:
    """A column of a table: its heading, and whether it holds numbers, set flush right."""

    label: str
    numeric: bool = True


@dataclass(frozen=True)
class Table:
    """A table that can be sorted and downloaded.

    Args:
        name: Of the downloaded file, and its address in the page.
        caption: As shown.
        columns: Headings; the first column names the row.
        groups: Rows by heading, sorted each for itself; no heading is shown for an empty one.
        records: What is downloaded: the same in full precision, one mapping a row.
    """

    name: str
    caption: str
    columns: Sequence[Column]
    groups: Mapping[str, Sequence[Sequence[Cell]]]
    records: Sequence[Mapping[str, Any]]

    @property
    def n_rows(self) -> int:
        """Rows in all groups."""
        return sum(len(rows) for rows in self.groups.values())


def standings_table(results: Results, analysis: ProblemAnalysis, number: int) -> Table:
    """Gather how the contenders did on a problem, lane by lane."""
    problem = analysis.problem
    everyone = [item for standings in analysis.standings.values() for item in standings]
    kinds = [kind for kind in analysis.costs if _tells_more(everyone, kind)]
    quality = [
        Column(f"Final {problem.metric}"),
        Column("Difference, points" if problem.percent else "Difference"),
        Column("Adjusted p"),
    ]
    costs = [
        Column("Reached"),
        *(Column(f"{kind.capitalize()} to target") for kind in kinds),
    ]
    columns = [
        Column("Contender", numeric=False),
        Column("Verdict", numeric=False),
        *_deciding_first(problem, quality, costs),
        Column("Time of a run"),
        Column("Peak memory"),
        Column("Outcomes", numeric=False),
        Column("Hyperparameters", numeric=False),
    ]
    groups = {
        LANE_NAMES[lane]: [
            _standing_row(results, problem, standing, kinds)
            for standing in analysis.standings[lane]
        ]
        for lane in LANES
        if analysis.standings.get(lane)
    }
    return Table(
        name=f"standings-{number}",
        caption=f"Standings on {problem.name}",
        columns=columns,
        groups=groups,
        records=[_standing_record(problem, standing) for standing in everyone],
    )


def overview_table(results: Results) -> Table:
    """Set the verdicts of all problems side by side, in the first lane there is."""
    problems = results.analysis.problems
    known = [lane for lane in LANES if any(item.standings.get(lane) for item in problems)]
    lane = known[0] if known else LANES[0]
    by_contender = {
        contender: [
            next((s for s in item.standings.get(lane, ()) if s.contender == contender), None)
            for item in problems
        ]
        for contender in results.contenders
    }
    profiles = next(iter(results.analysis.profiles.values()), {})
    rows, records = [], []
    for contender, standings in by_contender.items():
        row = [_contender_cell(results, contender)]
        record: dict[str, Any] = {"contender": contender}
        for item, standing in zip(problems, standings, strict=True):
            if standing is None:
                row.append(Cell("", math.nan))
                continue
            cell = _verdict_cell(standing, item.problem)
            effect = standing.deciding
            note = ""
            if standing.saving is not None and item.problem.decides in standing.ratios:
                note = wording.speed(standing.ratios[item.problem.decides])
            elif effect is not None:
                note = wording.difference(effect.difference, item.problem)
            row.append(Cell(cell.text, cell.order, note, cell.badge))
            record[item.problem.name] = effect.verdict if effect else "baseline"
        if contender in profiles:
            area = profiles[contender].area
            row.append(Cell(wording.number(area), -area))
            record["profile_area"] = area
        rows.append(row)
        records.append(record)
    columns = [
        Column("Contender", numeric=False),
        *(Column(item.problem.name, numeric=False) for item in problems),
    ]
    if profiles:
        columns.append(Column("Area under profile"))
    return Table("overview", "Verdicts on all problems", columns, {LANE_NAMES[lane]: rows}, records)


def runs_table(results: Results) -> Table:
    """List all final runs."""
    facts = {problem.name: problem for problem in results.problems}
    analyses = {item.problem.name: item for item in results.analysis.problems}
    finals = [
        run
        for problem in results.problems
        for lane in LANES
        for contender in results.contenders
        for run in results.select(problem.name, contender, lane)
    ]
    several = len(facts) > 1
    extra = [
        kind
        for kind in ("gradients", "functions", "products")
        if any(getattr(_cost(run), kind) not in (0, _cost(run).steps) for run in finals)
    ]
    columns = [
        Column("Contender", numeric=False),
        *([Column("Problem", numeric=False)] if several else []),
        Column("Lane", numeric=False),
        Column("Replicate"),
        Column("Outcome", numeric=False),
        Column("Judged"),
        Column("Watched"),
        Column("Steps to target"),
        Column("Steps"),
        Column("Time"),
        *(Column(kind.capitalize()) for kind in extra),
        Column("Peak memory"),
        Column("Seed"),
        Column("Hyperparameters", numeric=False),
    ]
    rows, records = [], []
    for run in finals:
        problem = facts[run.problem]
        cost = _cost(run)
        judged, watched = run.trace.final(problem.judged), run.trace.final(problem.progress)
        reached = cost_to_target(run, analyses[run.problem], "steps")
        rows.append(
            [
                _contender_cell(results, run.contender),
                *([Cell(run.problem)] if several else []),
                Cell(run.lane),
                Cell(str(run.number)),
                _outcome_cell(run),
                Cell(wording.quality(judged, problem), judged),
                Cell(wording.quality(watched, problem), watched),
                Cell(wording.cost(reached, "steps"), reached),
                Cell(wording.number(cost.steps), cost.steps),
                Cell(
                    wording.seconds(cost.seconds),
                    cost.seconds,
                    f"{wording.seconds(cost.startup)} to start"
                    if cost.startup > 0.05 * cost.seconds
                    else "",
                ),
                *(Cell(wording.number(getattr(cost, k)), getattr(cost, k)) for k in extra),
                Cell(wording.memory(cost.memory), cost.memory or math.nan),
                Cell(str(run.seed)),
                Cell(wording.parameters(run.parameters)),
            ]
        )
        records.append(_run_record(run, problem) | {"steps_to_target": reached})
    return Table("runs", "Final runs", columns, {"": rows}, records)


def trials_table(results: Results) -> Table:
    """List all trials of tuning."""
    several = len(results.problems) > 1
    columns = [
        Column("Contender", numeric=False),
        *([Column("Problem", numeric=False)] if several else []),
        Column("Trial"),
        Column("Outcome", numeric=False),
        Column("Watched"),
        Column("Steps"),
        Column("Time"),
        Column("Hyperparameters", numeric=False),
    ]
    rows, records = [], []
    for problem in results.problems:
        for contender in results.contenders:
            for run in results.select(problem.name, contender, "tuning"):
                cost, value = _cost(run), run.trace.final(problem.progress)
                rows.append(
                    [
                        _contender_cell(results, contender),
                        *([Cell(run.problem)] if several else []),
                        Cell(str(run.number + 1)),
                        _outcome_cell(run),
                        Cell(wording.quality(value, problem), value),
                        Cell(wording.number(cost.steps), cost.steps),
                        Cell(wording.seconds(cost.seconds), cost.seconds),
                        Cell(wording.parameters(run.parameters)),
                    ]
                )
                records.append(_run_record(run, problem))
    return Table("trials", "Trials of tuning", columns, {"": rows}, records)


def to_csv(records: Sequence[Mapping[str, Any]]) -> str:
    """Write records as CSV."""
    names = list(dict.fromkeys(name for record in records for name in record))
    stream = io.StringIO()
    writer = csv.DictWriter(stream, names, restval="", lineterminator="\r\n")
    writer.writeheader()
    for record in records:
        writer.writerow({name: _plain(value) for name, value in record.items()})
    return stream.getvalue()


def _tells_more(standings: Sequence[Standing], kind: str) -> bool:
    """Tell whether a cost is not simply the steps."""
    same = (item.to_target[kind] == item.to_target["steps"] for item in standings)
    return kind == "steps" or not all(same)


def _standing_row(
    results: Results, problem: ProblemFacts, standing: Standing, kinds: Iterable[str]
) -> list[Cell]:
    better_first = -1 if problem.better == "higher" else 1
    low, high = standing.quartiles
    reached = next(iter(standing.to_target.values()), None)
    quality = [
        Cell(
            wording.quality(standing.median, problem),
            standing.median if math.isfinite(standing.median) else math.nan,
            f"{wording.quality(low, problem)} to {wording.quality(high, problem)}"
            if math.isfinite(low) or math.isfinite(high)
            else "",
        ),
        *_effect_cells(standing, problem, better_first),
    ]
    costs = [
        Cell(f"{reached.reached} of {reached.n}", reached.reached)
        if reached
        else Cell("", math.nan),
    ]
    for kind in kinds:
        paid = standing.to_target[kind]
        ratio = standing.ratios.get(kind)
        note = ""
        # Where both typically miss there is nothing to divide.
        if ratio is not None and math.isfinite(paid.median):
            note = wording.speed(ratio) if ratio.ratio > 0 else "baseline: not reached"
        costs.append(Cell(wording.cost(paid.median, kind), paid.median, note))
    startup = standing.cost.get("startup", 0.0)
    seconds = standing.cost.get("seconds", math.nan)
    memory = standing.cost.get("memory", 0.0)
    outcomes = ", ".join(f"{n} {outcome}" for outcome, n in standing.outcomes.items())
    return [
        _contender_cell(results, standing.contender),
        _verdict_cell(standing, problem),
        *_deciding_first(problem, quality, costs),
        Cell(
            wording.cost(seconds, "seconds"),
            seconds,
            f"{wording.seconds(startup)} to start" if startup > 0.05 * seconds else "",
        ),
        Cell(wording.cost(memory, "memory"), memory or math.nan),
        Cell(outcomes, badge="" if set(standing.outcomes) <= {"finished"} else "trouble"),
        Cell(wording.parameters(standing.parameters) or "none to tune"),
    ]


def _deciding_first(
    problem: ProblemFacts, quality: Sequence[Any], costs: Sequence[Any]
) -> list[Any]:
    """Put the columns of what decides before the others."""
    return [*quality, *costs] if problem.decides == "quality" else [*costs, *quality]


def _contender_cell(results: Results, contender: str) -> Cell:
    return Cell(contender, ink=results.contenders.index(contender))


def _verdict_cell(standing: Standing, problem: ProblemFacts) -> Cell:
    if standing.effect is None:
        return Cell(BADGES["baseline"], 2, badge="baseline")
    verdict = (standing.deciding or standing.effect).verdict
    badges, note = BADGES, ""
    if standing.saving is not None:
        badges = COST_BADGES
        note = f"in {problem.decides}, p {wording.p_value(standing.saving.adjusted_p_value)}"
    elif verdict == "undecided" and math.isfinite(standing.effect.detectable):
        note = f"would have found {wording.size(standing.effect.detectable, problem)}"
    order = ("better", "equivalent", "baseline", "undecided", "worse").index(verdict)
    return Cell(badges[verdict], order, note, badge=verdict)


def _effect_cells(standing: Standing, problem: ProblemFacts, better_first: int) -> list[Cell]:
    effect = standing.effect
    if effect is None:
        return [Cell("", math.nan), Cell("", math.nan)]
    return [
        Cell(
            wording.difference(effect.difference, problem),
            effect.difference,
            wording.interval(effect.low, effect.high, problem),
        ),
        Cell(
            wording.p_value(effect.adjusted_p_value),
            effect.adjusted_p_value,
            f"{effect.wins} won, {effect.losses} lost"
            + (f", {effect.ties} tied" if effect.ties else ""),
        ),
    ]


def _outcome_cell(run: Run) -> Cell:
    trouble = run.trace.outcome != "finished"
    return Cell(run.trace.outcome, badge="trouble" if trouble else "")


def _cost(run: Run) -> Cost:
    return run.trace.points[-1].cost if run.trace.points else Cost()


def _standing_record(problem: ProblemFacts, standing: Standing) -> dict[str, Any]:
    record: dict[str, Any] = {
        "problem": problem.name,
        "lane": standing.lane,
        "contender": standing.contender,
        "verdict": standing.deciding.verdict if standing.deciding else "baseline",
        "decided_by": problem.decides if standing.saving else "quality",
        "metric": problem.metric,
        "median": standing.median,
        "lower_quartile": standing.quartiles[0],
        "upper_quartile": standing.quartiles[1],
    }
    if standing.effect is not None:
        names = ("n", "difference", "low", "high", "mean", "p_value", "adjusted_p_value")
        more = ("wins", "ties", "losses", "failures", "detectable")
        record |= {name: getattr(standing.effect, name) for name in (*names, *more)}
    if standing.saving is not None:
        record["adjusted_p_value_of_cost"] = standing.saving.adjusted_p_value
    for kind, paid in standing.to_target.items():
        record |= {
            "reached": paid.reached,
            "replicates": paid.n,
            f"{kind}_to_target": paid.median,
            f"{kind}_to_target_restricted_mean": paid.restricted_mean,
        }
    for kind, ratio in standing.ratios.items():
        record |= {
            f"{kind}_ratio": ratio.ratio,
            f"{kind}_ratio_low": ratio.low,
            f"{kind}_ratio_high": ratio.high,
        }
    record |= {f"cost_{kind}": value for kind, value in standing.cost.items()}
    record |= {f"outcome_{outcome}": n for outcome, n in standing.outcomes.items()}
    return record | _parameter_record(standing.parameters)


def _run_record(run: Run, problem: ProblemFacts) -> dict[str, Any]:
    cost = _cost(run)
    return {
        "problem": run.problem,
        "contender": run.contender,
        "lane": run.lane,
        "number": run.number,
        "outcome": run.trace.outcome,
        problem.judged: run.trace.final(problem.judged),
        problem.progress: run.trace.final(problem.progress),
        **{name: getattr(cost, name) for name in COSTS},
        "seed": run.seed,
        "recipe": run.recipe,
        "fingerprint": run.fingerprint,
        "machine": run.machine,
        **_parameter_record(run.parameters),
    }


def _parameter_record(parameters: Mapping[str, Any]) -> dict[str, Any]:
    return {f"parameter {name}": value for name, value in parameters.items()}


def _plain(value: Any) -> Any:
    if isinstance(value, str):
        # A spreadsheet would take these for formulas.
        return f"'{value}" if value.startswith(("=", "+", "-", "@", "\t", "\r")) else value
    return value if isinstance(value, bool | int | float) else json.dumps(value, default=str)
