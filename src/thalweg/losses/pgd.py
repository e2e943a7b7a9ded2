"""Projected gradient ascent on a model's inputs: the strongest of the common attacks."""

from __future__ import annotations

import math
from collections.abc import Callable

import torch
from torch import Tensor, nn


def pgd(
    model: nn.Module,
    input: Tensor,
    objective: Callable[[Tensor], Tensor],
    *,
    radius: float,
    step_size: float | None = None,
    n_steps: int = 10,
    bounds: tuple[float, float] = (-math.inf, math.inf),
    seed: int = 0,
) -> Tensor:
    """Perturb inputs by at most `radius` in each number so that an objective becomes large.

        x_0 uniform in the box: within radius of the input and within bounds
        x <- project(x + step_size * sign(gradient of objective(model(x)))) on the box

    Use it to measure how robust a model is, with the cross-entropy as objective, and in every step
    of adversarial training. Avoid it as a proof: a model that hides its gradients withstands it
    too. Cost: `n_steps` gradients of the model.

    Args:
        model: Attacked in evaluation mode; its mode and gradients are left as they were.
        input: Of the model, (N, ...), real numbers within the bounds.
        objective: Of the model's output; what is not a scalar is summed.
        radius: Largest change of a number, > 0, in units of the input.
        step_size: > 0; 2.5 radii over the number of steps where not given.
        n_steps: >= 1.
        bounds: Least and largest number an input may hold, such as (0, 1) for images.
        seed: Of the start.

    Returns:
        The perturbed input, without a graph.

    Raises:
        ValueError: If an argument is outside its range.

    Example:
        >>> import torch
        >>> from thalweg.losses import pgd
        >>> model, x, y = torch.nn.Linear(4, 3), torch.rand(8, 4), torch.arange(8) % 3
        >>> attack = lambda scores: torch.nn.functional.cross_entropy(scores, y)
        >>> bool(attack(model(pgd(model, x, attack, radius=0.1))) > attack(model(x)))
        True

    Paper: Towards Deep Learning Models Resistant to Adversarial Attacks, 2017, arXiv 1706.06083.
        Differs: the norm is the maximum alone, and one start is made, drawn alike for each call
        with the same seed.
    """
    if not radius > 0:
        raise ValueError(f"radius is {radius}; an attack needs more than 0")
    if n_steps < 1:
        raise ValueError(f"n_steps is {n_steps}; an attack makes at least 1")
    step = 2.5 * radius / n_steps if step_size is None else step_size
    if not step > 0:
        raise ValueError(f"step_size is {step_size}; an attack needs more than 0")
    if not bool(((input >= bounds[0]) & (input <= bounds[1])).all()):
        raise ValueError(
            f"inputs lie outside of the bounds {bounds}; give the range of the data itself"
        )
    low, high = ((input + sign * radius).clamp(*bounds).detach() for sign in (-1, 1))
    generator = torch.Generator().manual_seed(seed)
    start = torch.rand(input.shape, generator=generator, dtype=input.dtype)
    x = low + (high - low) * start.to(input.device)
    modes = [(module, module.training) for module in model.modules()]
    try:
        model.eval()
        for _ in range(n_steps):
            x.requires_grad_()
            with torch.enable_grad():
                (slope,) = torch.autograd.grad(objective(model(x)).sum(), x)
            x = (x.detach() + step * slope.sign()).clamp(low, high)
    finally:
        for module, mode in modes:
            module.training = mode
    return x
