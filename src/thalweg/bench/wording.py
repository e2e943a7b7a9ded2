"""Numbers as people write them: 97.5 %, 3.2 s, 0.61x, not reached."""

import math
from collections.abc import Iterable, Mapping
from typing import Any

from thalweg.bench.results import ProblemFacts
from thalweg.bench.statistics import SpeedRatio

NOT_REACHED = "not reached"
FAILED = "failed"
NBSP = "\u00a0"  # keeps a number and its unit on one line
MINUS = "\u2212"


def quality(value: float, problem: ProblemFacts) -> str:
    """Write a value of a problem's metric, such as 97.5 %."""
    if not math.isfinite(value):
        return FAILED
    if problem.percent:
        return f"{_fixed(100 * value, _decimals(problem))}{NBSP}%"
    return number(value)


def difference(value: float, problem: ProblemFacts) -> str:
    """Write a difference of two values of a problem's metric with its sign, without its unit."""
    if math.isinf(value):
        return "+∞" if value > 0 else f"{MINUS}∞"
    if math.isnan(value):
        return FAILED
    if problem.percent:
        return _fixed(100 * value, _decimals(problem), sign="+")
    return number(value, sign="+")


def size(value: float, problem: ProblemFacts) -> str:
    """Write the size of a difference, such as 0.5 points."""
    unit = f"{NBSP}points" if problem.percent else ""
    return difference(abs(value), problem).lstrip("+") + unit


def interval(low: float, high: float, problem: ProblemFacts) -> str:
    """Write an interval of differences, such as -0.3 to +0.5, with a true minus."""
    return f"{difference(low, problem)} to {difference(high, problem)}"


def number(value: float, sign: str = "") -> str:
    """Write a number to four digits, such as 1,234 or 0.001234."""
    if not math.isfinite(value):
        return FAILED if math.isnan(value) else "∞" if value > 0 else f"{MINUS}∞"
    size = abs(value)
    form = ",.0f" if 1000 <= size < 1e7 else ".4g" if size < 1e7 else ".3g"
    return f"{value:{sign}{form}}".replace("-", MINUS)


def cost(value: float, kind: str) -> str:
    """Write a cost of a kind (a field of ``Cost``), such as 1 min 15 s or 412 MB."""
    if math.isnan(value):
        return FAILED
    if math.isinf(value):
        return NOT_REACHED
    if kind in ("seconds", "startup"):
        return seconds(value)
    if kind == "memory":
        return memory(value)
    return number(round(value, 1))


def seconds(value: float) -> str:
    """Write a duration with the unit that suits it."""
    if value < 1:
        return f"{1000 * value:.3g}{NBSP}ms"
    if value < 60:
        return f"{value:.3g}{NBSP}s"
    minutes, rest = divmod(round(value), 60)
    if minutes < 60:
        return f"{minutes}{NBSP}min{NBSP}{rest:02d}{NBSP}s"
    return f"{minutes // 60}{NBSP}h{NBSP}{minutes % 60:02d}{NBSP}min"


def memory(value: float) -> str:
    """Write a number of bytes; 0 stands for what could not be measured."""
    if value <= 0:
        return "not measured"
    for unit in ("kB", "MB"):
        value /= 1000
        if value < 1000:
            return f"{value:.3g}{NBSP}{unit}"
    return f"{value / 1000:.3g}{NBSP}GB"


def speed(ratio: SpeedRatio) -> str:
    """Write a ratio of costs with its interval, such as 0.61x (0.52 to 0.70)."""
    low, high = (_times(value).rstrip("x") for value in (ratio.low, ratio.high))
    if math.isinf(ratio.high):
        bounds = "no bounds" if ratio.low == 0 else f"at least {low}"
    else:
        bounds = f"at most {high}" if ratio.low == 0 else f"{low} to {high}"
    return f"{_times(ratio.ratio)} ({bounds})"


def p_value(value: float) -> str:
    """Write a p-value."""
    return "< 0.001" if value < 0.001 else f"{value:.3f}"


def parameters(values: Mapping[str, Any]) -> str:
    """Write hyperparameters, such as adamw.lr = 0.001, uba.phi = 5."""
    return ", ".join(f"{name}{NBSP}={NBSP}{setting([value])}" for name, value in values.items())


def setting(value: Any) -> str:
    """Write a value of the configuration."""
    if isinstance(value, bool) or value is None:
        return {True: "yes", False: "no", None: "none"}[value]
    if isinstance(value, float):
        return f"{value:.4g}"
    if isinstance(value, Mapping):
        return ", ".join(f"{key}: {setting(item)}" for key, item in value.items())
    if isinstance(value, Iterable) and not isinstance(value, str | bytes):
        return ", ".join(
            f"({setting(item)})" if isinstance(item, tuple | list) else setting(item)
            for item in value
        )
    return str(value)


def space(value: Any) -> str:
    """Write where a hyperparameter was searched, such as 0.0001 to 0.1, logarithmic."""
    if not (isinstance(value, Mapping) and {"low", "high"} <= value.keys()):
        return f"one of {setting(value)}"
    scale = ", logarithmic" if value.get("log") else ""
    whole = ", whole numbers" if value.get("integer") else ""
    return f"{setting(value['low'])} to {setting(value['high'])}{scale}{whole}"


def _decimals(problem: ProblemFacts) -> int:
    """Show a digit of what is smaller than the margin, and one at least."""
    return min(6, max(1, math.ceil(0.5 - math.log10(100 * problem.margin))))


def _fixed(value: float, decimals: int, sign: str = "") -> str:
    text = f"{round(value, decimals) + 0.0:{sign}.{decimals}f}"
    return text.replace("-", MINUS)


def _times(value: float) -> str:
    if not math.isfinite(value):
        return "∞"
    decimals = 1 if value >= 10 else 2
    if 0 < value < 0.1:
        decimals = 1 - math.floor(math.log10(value))
    return f"{value:.{decimals}f}x"
