"""The plain charts of the instruments."""

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import altair as alt

Rows = Sequence[Mapping[str, Any]]
PLAIN = 100.0  # times the smallest value, up to which it can be seen beside the largest


def bars(rows: Rows, name: str, value: str, *, log: bool = False) -> "alt.Chart":
    """Draw a bar for each row, in their order; `log` where values may lie decades apart."""
    import altair as alt

    found: dict[str, Any] = _over_decades([row[value] for row in rows]) if log else {}
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_bar()
        .encode(
            x=alt.X(f"{value}:Q", **found),
            y=alt.Y(f"{name}:N", sort=None, title=None),
            tooltip=[f"{name}:N", alt.Tooltip(f"{value}:Q", format=".4g")],
        )
        .properties(height=20 * max(len(rows), 2))
    )
    return chart


def _over_decades(values: Sequence[float]) -> dict[str, Any]:
    """Return scale and axis from 0 on over decades; none where a plain one shows all values."""
    import altair as alt

    sizes = [value for value in values if value > 0 and math.isfinite(value)]
    if not sizes or max(sizes) < PLAIN * min(sizes):
        return {}
    first, last = (math.floor(math.log10(size)) for size in (min(sizes), max(sizes)))
    return {
        "scale": alt.Scale(type="symlog", constant=10.0**first),
        "axis": alt.Axis(values=[0, *(10.0**k for k in range(first, last + 1))], format="~g"),
    }


def lines(
    rows: Rows,
    x: str,
    y: str,
    *,
    color: str | None = None,
    log: bool = False,
    log_x: bool = False,
    points: bool = False,
) -> "alt.Chart":
    """Draw lines through the rows, one for each colour."""
    import altair as alt

    kinds = {True: alt.Scale(type="log"), False: alt.Scale(zero=False)}
    whole = all(isinstance(row[x], int) for row in rows)
    encoding: dict[str, Any] = {
        "x": alt.X(
            f"{x}:Q",
            scale=kinds[log_x],
            axis=alt.Axis(tickMinStep=1) if whole else alt.Undefined,
        ),
        "y": alt.Y(f"{y}:Q", scale=kinds[log]),
    }
    if color:
        encoding["color"] = alt.Color(f"{color}:N", sort=None)
    chart: alt.Chart = (
        alt.Chart(alt.InlineData(values=[dict(row) for row in rows]))
        .mark_line(point=points)
        .encode(**encoding)
        .properties(height=240)
    )
    return chart
