"""Arrays of the user's: NumPy archives with inputs and targets."""

import hashlib
import zipfile
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.core.errors import ProblemError
from thalweg.problems.nets import conv_net, mlp
from thalweg.problems.splits import PARTS
from thalweg.problems.supervised import Task, classify, refuse_rows, regress
from thalweg.training.problem import TrainingProblem

FORM = "save it with numpy.savez(file, X=..., y=...) or with X_train, y_train, X_test, y_test"
ROLES = {
    "X": ("x", "data", "images", "inputs"),
    "y": ("y", "labels", "targets"),
}
PART_NAMES = {
    "train": ("train", "training"),
    "validation": ("val", "valid", "validation"),
    "test": ("test",),
}
CHANNELS = (1, 3, 4)


def array_problem(path: Path, task: Task | None) -> TrainingProblem:
    """Make a problem of an archive: an MLP for rows, a small conv net for images.

    Args:
        path: A ``.npz`` file with ``X`` and ``y``, or with ``X_train``, ``y_train`` and some of
            ``X_validation``, ``y_validation``, ``X_test``, ``y_test``; capitals do not matter.
            Inputs are (n,) or (n, k) numbers, or images of shape (n, height, width),
            (n, channels, height, width) or (n, height, width, channels) with 1, 3 or 4 channels.
            Targets are classes, (n,), or real numbers, (n,) or (n, k).
        task: ``classification`` or ``regression``; where not given, targets in floating point are
            predicted as numbers and all others are classes.

    Raises:
        ProblemError: Where the file cannot be read, or its shapes or values do not fit.
    """
    arrays = _read(path)
    inputs, targets, given = _joined(_by_part(arrays, path.name), path.name)
    what = f"y in {path.name}"
    real = targets.dtype.kind == "f"
    if real:
        refuse_rows(
            ~np.isfinite(targets.reshape(len(targets), -1)).all(1),
            what,
            "is missing or infinite",
            "give these a value, or leave the samples out",
        )
    if (task or ("regression" if real else "classification")) == "classification":
        if targets.ndim > 1:
            raise ProblemError(
                f"{what} has shape {targets.shape}; give one class a sample, shape (n,), "
                "or task=regression to predict several numbers"
            )
        aim = classify(targets, given, what)
    elif targets.dtype.kind in "biuf" and targets.ndim <= 2:
        aim = regress(targets, given, what)
    else:
        raise ProblemError(
            f"{what} is {targets.dtype} of shape {targets.shape}; for a regression give numbers "
            "of shape (n,) or (n, k)"
        )
    scaled = _scaled(inputs, aim.parts["train"])
    shape = tuple(scaled.shape[1:])
    model = (
        partial(conv_net, shape[0], max(shape[1:]), aim.n_outputs)
        if len(shape) == 3
        else partial(mlp, shape[0], aim.n_outputs)
    )
    return aim.problem(
        path.name,
        model,
        lambda index: (scaled[index], aim.target[index]),
        description=f"{path.name}: {len(scaled)} samples of shape {shape}",
        source_text=f"{hashlib.sha256(path.read_bytes()).hexdigest()} {task}",
    )


def _read(path: Path) -> dict[str, NDArray[Any]]:
    try:
        archive = np.load(path, allow_pickle=False)
        if isinstance(archive, np.ndarray):
            raise ProblemError(f"{path.name} is a single array; {FORM}")
        with archive:
            arrays = {}
            for name in archive.files:
                try:
                    arrays[name] = archive[name]
                except ValueError:
                    raise ProblemError(
                        f"array {name!r} in {path.name} holds Python objects, which are not loaded "
                        "because they may run code; convert it to numbers or text"
                    ) from None
            return arrays
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        if isinstance(error, ProblemError):
            raise
        raise ProblemError(f"{path.name} cannot be read as a NumPy archive; {FORM}") from None


