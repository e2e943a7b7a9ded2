"""What a run measures: points of cost and quality."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, field, fields
from typing import Any, Literal

Outcome = Literal["finished", "diverged", "out of memory", "failed"]


class Diverged(ArithmeticError):
    """A run whose values are no longer finite; an outcome, not a fault."""


@dataclass(frozen=True, slots=True)
class Cost:
    """What a method has spent up to a point of its run.

    Args:
        steps: Updates made.
        seconds: Time of data selection, steps and whatever else the method needs, device
            synchronised; evaluation and logging are excluded, compilation is included.
        startup: The part of ``seconds`` spent before and in the first step, where compilers work.
        gradients: Gradient evaluations.
        functions: Function evaluations without a gradient.
        products: Products of a matrix (or a Hessian) with a vector.
        memory: Peak memory in bytes; 0 where it cannot be measured.
    """

    steps: int = 0
    seconds: float = 0.0
    startup: float = 0.0
    gradients: int = 0
    functions: int = 0
    products: int = 0
    memory: int = 0

    @property
    def per_step(self) -> float:
        """Seconds of a step after the first; 0 where there is none to tell by."""
        return (self.seconds - self.startup) / (self.steps - 1) if self.steps > 1 else 0.0

    def after(self, first: "Cost") -> "Cost":
        """Return the bill where another run was needed first: its steps alone are not counted."""
        return Cost(
            steps=self.steps,
            seconds=first.seconds + self.seconds,
            startup=first.startup + self.startup,
            gradients=first.gradients + self.gradients,
            functions=first.functions + self.functions,
            products=first.products + self.products,
            memory=max(first.memory, self.memory),
        )


COSTS = tuple(item.name for item in fields(Cost))


@dataclass(frozen=True, slots=True)
class Point:
    """One measurement: what was spent and how good the solution is.

    Args:
        cost: Spent since the run began.
        quality: Named metrics, such as ``{"validation/accuracy": 0.97}``.
    """

    cost: Cost
    quality: Mapping[str, float]


@dataclass(frozen=True)
class Trace:
    """A run's points in order, and how the run ended.

    Args:
        points: From before the first step to the last.
        outcome: ``finished``, or what went wrong.
        error: The traceback where ``outcome`` is ``failed`` or ``out of memory``.
    """

    points: Sequence[Point] = field(default_factory=tuple)
    outcome: Outcome = "finished"
    error: str | None = None

    @property
    def is_result(self) -> bool:
        """Whether the same run would end the same way: it finished or diverged."""
        return self.outcome in ("finished", "diverged")

    def final(self, metric: str) -> float:
        """Return the last measured value of a metric; NaN where the run did not finish."""
        if self.outcome != "finished":
            return math.nan
        return next(
            (point.quality[metric] for point in reversed(self.points) if metric in point.quality),
            math.nan,
        )

    def cost_to_reach(self, metric: str, target: float, *, better: str, cost: str) -> float:
        """Return the cost at the first point whose metric meets the target.

        Args:
            metric: Name of the metric.
            target: Value to be met.
            better: ``higher`` or ``lower``.
            cost: A field of :class:`Cost`.

        Returns:
            The cost; infinity where the target was never met.
        """
        sign = 1 if better == "higher" else -1
        for point in self.points:
            if sign * point.quality.get(metric, math.nan) >= sign * target:
                return float(getattr(point.cost, cost))
        return math.inf

    def to_dict(self) -> dict[str, Any]:
        """Return the trace as plain data, one column per cost and per metric."""
        metrics = list(dict.fromkeys(name for point in self.points for name in point.quality))
        costs = [asdict(point.cost) for point in self.points]
        return {
            "outcome": self.outcome,
            "error": self.error,
            "cost": {name: [cost[name] for cost in costs] for name in COSTS},
            "quality": {
                name: [_to_plain(point.quality.get(name)) for point in self.points]
                for name in metrics
            },
        }

    @classmethod
    def from_dict(cls, data: Mapping[str, Any]) -> "Trace":
        """Rebuild a trace from what :meth:`to_dict` returned."""
        n_points = len(data["cost"]["steps"])
        points = tuple(
            Point(
                Cost(**{name: data["cost"][name][i] for name in COSTS}),
                {
                    name: float(column[i])
                    for name, column in data["quality"].items()
                    if column[i] is not None
                },
            )
            for i in range(n_points)
        )
        return cls(points, data["outcome"], data["error"])


def _to_plain(value: float | None) -> float | str | None:
    # JSON has no infinities; float() reads these words back.
    return value if value is None or math.isfinite(value) else str(float(value))
