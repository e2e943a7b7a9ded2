"""Images of the user's: a folder with one folder for each class."""

import hashlib
from collections.abc import Sequence
from functools import partial
from io import BytesIO
from pathlib import Path
from statistics import median
from typing import Any

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import Tensor
from torch.utils.data import Dataset

from thalweg.core.errors import ProblemError
from thalweg.problems.nets import conv_net
from thalweg.problems.splits import PARTS
from thalweg.problems.supervised import classify
from thalweg.training.problem import TrainingProblem

PART_NAMES = {
    "train": "train",
    "training": "train",
    "val": "validation",
    "valid": "validation",
    "validation": "validation",
    "test": "test",
}
SMALLEST_SIDE, LARGEST_SIDE = 8, 64
GREY_MODES = {"1", "L", "LA", "I", "I;16", "I;16B", "I;16L"}
CACHE_BYTES = 256 * 2**20
FORM = "put the images of each class into a folder of their own, as in images/cat/1.png"


class ImageFiles(Dataset[tuple[Tensor, Tensor]]):
    """Image files, read when they are first asked for and then kept small, up to 256 MiB of them.

    Args:
        files: One a sample.
        labels: Their classes, (n,).
        side: Height and width in pixels that images are cropped and resized to.
        grey: Give one channel instead of three.
    """

    def __init__(self, files: Sequence[Path], labels: Tensor, side: int, *, grey: bool) -> None:
        self.files = list(files)
        self.labels = labels
        self.side = side
        self.grey = grey
        self._read: dict[int, Tensor] = {}

    def __len__(self) -> int:
        """Return the number of samples."""
        return len(self.files)

    def __getitem__(self, index: int) -> tuple[Tensor, Tensor]:
        """Return an image, (channels, side, side) with values in [-2, 2], and its class."""
        pixels = self._read.get(index)
        if pixels is None:
            pixels = self._pixels(self.files[index])
            if len(self._read) * pixels.numel() < CACHE_BYTES:
                self._read[index] = pixels
        return pixels.float().div(255).sub(0.5).mul(4), self.labels[index]

    def _pixels(self, file: Path) -> Tensor:
        try:
            with Image.open(file) as opened:
                opened.draft("L" if self.grey else "RGB", (2 * self.side, 2 * self.side))
                image = ImageOps.exif_transpose(opened)
                if image.mode.startswith("I"):  # 16 bits, which Pillow would cut off at 255
                    image = Image.fromarray((np.asarray(image) >> 8).clip(0, 255).astype(np.uint8))
                image = image.convert("L" if self.grey else "RGB")
        except OSError as error:
            raise _unreadable(file, error) from None
        pixels = np.asarray(ImageOps.fit(image, (self.side, self.side)))
        return torch.tensor(pixels).reshape(self.side, self.side, -1).permute(2, 0, 1)

    def __getstate__(self) -> dict[str, Any]:
        return {**self.__dict__, "_read": {}}


def image_problem(folder: Path) -> TrainingProblem:
    """Make a problem of a folder of images: a small conv net tells the classes apart.

    Images are cropped to squares of one size, the median of their shorter sides but 8 pixels at
    least and 64 at most; they are grey where all files are.

    Args:
        folder: Holds one folder of images for each class, or folders ``train`` and, where wanted,
            ``validation`` and ``test`` that do.

    Raises:
        ProblemError: Where the folder is arranged otherwise, or an image cannot be read.
    """
    files, labels, given = _found(folder)
    modes, sides = set(), []
    digest = hashlib.sha256()
    for file in files:
        try:
            content = file.read_bytes()
            with Image.open(BytesIO(content)) as image:
                modes.add(image.mode)
                sides.append(min(image.size))
                image.verify()
        except (OSError, SyntaxError, ValueError, Image.DecompressionBombError) as error:
            raise _unreadable(file, error) from None
        digest.update(f"{file.relative_to(folder).as_posix()}\n".encode())
        digest.update(hashlib.sha256(content).digest())
    aim = classify(np.array(labels), given, f"the folder {folder.name}")
    side = min(max(round(median(sides)), SMALLEST_SIDE), LARGEST_SIDE)
    grey = modes <= GREY_MODES

    def data(index: Tensor) -> ImageFiles:
        return ImageFiles([files[i] for i in index], aim.target[index], side, grey=grey)

    return aim.problem(
        folder.name,
        partial(conv_net, 1 if grey else 3, side, aim.n_outputs),
        data,
        description=f"{folder.name}: {len(files)} {'grey' if grey else 'colour'} images "
        f"at {side} x {side} pixels",
        source_text=digest.hexdigest(),
    )


def _found(folder: Path) -> tuple[list[Path], list[str], dict[str, Tensor]]:
    """List the files, their classes, and which of them are of which part."""
    tops = _visible(folder)
    if not tops:
        raise ProblemError(f"the folder {folder} is empty; {FORM}")
    by_part = {PART_NAMES.get(top.name.lower()): top for top in tops if top.is_dir()}
    if "train" not in by_part or None in by_part:
        by_part = {"train": folder}
    elif len(by_part) < len(tops):
        stray = next(top for top in tops if top not in by_part.values())
        raise ProblemError(f"{stray} lies beside the folders of parts; move it away")
    files: list[Path] = []
    labels: list[str] = []
    given: dict[str, Tensor] = {}
    for part in PARTS:
        if part in by_part:
            start = len(files)
            for top in _visible(by_part[part]):
                if not top.is_dir():
                    raise ProblemError(f"{top} lies in no folder of a class; {FORM}, or remove it")
                inside = [file for file in _visible(top, "**/*") if file.is_file()]
                if not inside:
                    raise ProblemError(f"the folder {top} holds no images; fill or remove it")
                files += inside
                labels += [top.name] * len(inside)
            if len(files) == start:
                raise ProblemError(f"the folder {by_part[part]} is empty; {FORM}")
            given[part] = torch.arange(start, len(files))
    return files, labels, given


def _visible(folder: Path, pattern: str = "*") -> list[Path]:
    return sorted(
        path
        for path in folder.glob(pattern)
        if not any(name.startswith(".") for name in path.relative_to(folder).parts)
        and path.name not in ("Thumbs.db", "desktop.ini")
    )


def _unreadable(file: Path, error: Exception) -> ProblemError:
    reason = "" if "cannot identify" in str(error) else f" ({' '.join(str(error).split())})"
    return ProblemError(f"{file} is not an image that can be read{reason}; repair or remove it")
