"""Solving as a problem: what is given, and how far a value is from solving it."""

import hashlib
import inspect
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any, ClassVar

import torch
from torch import Tensor, nn

from thalweg.core.clock import Clock
from thalweg.core.errors import RecipeError
from thalweg.core.problem import Decides, Metric
from thalweg.core.recipe import Recipe
from thalweg.core.seeds import derive_seed
from thalweg.core.trace import Cost, Diverged, Point
from thalweg.training.memory import peak_memory, reset_peak_memory

SPACING = 1.02  # of the steps at which a run is measured: all up to 100, then this factor apart


@dataclass(frozen=True, eq=False)
class SolvingProblem:
    """Something given that is to be solved, anew for every seed.

    A run ends where the target is met, at the latest after its steps. The problem measures itself,
    off the clock, and takes no solver's word: after each of the first hundred steps, then at steps
    2 % apart. What is better than the target counts as the target, since more was not asked for.

    Args:
        name: As shown in reports.
        kind: Of the methods that solve it.
        given: Draws what is to be solved from a seed: the solvers' positional arguments.
        metric: What a value is graded by: a ``function(value, *given)``, lower is better.
        target: Value of the metric at which it is solved.
        steps: Most steps of a run.
        contenders: Recipes to race where the user names none; the first is the baseline.
        description: One line for lists.
        source_text: What identifies the problem beside what is given, such as the text of its
            source file.
    """

    # Steps of unlike solvers are unlike work; seconds are what all of them spend.
    decides: ClassVar[Decides] = "seconds"

    name: str
    kind: str
    given: Callable[[int], tuple[Any, ...]]
    metric: Metric
    target: float
    steps: int
    contenders: tuple[str, ...]
    description: str = ""
    source_text: str = field(default="", repr=False)

    @property
    def progress(self) -> str:
        """Key of the metric."""
        return self.metric.name

    @property
    def judged(self) -> str:
        """Key of the metric: tuning and judging take unlike seeds, hence unlike problems."""
        return self.metric.name

    @property
    def offers(self) -> frozenset[str]:
        """Nothing that a method may need beside what is given."""
        return frozenset()

    @cached_property
    def source(self) -> str:
        """Digest of the source text, the numbers and what is given for a seed."""
        text = self.source_text or inspect.getsource(inspect.unwrap(self.given))
        numbers = (self.name, self.steps, self.target, self.metric.name)
        return hashlib.sha256(f"{text}{self.fingerprint(0)}{numbers}".encode()).hexdigest()

    def check(self, recipe: Recipe, *, device: str = "cpu") -> None:
        """Make one step, to fail before the race.

        Raises:
            RecipeError: Where the recipe needs what there is not, or has a wrong argument.
        """
        if recipe.needs:
            raise RecipeError(
                f"{recipe} needs {', '.join(sorted(recipe.needs))}, which {self.name} does not "
                "offer"
            )
        try:
            for _ in self.run(recipe, 0, steps=1, device=device, final=False):
                pass
        except Diverged:
            pass
        except Exception as error:
            text = " ".join(str(error).split())
            raise RecipeError(
                f"{recipe} fails on {self.name}: {type(error).__name__}: {text}"
            ) from error

    def fingerprint(self, seed: int) -> str:
        """Hash what is given."""
        digest = hashlib.sha256()
        for item in self.given(derive_seed("given", seed)):
            parts = item.state_dict().values() if isinstance(item, nn.Module) else [item]
            for part in parts:
                known = part.numpy().tobytes() if isinstance(part, Tensor) else repr(part).encode()
                digest.update(known)
        return digest.hexdigest()[:16]

    def run(
        self, recipe: Recipe, seed: int, *, steps: int, device: str, final: bool
    ) -> Iterator[Point]:
        """Solve by the recipe, and measure what there is along the way."""
        given = tuple(
            item.to(device) if isinstance(item, Tensor | nn.Module) else item
            for item in self.given(derive_seed("given", seed))
        )
        (ingredient,) = recipe.ingredients
        place = torch.device(device)
        torch.manual_seed(derive_seed("method", seed))
        clock = Clock(torch.cuda.synchronize if place.type == "cuda" else None)
        reset_peak_memory(place)
        with clock:
            iterates = ingredient.method.build(**ingredient.arguments)(*given)
        due, startup = 0, 0.0
        for step in range(steps + 1):
            with clock:
                item = next(iterates, None)
            if item is None:  # the solver has given up
                return
            if step <= 1:
                startup = clock.seconds
            if step < min(due, steps):
                continue
            due = max(step + 1, int(step * SPACING))
            value = self._measure(item.value, given)
            cost = Cost(
                steps=step,
                seconds=clock.seconds,
                startup=startup,
                gradients=item.gradients,
                functions=item.functions,
                products=item.products,
                memory=peak_memory(place),
            )
            yield Point(cost, {self.metric.name: value})
            if value <= self.target:
                return

    def _measure(self, value: Any, given: tuple[Any, ...]) -> float:
        assert self.metric.function is not None
        measured = float(self.metric.function(value, *given))
        if math.isnan(measured):
            raise Diverged(f"the {self.metric.name} is no longer a number")
        return max(measured, self.target)
