"""A race on the terminal, as it goes on."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager

from rich.console import Console, Group
from rich.live import Live
from rich.progress import BarColumn, MofNCompleteColumn, TextColumn, TimeRemainingColumn
from rich.progress import Progress as Bar
from rich.table import Table

from thalweg.bench.comparison import Progress

_STAGES = ("tuning", "defaults", "tuned")


class Board:
    """What is shown: a bar for the race and a row for each contender."""

    def __init__(self) -> None:
        self._bar = Bar(
            TextColumn("{task.description}"),
            BarColumn(),
            MofNCompleteColumn(),
            TextColumn("runs"),
            TimeRemainingColumn(),
        )
        self._task = self._bar.add_task("Racing", total=None)
        self._done: dict[tuple[str, str], dict[str, int]] = {}
        self._failed: dict[tuple[str, str], int] = {}

    def observe(self, progress: Progress) -> None:
        """Take in that a run has become known."""
        self._bar.update(self._task, completed=progress.done, total=progress.total)
        if progress.wish is None or progress.record is None:
            return
        row = progress.wish.job.problem, progress.wish.contender
        stages = self._done.setdefault(row, dict.fromkeys(_STAGES, 0))
        if progress.wish.stage in stages:
            stages[progress.wish.stage] += 1
        self._failed[row] = self._failed.get(row, 0) + (progress.record.trace.outcome != "finished")

    def __rich__(self) -> Group:
        table = Table("problem", "contender", "trials", "defaults", "tuned", "failed", box=None)
        for (problem, contender), stages in sorted(self._done.items()):
            failed = self._failed[problem, contender]
            counts = [str(stages[stage]) for stage in _STAGES]
            table.add_row(problem, contender, *counts, f"[red]{failed}[/red]" if failed else "0")
        return Group(table, self._bar)


@contextmanager
def watch() -> Iterator[Callable[[Progress], None]]:
    """Show a race while it goes on; show nothing where standard error is no terminal."""
    console = Console(stderr=True)
    if not console.is_terminal:
        yield lambda progress: None
        return
    board = Board()
    with Live(board, console=console, refresh_per_second=4, transient=True):
        yield board.observe
