"""What is examined: a trained model with its data, and the run that was watched."""

import copy
from collections.abc import Callable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.optim import Optimizer
from torch.utils.data import Dataset, IterableDataset

from thalweg.core.recipe import Recipe
from thalweg.core.seeds import derive_seed
from thalweg.core.trace import Diverged, Point
from thalweg.diagnostics.memorization import Store
from thalweg.training.batches import Batch, Batches, leaves, part, select
from thalweg.training.loop import Training, trained
from thalweg.training.problem import TrainingProblem, evaluating, join
from thalweg.training.setup import Loss, Setup, apply_model

CHUNK = 256  # samples at a time where no gradient is needed


@dataclass(frozen=True, eq=False)
class Run:
    """A training run, step by step as it was watched; tensors are on the CPU.

    Args:
        losses: Of each step's batch, before the step, (steps,).
        lrs: Learning rate of each step, of the first group of parameters, (steps,).
        gradients: Norm of each parameter's gradient in each step, (steps, parameters).
        names: Of the parameters.
        initial: The model's state before the first step.
        points: What was measured along the run.
        optimizer: Its class.
        settings: Of the first group of parameters, at the end.
        diverged: Whether the loss or the weights ceased to be finite.
    """

    losses: Tensor
    lrs: Tensor
    gradients: Tensor
    names: Sequence[str]
    initial: Mapping[str, Tensor]
    points: Sequence[Point]
    optimizer: type[Optimizer]
    settings: Mapping[str, Any]
    diverged: bool


