"""What the claims about Sinkhorn-Newton-Sparse measure, and how they are judged."""

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from thalweg.core.claim import Finding, Size, Verdict
from thalweg.core.verdicts import combine, reaches_sooner, together, typical
from thalweg.problems.transport import assignment
from thalweg.transport import sinkhorn_newton_sparse


def iterations_to_machine_precision(seed: int, size: Size) -> Mapping[str, float]:
    """Count steps of both kinds on the paper's assignment problem, to an error of 1e-12."""
    given = assignment(seed, n=500 if size == "full" else 60, reg=1 / 1200)
    settings = {"entries by the error": None, "2 entries a row": 2.0}
    return {
        name: float(sinkhorn_newton_sparse(*given, entries=entries, rtol=1e-12).iterations)
        for name, entries in settings.items()
    }


def as_few_as_printed(figures: Sequence[Mapping[str, float]]) -> Finding:
    findings = []
    for name in figures[0]:
        number = typical(f"iterations, {name}", [row[name] for row in figures], "29")
        low, high = number.interval or (number.ours, number.ours)
        verdict: Verdict = "reproduced" if low <= 29 else "not reproduced"
        sentence = f"{number.what}: median {number.ours:.0f}, {low:.0f} to {high:.0f}."
        findings.append(Finding(verdict, sentence, (number,)))
    return together(findings)


def a_tenth_of_the_steps_and_less_time(results: Any) -> Finding:
    """Take orders of magnitude for this: the interval of the ratio of steps is below a tenth."""
    steps = reaches_sooner(results, paper="0.0005, 0.027 and 0.14")
    verdicts: list[Verdict] = [
        "reproduced" if item.standings["defaults"][-1].ratios["steps"].high < 0.1 else "partly"
        for item in results.analysis.problems
    ]
    strict = replace(steps, verdict=combine([steps.verdict, *verdicts]))
    return together([strict, reaches_sooner(results, cost="seconds")])