def _by_part(arrays: dict[str, NDArray[Any]], source: str) -> dict[str, dict[str, NDArray[Any]]]:
    """Sort arrays by part of the data and by role, X or y."""
    parts: dict[str, dict[str, NDArray[Any]]] = {}
    for name, array in arrays.items():
        words = name.lower().split("_")
        role = next((role for role, names in ROLES.items() if set(words) & set(names)), None)
        part = next((part for part, names in PART_NAMES.items() if set(words) & set(names)), None)
        if role is not None:
            entry = parts.setdefault(part or "train", {})
            if role in entry:
                raise ProblemError(f"{source} holds {role} twice, again as {name!r}; {FORM}")
            entry[role] = array
    for part, entry in parts.items():
        for role in ROLES:
            if role not in entry:
                raise ProblemError(f"{source} holds no {role} for its {part} data; {FORM}")
    if "train" not in parts:
        held = ", ".join(arrays) or "nothing"
        raise ProblemError(f"{source} holds {held}, but no X and y to train on; {FORM}")
    return {part: parts[part] for part in PARTS if part in parts}


def _joined(
    parts: dict[str, dict[str, NDArray[Any]]], source: str
) -> tuple[NDArray[Any], NDArray[Any], dict[str, Tensor]]:
    """Join the parts' inputs and targets, and say which samples are of which part."""
    start = 0
    given = {}
    first = parts["train"]
    for part, entry in parts.items():
        inputs, targets = entry["X"], entry["y"]
        if inputs.ndim == 0 or targets.ndim == 0 or len(inputs) != len(targets):
            raise ProblemError(
                f"{source}: in its {part} data X has shape {inputs.shape} and y {targets.shape}; "
                "give them the same number of samples, one a row"
            )
        if len(inputs) == 0:
            raise ProblemError(f"{source}: its {part} data is empty; give samples or leave it out")
        if inputs.shape[1:] != first["X"].shape[1:] or targets.shape[1:] != first["y"].shape[1:]:
            raise ProblemError(
                f"{source}: X and y of the {part} data have shapes {inputs.shape} and "
                f"{targets.shape}, those of the training data {first['X'].shape} and "
                f"{first['y'].shape}; they may differ in the number of samples only"
            )
        given[part] = torch.arange(start, start + len(inputs))
        start += len(inputs)
    inputs = np.concatenate([entry["X"] for entry in parts.values()])
    targets = np.concatenate([entry["y"] for entry in parts.values()])
    targets = targets[:, 0] if targets.ndim == 2 and targets.shape[1] == 1 else targets
    return _as_rows_or_images(inputs, source), targets, given


def _as_rows_or_images(inputs: NDArray[Any], source: str) -> NDArray[Any]:
    """Return inputs of shape (n, k) or (n, channels, height, width)."""
    if inputs.dtype.kind not in "biuf":
        raise ProblemError(f"X in {source} holds {inputs.dtype} values; give numbers")
    if inputs.ndim in (1, 3):
        inputs = inputs[:, None]
    elif inputs.ndim == 4 and inputs.shape[1] not in CHANNELS and inputs.shape[3] in CHANNELS:
        inputs = inputs.transpose(0, 3, 1, 2)
    if inputs.ndim not in (2, 4) or (inputs.ndim == 4 and inputs.shape[1] not in CHANNELS):
        raise ProblemError(
            f"X in {source} has shape {inputs.shape}; give rows (n, k), or images (n, height, "
            "width), (n, channels, height, width) or (n, height, width, channels) with 1, 3 or 4 "
            "channels"
        )
    if 0 in inputs.shape:
        raise ProblemError(
            f"X in {source} has shape {inputs.shape}; give samples that hold numbers"
        )
    refuse_rows(
        ~np.isfinite(inputs.reshape(len(inputs), -1)).all(1),
        f"X in {source}",
        "is missing or infinite",
        "replace these values, or leave the samples out",
    )
    return inputs


def _scaled(inputs: NDArray[Any], train: Tensor) -> Tensor:
    """Standardise by the training samples: rows by column, images by channel."""
    numbers = torch.tensor(inputs, dtype=torch.float32)
    over = (0,) if numbers.ndim == 2 else (0, 2, 3)
    std, mean = torch.std_mean(numbers[train], over, keepdim=True)
    return (numbers - mean) / torch.where(std > 0, std, 1.0)
