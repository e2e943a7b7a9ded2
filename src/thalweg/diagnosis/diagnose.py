"""``thalweg.diagnose``: what is wrong with a training, from one call."""

import time as clock
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from thalweg.bench import wording
from thalweg.bench.budget import CALIBRATION_STEPS, Budget, affordable_steps
from thalweg.bench.comparison import versions
from thalweg.bench.store import Kept
from thalweg.bench.wording import number
from thalweg.bench.work import Job
from thalweg.core.catalogue import catalogue
from thalweg.core.errors import ProblemError, RecipeError, SettingError
from thalweg.core.problem import Problem
from thalweg.core.recipe import Recipe
from thalweg.core.trace import Diverged, Point, Trace
from thalweg.diagnosis.checkpoint import load_checkpoint
from thalweg.diagnosis.examine import choose, examine
from thalweg.diagnosis.results import Diagnosis, Examination
from thalweg.problems.loading import load_problem
from thalweg.training.device import find_device
from thalweg.training.problem import TrainingProblem
from thalweg.training.subject import Subject, watch


class Interrupted(KeyboardInterrupt):
    """A diagnosis was stopped; what was found until then is in ``diagnosis``."""

    def __init__(self, diagnosis: Diagnosis) -> None:
        super().__init__("the diagnosis was interrupted")
        self.diagnosis = diagnosis


def diagnose(
    problem: str | Problem,
    *,
    checkpoint: str | Path | None = None,
    recipe: str | Recipe | None = None,
    budget: str | None = None,
    only: str | Sequence[str] | None = None,
    time: str = "5m",
    device: str = "auto",
    store: str | None = None,
    seed: int = 0,
    say: Callable[[str], None] = lambda line: None,
    command: str | None = None,
) -> Diagnosis:
    """Examine a training with every instrument that fits it and the time.

    Without a checkpoint the problem's model is trained by the recipe and watched step by step.
    Each instrument then looks for one kind of trouble, the cheapest first; one that fails leaves
    the rest standing.

    Args:
        problem: The name of an embedded problem, a file (see :func:`thalweg.load_problem`), or a
            problem of training.
        checkpoint: Weights of the problem's model: a safetensors file, or a ``state_dict`` that
            ``torch.save`` wrote. A file that holds code is refused.
        recipe: What to train by, such as ``"adamw(lr=3e-4)+cosine"``; the problem's own baseline
            if not given. Of a checkpoint: by what instruments train further models.
        budget: Length of the run: ``5000steps``, ``90s``, ``2m``, ``1h``. The problem's own if
            not given.
        only: Names of instruments, as a list or with commas between them; all if not given.
        time: How long the examination may take after the training: ``90s``, ``5m``, ``1h``.
        device: ``cpu``, ``cuda``, or ``auto`` for the best there is.
        store: SQLite file or URL of a database in which an instrument that trains many models
            keeps those it is done with; the same call goes on from there.
        seed: Of initial weights and order of the data.
        say: Called with lines about the progress.
        command: What to show in the report as the way to repeat the diagnosis.

    Returns:
        The diagnosis: ``.verdict`` in words, ``.symptoms``, ``.report(path)``.

    Raises:
        UserError: Something given cannot be used; the message says how to mend it. Nothing has
            been written then.
        Interrupted: A ``KeyboardInterrupt`` with the diagnosis so far.

    Example:
        >>> import thalweg
        >>> found = thalweg.diagnose("wine", budget="30steps", only="units,modes")
        >>> [item.outcome for item in found.examinations]
        ['done', 'done']
    """
    limit, length = _time(time), _budget(budget)
    if checkpoint is not None and budget is not None:
        raise SettingError("a checkpoint is not trained further; leave the budget out")
    chosen = choose(only.split(",") if isinstance(only, str) else only)
    where = find_device(device)
    task = _training(load_problem(problem) if isinstance(problem, str) else problem)
    how = _recipe(recipe, task)
    _check(task, how, where)
    settings = {
        "recipe": str(how),
        "checkpoint": None if checkpoint is None else str(checkpoint),
        "budget": str(length),
        "only": [instrument.name for instrument in chosen] if only else None,
        "time": time,
        "device": where,
        "seed": seed,
        "command": command,
    }
    facts: dict[str, str] = {}
    done: list[Examination] = []

    def found() -> Diagnosis:
        return Diagnosis(task.name, task.description, facts, tuple(done), settings)

    try:
        steps = _length(task, how, length, where)
        with _kept(store, task, how, seed, steps, where) as kept:
            subject = (
                _load(task, how, Path(checkpoint), where, seed)
                if checkpoint is not None
                else _train(task, how, steps, where, seed, say)
            )
            facts |= _facts(subject)
            subject = replace(subject, store=kept)
            for item in examine(subject, chosen, seconds=limit, say=say):
                done.append(item)
    except KeyboardInterrupt:
        made = {item.instrument.name for item in done}
        done += [
            Examination(instrument, "interrupted", reason="the diagnosis was stopped before")
            for instrument in chosen
            if instrument.name not in made
        ]
        raise Interrupted(found()) from None
    return found()