@dataclass(frozen=True, eq=False)
class Subject:
    """A trained model and all that an instrument may want to know of its training.

    Args:
        problem: Data, loss and metric; how a fresh model is built.
        model: As trained, on its device. Leave it as you find it.
        recipe: What it is trained by; for a checkpoint what fresh models are trained by.
        steps: Length of a run.
        seed: Of its run.
        device: Where the model lives.
        run: As it was watched; none of a checkpoint.
        store: What keeps the parts of long measurements, so that they go on after a crash.
    """

    problem: TrainingProblem
    model: nn.Module
    recipe: Recipe
    steps: int
    seed: int = 0
    device: str = "cpu"
    run: Run | None = field(default=None, repr=False)
    store: Store | None = field(default=None, repr=False)
    _rows: dict[tuple[str, int], Batch] = field(default_factory=dict, init=False, repr=False)
    _outputs: dict[str, Tensor] = field(default_factory=dict, init=False, repr=False)

    @property
    def loss(self) -> Loss:
        """The problem's loss, on the device."""
        loss = self.problem.loss
        return loss.to(self.device) if isinstance(loss, nn.Module) else loss

    @cached_property
    def batch_size(self) -> int:
        """Samples a step."""
        return self.problem.batches("train", 0, self.device).batch_size

    def n_samples(self, split: str) -> int:
        """Count the samples of a split; 0 where they are streamed."""
        data = self.problem.splits[split].data
        return 0 if isinstance(data, IterableDataset) else len(cast(Sized, data))

    @property
    def passes(self) -> float:
        """How often a run goes through the training data; 1 where they are streamed."""
        n = self.n_samples("train")
        return self.steps * self.batch_size / n if n else 1.0

    def share(self, most: int = 2000) -> float:
        """Return how much of the training data :meth:`rows` reads; 1 where they are streamed."""
        n = self.n_samples("train")
        return min(1.0, most / n) if n else 1.0

    def batches(self, split: str) -> Iterator[Batch]:
        """Yield all samples of a split in the order of the data."""
        yield from self.problem.batches(split, 0, self.device, shuffle=False, batch_size=CHUNK)

    def rows(self, split: str, most: int = 2000) -> Batch:
        """Return samples of a split in the order of the data, with their positions there.

        Args:
            split: ``train``, ``validation`` or ``test``.
            most: Where there are more, so many of them, drawn at random.
        """
        if (split, most) not in self._rows:
            self._rows[split, most] = self._read(split, most)
        return self._rows[split, most]

    def outputs(self, split: str) -> Tensor:
        """Return the model's outputs in evaluation mode for what :meth:`rows` returns."""
        if split not in self._outputs:
            self._outputs[split] = outputs_of(self.model, self.rows(split))
        return self._outputs[split]

    @cached_property
    def n_classes(self) -> int:
        """How many classes there are to tell apart; 0 where the task is another."""
        sample = self.rows("train", 8)
        with evaluating(self.model):
            output = apply_model(self.model, sample.input)
        target = sample.target
        fits = isinstance(output, Tensor) and isinstance(target, Tensor) and output.dim() == 2
        whole = fits and target.dim() == 1 and not target.is_floating_point()
        return int(output.shape[1]) if whole and output.shape[1] > 1 else 0

    @cached_property
    def offers(self) -> frozenset[str]:
        """What instruments may need and this subject has, such as ``classes``."""
        run = self.run
        finite = all(bool(p.isfinite().all()) for p in self.model.parameters())
        has = {
            "model": finite,
            "run": run is not None,
            "steps": run is not None and len(run.losses) > 0,
            "classes": self.n_classes > 0,
            "samples": self.n_samples("train") > 1,
            "images": self._images,
            "plain": is_plain(self.model),
            "gradient-descent": run is not None and issubclass(run.optimizer, torch.optim.SGD),
        }
        return frozenset(name for name, there in has.items() if there)

    @property
    def _images(self) -> bool:
        sample = self.rows("train", 8).input
        convolves = any(isinstance(part, nn.Conv2d) for part in self.model.modules())
        return convolves and isinstance(sample, Tensor) and sample.dim() == 4

    def _read(self, split: str, most: int) -> Batch:
        home, length, index = self.problem.splits[split], self.n_samples(split), None
        data = home.data
        if length:
            index = torch.arange(length)
            if length > most:
                generator = torch.Generator().manual_seed(derive_seed("rows", split))
                index = torch.randperm(length, generator=generator)[:most].sort().values
            data = part(data, index)
        inputs, targets, n = [], [], 0
        for batch in Batches(data, CHUNK, shuffle=False, device=self.device, loader=home.loader):
            inputs.append(batch.input)
            targets.append(batch.target)
            n += len(leaves(batch.target)[0])
            if n >= most:
                break
        return Batch(join(inputs), join(targets), index)

    def start(self) -> nn.Module | None:
        """Return a copy of the model as it was before the first step; none of a checkpoint."""
        if self.run is None:
            return None
        model = copy.deepcopy(self.model)
        model.load_state_dict(self.run.initial)
        return model

    def setup(self, *, seed: int | None = None, steps: int | None = None) -> Setup:
        """Return the setup of a run by the recipe, from the same start unless a seed is given."""
        seed = self.seed if seed is None else seed
        setup = self.problem.setup(seed, steps=steps or self.steps, device=self.device)
        return self.problem.apply(self.recipe, setup)

    def train_on(self, data: Dataset[Any], number: int, *, longest: int) -> nn.Module:
        """Train a fresh model on other data by the recipe, which may change their batches.

        Args:
            data: What to train on.
            number: Of the training: each has another seed.
            longest: Steps at most.
        """
        steps = min(self.steps, longest)
        setup = self.problem.setup(self.seed + number, steps=steps, device=self.device)
        batches = Batches(data, self.batch_size, seed=number, device=self.device)
        *_, model = trained(self.problem.apply(self.recipe, replace(setup, batches=batches)))
        return model

    def replay(self, *, seed: int | None = None, steps: int | None = None) -> Iterator[nn.Module]:
        """Train anew; yield the model before the first step and again after every step."""
        setup = self.setup(seed=seed, steps=steps)
        yield from trained(setup, setup.steps)


