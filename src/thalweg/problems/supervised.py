"""What the users' own data files share: from labels or numbers to a training problem."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Literal, get_args

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from thalweg.core.errors import ProblemError
from thalweg.core.problem import Metric
from thalweg.core.recipe import suggest
from thalweg.problems.splits import PARTS, complete, standardise
from thalweg.training.batches import Data
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

Task = Literal["classification", "regression"]
BATCH_SIZE = 64
EPOCHS = 20
FEWEST_STEPS, MOST_STEPS = 200, 2000
IMBALANCE = 5  # the largest class over the smallest, from where on every class weighs alike


@dataclass(frozen=True)
class Aim:
    """What is to be predicted, and how a prediction is graded.

    Args:
        target: Classes, (n,), or standardised numbers, (n, k), of all samples.
        n_outputs: Numbers a model puts out for a sample.
        loss: What is minimised.
        metric: What decides.
        parts: Indices of the training, validation and test samples.
        summary: For lists, such as ``3 classes``.
    """

    target: Tensor
    n_outputs: int
    loss: nn.Module
    metric: Metric
    parts: Mapping[str, Tensor]
    summary: str

    def problem(
        self,
        name: str,
        model: Callable[[], nn.Module],
        data: Callable[[Tensor], Data],
        *,
        description: str,
        source_text: str,
    ) -> TrainingProblem:
        """Make the problem, of about twenty epochs within 200 to 2000 steps.

        Args:
            name: As shown in reports.
            model: Builds the model.
            data: Returns the data of some samples, given their indices.
            description: One line for lists, to which the summary is added.
            source_text: What identifies the data.
        """
        train, validation, test = (data(self.parts[part]) for part in PARTS)
        steps = -(-EPOCHS * len(self.parts["train"]) // BATCH_SIZE)
        return TrainingProblem(
            name,
            model=model,
            train=train,
            validation=validation,
            test=test,
            loss=self.loss,
            metric=self.metric,
            batch_size=BATCH_SIZE,
            steps=min(max(steps, FEWEST_STEPS), MOST_STEPS),
            description=f"{description}; {self.summary}",
            source_text=source_text,
        )


def check_task(task: str | None) -> None:
    """Raise :class:`ProblemError` unless the task is one there is, or ``None``."""
    tasks = get_args(Task)
    if task is not None and task not in tasks:
        raise ProblemError(
            f"there is no task {task!r}{suggest(task, tasks)}; write {' or '.join(tasks)}"
        )


def refuse_rows(wrong: NDArray[np.bool_], what: str, fault: str, remedy: str) -> None:
    """Raise :class:`ProblemError` where some rows are wrong, naming the first of them."""
    if wrong.any():
        row = int(wrong.argmax()) + 1
        raise ProblemError(
            f"{what} {fault} in {wrong.sum()} of {len(wrong)} rows (the first is row {row}); "
            f"{remedy}"
        )


def classify(labels: NDArray[Any], given: dict[str, Tensor], what: str) -> Aim:
    """Aim at classes.

    Every class must occur in the training part. Where one is five times as frequent as another,
    all weigh alike in loss and metric.

    Args:
        labels: Of all samples, (n,), anything that can be sorted.
        given: Indices of the samples of the parts that are given, ``train`` among them.
        what: The labels, for error messages.

    Raises:
        ProblemError: Where there are too few classes, samples, or samples of a class.
    """
    names, codes = np.unique(labels, return_inverse=True)
    if len(names) < 2:
        raise ProblemError(
            f"{what} holds one class only, {_show(names[0])}; "
            "give samples of at least two classes to tell apart"
        )
    if len(names) > len(labels) / 2:
        raise ProblemError(
            f"{what} holds {len(names)} different values in {len(labels)} samples, too many to be "
            "classes; choose another target, or write numbers as plain numbers and "
            "give task=regression"
        )
    target = torch.tensor(codes)
    held_out = len(PARTS) - len(given)
    counts = torch.bincount(target[given["train"]], minlength=len(names))
    if (counts <= held_out).any():
        rare = int(counts.argmin())
        there = f"{int(counts[rare]) or 'no'} training sample{'' if counts[rare] == 1 else 's'}"
        raise ProblemError(
            f"class {_show(names[rare])} of {what} has {there}; "
            f"give it at least {held_out + 1}, or leave it out"
        )
    parts = complete(given, target, what)
    counts = torch.bincount(target[parts["train"]], minlength=len(names))
    balanced = bool(counts.max() <= IMBALANCE * counts.min())
    weight = None if balanced else counts.sum() / (len(names) * counts)
    return Aim(
        target,
        len(names),
        nn.CrossEntropyLoss(weight),
        METRICS["accuracy" if balanced else "balanced accuracy"],
        parts,
        f"{len(names)} classes",
    )


def regress(values: NDArray[Any], given: dict[str, Tensor], what: str) -> Aim:
    """Aim at numbers, standardised with the training samples' mean and deviation.

    Args:
        values: Of all samples, (n,) or (n, k), finite.
        given: As for :func:`classify`.
        what: The values, for error messages.

    Raises:
        ProblemError: Where there are too few samples, or the values of a part are all the same.
    """
    columns = torch.tensor(values, dtype=torch.float64).reshape(len(values), -1)
    parts = complete(given, torch.zeros(len(columns), dtype=torch.long), what)
    for part, index in parts.items():
        chosen = columns[index]
        if (chosen == chosen[0]).all(0).any():
            raise ProblemError(
                f"{what} is {chosen[0, 0]:g} in every sample of the {part} part, so there is "
                "nothing to predict; give samples that differ, or choose another target"
            )
    k = columns.shape[1]
    return Aim(
        standardise(columns, parts["train"]),
        k,
        nn.MSELoss(),
        METRICS["R2"],
        parts,
        "regression" if k == 1 else f"regression of {k} numbers",
    )


def _show(label: Any) -> str:
    return repr(label.item() if isinstance(label, np.generic) else label)
