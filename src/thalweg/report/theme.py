"""The colours of the report, for its page and its charts."""

import itertools
from collections.abc import Mapping
from typing import Any, Literal

Scheme = Literal["light", "dark"]

# The first is the baseline's. Neighbours differ in lightness too, so that they can be told apart
# with any colour vision; all have a contrast of at least 3 with the page.
INKS: Mapping[Scheme, tuple[str, ...]] = {
    "light": (
        "#50565e",
        *("#2b74e2", "#d96c06", "#17988a", "#75107a", "#5c3200"),
        *("#3f96cf", "#e8508a", "#26359c", "#4e6b12"),
    ),
    "dark": (
        "#c3c9d2",
        *("#4f8df0", "#f0762a", "#2fc2a0", "#f2a6ff", "#e8d04e"),
        *("#a6e3ff", "#f0607f", "#8a6cf0", "#a9cc6a"),
    ),
}
DASHES = ([1, 0], [6, 3], [2, 2], [8, 3, 2, 3])  # the next one after every five contenders
TEXT = {"light": "#3d434b", "dark": "#c5cad3"}
GRID = {"light": "#e4e6ea", "dark": "#2c323b"}
PAPER = {"light": "#ffffff", "dark": "#171a20"}


def inks(scheme: Scheme, n_contenders: int) -> list[str]:
    """Return a colour for each contender; all but the baseline's recur."""
    baseline, *others = INKS[scheme]
    return [baseline, *itertools.islice(itertools.cycle(others), max(n_contenders - 1, 0))]


def theme(scheme: Scheme, n_contenders: int, *, legend: bool) -> dict[str, Any]:
    """Return the Vega-Lite configuration of a colour scheme.

    Args:
        scheme: ``light`` or ``dark``.
        n_contenders: How many colours are needed; all but the baseline's recur.
        legend: Whether charts carry a legend of their own.

    Returns:
        The configuration.
    """
    text, grid = TEXT[scheme], GRID[scheme]
    font = 'system-ui, -apple-system, "Segoe UI", Roboto, "Helvetica Neue", Arial, sans-serif'
    return {
        "background": "transparent" if not legend else PAPER[scheme],
        "font": font,
        "view": {"stroke": None},
        "mark": {"color": INKS[scheme][1]},
        "header": {"labelColor": text, "titleColor": text},
        "range": {"category": inks(scheme, n_contenders)},
        "axis": {
            "labelColor": text,
            "titleColor": text,
            "gridColor": grid,
            "domainColor": grid,
            "tickColor": grid,
            "labelFontSize": 12,
            "titleFontSize": 12,
            "titleFontWeight": "normal",
            "titlePadding": 8,
            "labelPadding": 6,
            "tickSize": 0,
            "labelLimit": 210,
        },
        "legend": {
            "disable": not legend,
            "orient": "bottom",
            "columns": 2,
            "labelColor": text,
            "titleColor": text,
            "labelFontSize": 12,
            "labelLimit": 300,
            "titleLimit": 300,
            "symbolStrokeWidth": 2.5,
            "symbolBaseFillColor": text,
            "symbolBaseStrokeColor": text,
        },
        "title": {"color": text, "subtitleColor": text, "anchor": "start", "fontSize": 14},
        "text": {"color": text, "fontSize": 11.5},
        "rule": {"color": text},
        "style": {"quiet": {"stroke": text, "color": text}, "band": {"fill": text, "color": text}},
    }
