"""A byte-level language model of Python's own standard library: real text, on every machine."""

import hashlib
import sys
import sysconfig
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.errors import ProblemError
from thalweg.core.problem import Metric
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

CONTEXT = 64
MOST_BYTES = 1_000_000
HELD_OUT_WINDOWS = 256
VOCABULARY = 256


def library_files() -> list[Path]:
    """Choose the modules of the standard library to read: the same ones for one Python version.

    Returns:
        Single-file modules in an order that a hash of their names decides, as many as hold
        ``MOST_BYTES`` together.

    Raises:
        ProblemError: Where this Python comes without its sources.
    """
    folder = Path(sysconfig.get_paths()["stdlib"])
    names = sorted(sys.stdlib_module_names, key=lambda name: hashlib.sha256(name.encode()).digest())
    chosen, size = [], 0
    for file in (folder / f"{name}.py" for name in names):
        if file.is_file() and size + file.stat().st_size <= MOST_BYTES:
            chosen.append(file)
            size += file.stat().st_size
    if size < MOST_BYTES // 2:
        raise ProblemError(
            f"code-lm reads the standard library's sources, but {folder} holds only {size} bytes "
            "of them; use a Python that is installed with its .py files"
        )
    return chosen


def texts() -> dict[str, bytes]:
    """Return the text of each part: of ten files eight train, one validates and one tests."""
    files = [file.read_bytes() for file in library_files()]
    return {
        "train": b"".join(text for i, text in enumerate(files) if i % 10 > 1),
        "validation": b"".join(files[0::10]),
        "test": b"".join(files[1::10]),
    }


def windows(text: bytes) -> tuple[Tensor, Tensor]:
    """Cut a text into windows: the bytes, (n, context), and the byte after each, (n, context)."""
    codes = torch.frombuffer(bytearray(text), dtype=torch.uint8).long()
    cut = codes.unfold(0, CONTEXT + 1, CONTEXT)
    return cut[:, :-1], cut[:, 1:]


class Block(nn.Module):
    """A layer of a transformer: causal attention, then a perceptron, each on normalised input.

    Attention is written out because the fused kernels cannot be differentiated twice.

    Args:
        width: Numbers a position.
        heads: Of the attention; divides the width.
    """

    def __init__(self, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.norm_attention = nn.LayerNorm(width)
        self.to_heads = nn.Linear(width, 3 * width)
        self.from_heads = nn.Linear(width, width)
        self.norm_perceptron = nn.LayerNorm(width)
        self.perceptron = nn.Sequential(
            nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return positions, (n, time, width), each with what it gathered from those before."""
        n, time, width = x.shape
        heads = self.to_heads(self.norm_attention(x)).view(n, time, 3 * self.heads, -1)
        query, key, value = heads.transpose(1, 2).chunk(3, dim=1)
        scores = query @ key.mT * key.shape[-1] ** -0.5
        future = torch.ones(time, time, dtype=torch.bool, device=x.device).triu(1)
        weights = scores.masked_fill(future, -torch.inf).softmax(-1)
        gathered = (weights @ value).transpose(1, 2).reshape(n, time, width)
        x = x + self.from_heads(gathered)
        perceived: Tensor = self.perceptron(self.norm_perceptron(x))
        return x + perceived


class ByteTransformer(nn.Module):
    """A causal transformer on bytes, about 0.2 million parameters at the default size.

    Args:
        width: Numbers a position.
        depth: Layers.
        heads: Attention heads a layer.
    """

    def __init__(self, width: int = 80, depth: int = 2, heads: int = 4) -> None:
        super().__init__()
        self.byte = nn.Embedding(VOCABULARY, width)
        self.position = nn.Parameter(0.02 * torch.randn(CONTEXT, width))
        self.blocks = nn.Sequential(*(Block(width, heads) for _ in range(depth)))
        self.norm = nn.LayerNorm(width)
        nn.init.normal_(self.byte.weight, std=0.02)

    def forward(self, codes: Tensor) -> Tensor:
        """Return the logits of the next byte, (n, 256, time), for bytes of shape (n, time)."""
        x = self.byte(codes) + self.position[: codes.shape[1]]
        logits: Tensor = F.linear(self.norm(self.blocks(x)), self.byte.weight)
        return logits.transpose(1, 2)


def problem() -> TrainingProblem:
    """Predict the next byte of source code; files to validate and test by are not trained on."""
    parts = texts()
    train, validation, test = (windows(text) for text in parts.values())
    bits = METRICS["bits"]
    digest = hashlib.sha256(b"".join(parts.values())).hexdigest()
    return TrainingProblem(
        "code-lm",
        model=ByteTransformer,
        train=train,
        validation=_thinned(*validation),
        test=_thinned(*test),
        loss=nn.CrossEntropyLoss(),
        metric=Metric("bits per byte", bits.better, bits.margin, bits.function),
        batch_size=16,
        steps=500,
        target=3.5,
        evaluations=12,
        description="byte-level transformer on the sources of Python's standard library",
        source_text=digest,
    )


def _thinned(inputs: Tensor, target: Tensor) -> tuple[Tensor, Tensor]:
    """Keep windows from all over the text, few enough to evaluate in a moment."""
    kept = torch.linspace(0, len(inputs) - 1, HELD_OUT_WINDOWS).long()
    return inputs[kept], target[kept]
