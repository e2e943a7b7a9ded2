"""What the benchmarks share: contenders that take turns, and tables of what they took."""

import json
import time
from collections.abc import Callable, Mapping, Sequence
from statistics import median

from rich.console import Console
from rich.table import Table

Cell = float | tuple[float, float, float]


def take_turns(
    contenders: Mapping[str, Callable[[], object]], rounds: int, steps: int = 1
) -> dict[str, list[float]]:
    """Return the seconds of a step in every round, after one round to warm up."""
    seconds: dict[str, list[float]] = {name: [] for name in contenders}
    for turn in range(rounds + 1):
        for name, step in contenders.items():
            start = time.perf_counter()
            for _ in range(steps):
                step()
            if turn:
                seconds[name].append((time.perf_counter() - start) / steps)
    return seconds


def ratio(seconds: Sequence[float], others: Sequence[float]) -> float:
    """Return the median over the rounds of the ratio within a round."""
    return median(mine / other for mine, other in zip(seconds, others, strict=True))


def show(tables: Mapping[str, Mapping[str, Mapping[str, Cell]]], as_json: bool) -> None:
    """Print tables of contenders by title, or all of them as JSON."""
    if as_json:
        print(json.dumps(tables, indent=2))
        return
    for title, rows in tables.items():
        table = Table("", *next(iter(rows.values())), title=title, title_justify="left")
        for name, cells in rows.items():
            table.add_row(name, *map(_shown, cells.values()))
        Console(width=120).print(table)


def _shown(cell: Cell) -> str:
    if isinstance(cell, tuple):
        return "{:.2f} [{:.2f}, {:.2f}]".format(*cell)
    return f"{cell:.3g}"