def watch(
    problem: TrainingProblem,
    recipe: Recipe,
    *,
    seed: int = 0,
    steps: int | None = None,
    device: str = "cpu",
    observe: Callable[[Point], None] = lambda point: None,
) -> Subject:
    """Train by a recipe and write down every step.

    Args:
        problem: What to train on.
        recipe: What to train by.
        seed: As in a race.
        steps: Length of the run; the problem's own if not given.
        device: Where to train.
        observe: Called with each point as it is measured.

    Returns:
        The trained model and its run; one that diverged is watched as far as it went.
    """
    steps = steps or problem.steps
    losses: list[Tensor] = []
    lrs: list[float] = []
    gradients: list[Tensor] = []
    points: list[Point] = []
    models: list[nn.Module] = []
    optimizers: list[Optimizer] = []
    initial: dict[str, Tensor] = {}

    def evaluate(model: nn.Module) -> dict[str, float]:
        if not models:
            initial.update({k: v.detach().clone() for k, v in model.state_dict().items()})
        models[:] = [model]
        return problem.evaluate(model, "validation", device=device)

    setup = problem.apply(recipe, problem.setup(seed, steps=steps, device=device))

    def step(training: Training, batch: Batch) -> Tensor:
        optimizers[:] = [training.optimizer]
        lrs.append(float(training.optimizer.param_groups[0].get("lr", 0.0)))
        loss = setup.step(training, batch)
        losses.append(loss.detach())
        gradients.append(_norms(training.model))
        return loss

    def optimizer(model: nn.Module) -> Optimizer:
        optimizers[:] = [setup.optimizer(model)]
        return optimizers[0]

    torch.manual_seed(setup.seed)
    diverged = False
    try:
        for point in setup.loop(replace(setup, evaluate=evaluate, step=step, optimizer=optimizer)):
            points.append(point)
            observe(point)
    except Diverged:
        diverged = True
    model = models[0]
    run = Run(
        losses=torch.stack(losses).double().cpu() if losses else torch.zeros(0),
        lrs=torch.tensor(lrs, dtype=torch.float64),
        gradients=torch.stack(gradients).double().cpu() if gradients else torch.zeros(0, 0),
        names=[name for name, _ in model.named_parameters()],
        initial=initial,
        points=points,
        optimizer=type(optimizers[0]),
        settings={k: v for k, v in optimizers[0].param_groups[0].items() if k != "params"},
        diverged=diverged,
    )
    return Subject(problem, model, recipe, steps, seed, device, run)


def is_activation(part: nn.Module) -> bool:
    """Tell whether a module is one of torch's activations."""
    beside = nn.MultiheadAttention  # which torch keeps in the same file
    return type(part).__module__ == nn.Tanh.__module__ and not isinstance(part, beside)


def is_plain(model: nn.Module) -> bool:
    """Tell whether linear layers or convolutions follow each other, one activation between."""
    if not isinstance(model, nn.Sequential):
        return False
    others = (nn.Sequential, nn.Flatten, nn.Identity, nn.Dropout, nn.Linear, nn.Conv1d, nn.Conv2d)
    rest = [part for part in model.modules() if type(part) not in others]
    return all(is_activation(part) for part in rest) and len(set(map(repr, rest))) == 1


def outputs_of(model: nn.Module, rows: Batch) -> Tensor:
    """Return a model's outputs in evaluation mode, chunk by chunk; all is left as it was."""
    n = len(leaves(rows.input)[0])
    with evaluating(model):
        parts = [
            apply_model(model, select(rows.input, slice(i, i + CHUNK))) for i in range(0, n, CHUNK)
        ]
    outputs: Tensor = join(parts)
    return outputs


def _norms(model: nn.Module) -> Tensor:
    """Return the norm of each parameter's gradient, 0 where there is none."""
    parameters = list(model.parameters())
    norms = torch.zeros(len(parameters), device=parameters[0].device)
    found = {i: p.grad for i, p in enumerate(parameters) if p.grad is not None}
    if found:
        sizes = torch._foreach_norm(list(found.values()))
        norms[list(found)] = torch.stack(list(sizes)).detach().to(norms)
    return norms
