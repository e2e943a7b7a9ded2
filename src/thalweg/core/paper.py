"""A paper: one publication, what it provides and how that is checked."""

from collections.abc import Callable
from dataclasses import dataclass, field

from thalweg.core.method import Method


@dataclass(frozen=True)
class Paper:
    """One publication made usable.

    Args:
        id: In kebab-case.
        title: As published.
        year: Of first publication.
        arxiv: The arXiv id, such as ``1909.11015``.
        headline: What the paper found, with its figures, in a sentence.
        provides: The public objects that implement it.
        methods: How they enter a race.
        oracles: Exact checks that a wrong implementation fails: each raises ``AssertionError``.
    """

    id: str
    title: str
    year: int
    arxiv: str
    headline: str
    provides: tuple[Callable[..., object], ...]
    methods: tuple[Method, ...] = ()
    oracles: tuple[Callable[[], None], ...] = field(default=())