def _length(problem: TrainingProblem, recipe: Recipe, budget: Budget, device: str) -> int:
    """Return the steps of the run: of a budget of seconds by the speed of a short one."""
    if budget.seconds is None:
        return budget.steps or problem.steps
    run = watch(problem, recipe, steps=CALIBRATION_STEPS, device=device).run
    assert run is not None
    return affordable_steps(Trace(tuple(run.points)), budget.seconds)


@contextmanager
def _kept(
    url: str | None, problem: TrainingProblem, recipe: Recipe, seed: int, steps: int, device: str
) -> Iterator[Kept | None]:
    """Open what is kept of this very training, if anything is to be."""
    if url is None:
        yield None
        return
    run = Job(problem.name, problem.source, recipe, seed, steps, device, False, versions())
    kept = Kept(url, of=f"{problem.name}, {run.key}")
    try:
        yield kept
    finally:
        kept.close()


def _train(
    problem: TrainingProblem,
    recipe: Recipe,
    steps: int,
    device: str,
    seed: int,
    say: Callable[[str], None],
) -> Subject:
    say(f"training {problem.name} by {recipe} for {number(steps)} steps")
    start = clock.monotonic()
    subject = watch(problem, recipe, seed=seed, steps=steps, device=device)
    took = wording.seconds(clock.monotonic() - start)
    assert subject.run is not None
    end = "it diverged" if subject.run.diverged else _measured(subject.run.points[-1])
    say(f"trained in {took}: {end}")
    return subject


def _load(problem: TrainingProblem, recipe: Recipe, path: Path, device: str, seed: int) -> Subject:
    model = problem.setup(seed, device=device).model
    load_checkpoint(model, path, problem.name)
    return Subject(problem, model, recipe, problem.steps, seed, device)


def _facts(subject: Subject) -> dict[str, str]:
    problem, run = subject.problem, subject.run
    parameters = list(subject.model.parameters())
    sizes = [subject.n_samples(split) for split in ("train", "validation", "test")]
    facts = {
        "Model": f"{type(subject.model).__name__}, "
        f"{number(sum(p.numel() for p in parameters))} parameters in {len(parameters)} tensors",
        "Samples": " + ".join(number(n) if n else "streamed" for n in sizes)
        + " to train, validate and test",
    }
    if subject.n_classes:
        facts["Classes"] = str(subject.n_classes)
    if run is None:
        facts["Training"] = "none: a checkpoint"
        facts["Result"] = _written(
            problem.evaluate(subject.model, "validation", device=subject.device)
        )
        return facts
    facts["Training"] = (
        f"{subject.recipe}, {number(subject.steps)} steps of {subject.batch_size} samples, "
        f"{subject.passes:.3g} epochs"
    )
    if len(run.lrs):
        facts["Learning rate"] = f"{float(run.lrs.max()):.3g} at most"
    facts["Result"] = "diverged" if run.diverged else _measured(run.points[-1])
    return facts


def _measured(point: Point) -> str:
    return _written({k: v for k, v in point.quality.items() if k.startswith("validation/")})


def _written(quality: Mapping[str, float]) -> str:
    return ", ".join(f"{name.replace('/', ' ')} {value:.4g}" for name, value in quality.items())


def _training(problem: Problem) -> TrainingProblem:
    if not isinstance(problem, TrainingProblem):
        name = getattr(problem, "name", problem)
        raise ProblemError(
            f"{name} is no training; what is examined is a model with its data, so give a "
            "TrainingProblem, such as digits"
        )
    return problem


def _check(problem: TrainingProblem, recipe: Recipe, device: str) -> None:
    try:
        problem.check(recipe, device=device)
    except ProblemError as error:
        if not isinstance(error.__cause__, Diverged):  # that is what is to be looked into
            raise


def _recipe(given: str | Recipe | None, problem: TrainingProblem) -> Recipe:
    recipe = (
        given if isinstance(given, Recipe) else catalogue().recipe(given or problem.contenders[0])
    )
    if recipe.kind != problem.kind:
        raise RecipeError(f"{recipe} is for {recipe.kind}, {problem.name} is {problem.kind}")
    return recipe


def _budget(text: str | None) -> Budget:
    try:
        return Budget.parse(text)
    except ValueError as error:
        raise SettingError(str(error)) from None


def _time(text: str) -> float:
    try:
        seconds = Budget.parse(text).seconds
    except ValueError:
        seconds = None
    if seconds is None:
        raise SettingError(f"cannot read the time {text!r}; write one like 90s, 5m or 1h")
    return seconds
