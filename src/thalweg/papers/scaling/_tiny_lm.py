"""Language models of a few thousand parameters, several trained side by side in a moment."""

import math
from functools import cache

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.core.seeds import derive_seed
from thalweg.problems.code_lm import texts

CONTEXT, SYMBOLS, EMBEDDED = 4, 128, 8
GRADED = 8192  # positions of a held-out text
BETAS, EPS, WEIGHT_DECAY, FINAL_LR, CLIP = (0.9, 0.95), 1e-8, 0.1, 1e-5, 1.0


def n_params(width: int) -> int:
    """Return the number of parameters without the embeddings."""
    return sum(_sizes(width)[1:])


def train(width: int, n_tokens: int, batch: int, lrs: Tensor, seed: int) -> tuple[Tensor, Tensor]:
    """Train a perceptron that reads four bytes of code and predicts the next, once for each rate.

    AdamW with a warm-up over a tenth of the steps and a cosine to a fixed last rate; no token is
    seen twice.

    Args:
        width: Hidden units.
        n_tokens: Bytes to be predicted in training, in all.
        batch: Bytes predicted in a step.
        lrs: Peak learning rates, of models that are otherwise the same.
        seed: Of the first weights and the order of the bytes.

    Returns:
        Of each model the loss on the text to validate with, and the share of bytes that it predicts
        wrongly in the text to test with.
    """
    generator = torch.Generator().manual_seed(derive_seed("tiny-lm", width, n_tokens, seed))
    inputs, target = _text("train")
    order = torch.randperm(len(target), generator=generator)[:n_tokens]
    weights = _start(width, generator).repeat(len(lrs), 1).requires_grad_()
    average, square = torch.zeros_like(weights), torch.zeros_like(weights)
    steps = max(1, n_tokens // batch)
    warm_up = max(1, steps // 10)
    for t, chosen in enumerate(order[: steps * batch].view(steps, batch), start=1):
        loss = _losses(weights, inputs[chosen], target[chosen], width).sum()
        (gradient,) = torch.autograd.grad(loss, weights)
        gradient *= (CLIP / gradient.norm(dim=1, keepdim=True)).clamp(max=1.0)
        average.lerp_(gradient, 1 - BETAS[0])
        square.lerp_(gradient * gradient, 1 - BETAS[1])
        down = 0.5 + 0.5 * math.cos(math.pi * max(0, t - warm_up) / max(1, steps - warm_up))
        lr = (FINAL_LR + (lrs - FINAL_LR) * down) * min(1.0, t / warm_up)
        with torch.no_grad():
            scale = (square / (1 - BETAS[1] ** t)).sqrt_().add_(EPS)
            move = average / (1 - BETAS[0] ** t) / scale + WEIGHT_DECAY * weights
            weights -= lr[:, None] * move
    with torch.no_grad():
        loss = _losses(weights, *_graded("validation"), width)
        inputs, target = _graded("test")
        wrong = _logits(weights, inputs, width).argmax(-1) != target
        return loss, wrong.float().mean(1)


def _graded(part: str) -> tuple[Tensor, Tensor]:
    inputs, target = _text(part)
    kept = torch.linspace(0, len(target) - 1, GRADED).long()
    return inputs[kept], target[kept]


@cache
def _text(part: str) -> tuple[Tensor, Tensor]:
    codes = torch.frombuffer(bytearray(texts()[part]), dtype=torch.uint8).long()
    cut = codes.clamp(max=SYMBOLS - 1).unfold(0, CONTEXT + 1, 1)
    return cut[:, :-1], cut[:, -1]


def _sizes(width: int) -> list[int]:
    return [SYMBOLS * EMBEDDED, CONTEXT * EMBEDDED * width, width, width * SYMBOLS, SYMBOLS]


def _start(width: int, generator: torch.Generator) -> Tensor:
    spread = [1.0, (CONTEXT * EMBEDDED) ** -0.5, 0.0, width**-0.5, 0.0]
    parts = [
        s * torch.randn(n, generator=generator) for s, n in zip(spread, _sizes(width), strict=True)
    ]
    return torch.cat(parts)


def _logits(weights: Tensor, inputs: Tensor, width: int) -> Tensor:
    embedded, inner, shift, outer, bias = torch.split(weights, _sizes(width), 1)
    models = len(weights)
    x = embedded.view(models, SYMBOLS, EMBEDDED)[:, inputs].flatten(2)
    hidden = torch.baddbmm(shift[:, None], x, inner.view(models, -1, width)).relu()
    return torch.baddbmm(bias[:, None], hidden, outer.view(models, width, SYMBOLS))


def _losses(weights: Tensor, inputs: Tensor, target: Tensor, width: int) -> Tensor:
    logits = _logits(weights, inputs, width)
    each = F.cross_entropy(logits.flatten(0, 1), target.repeat(len(weights)), reduction="none")
    return each.view(len(weights), -1).mean(1)
