"""GradientNoise: any optimizer, on gradients with Gaussian noise that dies away."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor
from torch.optim import Optimizer

from thalweg.optim._base import check, keyed_generator
from thalweg.optim._wrapper import Wrapper, agreed_seed


class GradientNoise(Wrapper):
    """An optimizer around an optimizer: noise is added to each gradient before the update.

        std = sqrt(eta / (1 + t)^gamma)                            t = 0, 1, ... counts the steps
        g   = g + std * z,   z ~ N(0, 1)                           anew for every element
        p   = update of the inner optimizer with g

    The noise is a function of the seed, `t` and the order of the parameters: a resumed run draws
    on, equal processes draw alike, torch's own generators are not touched. After the step `p.grad`
    is as it was. State and groups are the inner optimizer's; a group may hold its own `noise_eta`,
    `noise_gamma` and `noise_seed`, and `noise_step` is its `t`.

    Use it when a deep net does not get off the ground: initialised badly, with gradients that
    vanish or are all alike. Avoid it where gradients are small beside `std`, as in a fine-tuning:
    the noise does not scale with them. Under Adam and its kin the update divides by the size of
    the noise as well: tune `lr` anew. Clip gradients before the step, so that the noise comes
    after. Cost: one normal number per element; no state but `t`.

    Args:
        optimizer: The inner optimizer. Schedules may act on either of the two.
        eta: Variance of the noise at the first step, >= 0; the paper tries 0.01, 0.3 and 1.
        gamma: Exponent of the variance's decay, >= 0; 0 keeps it constant.
        seed: Of the noise. None takes that of torch's global generator; the first process's where
            `torch.distributed` is initialised.

    Raises:
        TypeError: If `optimizer` is none.
        ValueError: If a hyperparameter is outside its range or a parameter is complex.

    Example:
        >>> import torch
        >>> from thalweg.optim import GradientNoise
        >>> p = torch.nn.Parameter(torch.zeros(2))
        >>> optimizer = GradientNoise(torch.optim.SGD([p], lr=0.1), eta=0.3, seed=0)
        >>> p.grad = torch.zeros(2)
        >>> optimizer.step()
        >>> bool(p.any()), p.grad.tolist(), optimizer.param_groups[0]["noise_step"]
        (True, [0.0, 0.0], 1)

    Paper: Adding Gradient Noise Improves Learning for Very Deep Networks, 2015, arXiv 1511.06807.
        Differs: nothing; where the inner optimizer evaluates its closure several times in a step,
        each gradient gets the same noise.
    """

    prefix = "noise"

    def __init__(
        self,
        optimizer: Optimizer,
        *,
        eta: float = 0.01,
        gamma: float = 0.55,
        seed: int | None = None,
    ) -> None:
        super().__init__(
            optimizer, {"eta": eta, "gamma": gamma, "seed": agreed_seed(seed), "step": 0}
        )

    def validate(self, group: dict[str, Any]) -> None:
        """Raise a ValueError with a sentence for a hyperparameter outside its range."""
        for name in ("eta", "gamma"):
            value = group[f"noise_{name}"]
            check(name, value, "a finite number >= 0", lambda x: 0 <= x < math.inf)
        seed = group["noise_seed"]
        check("seed", seed, "a whole number or None", lambda x: isinstance(x, int))

    def step(self, closure: Callable[[], Any] | None = None) -> Any:
        """Make the inner optimizer's step with noisy gradients.

        Args:
            closure: Clears the gradients, computes the loss, calls backward and returns the loss.

        Returns:
            What the inner optimizer's step returns.

        Raises:
            RuntimeError: If a gradient is sparse.
        """
        result, finite = self._step_on(closure, self._add_noise)
        if finite:
            for group in self.param_groups:
                group["noise_step"] += 1
        return result

    def _add_noise(self, clean: dict[Tensor, Tensor], scale: Tensor | None) -> None:
        """Put noisy gradients in the place of the clean ones."""
        generators: dict[Any, torch.Generator] = {}
        for group in self.param_groups:
            std = math.sqrt(group["noise_eta"] / (1 + group["noise_step"]) ** group["noise_gamma"])
            params = [p for p in group["params"] if p.grad is not None]
            if not (std and params):
                continue
            noise = []
            for p in params:
                key = p.device, group["noise_seed"], group["noise_step"]
                if key not in generators:
                    generators[key] = keyed_generator(*key)
                noise.append(_normal(p.grad, generators[key]))
            if scale is not None:
                torch._foreach_mul_(noise, scale)
            grads = [p.grad for p in params]
            clean.update(zip(params, grads, strict=True))
            sign = -1 if group.get("maximize") else 1  # as for the negative loss, minimised
            noisy = torch._foreach_add(grads, noise, alpha=sign * std)
            for p, grad in zip(params, noisy, strict=True):
                p.grad = grad


def _normal(grad: Tensor, generator: torch.Generator) -> Tensor:
    """Return normal numbers for a gradient: the same in every dtype, however it is sharded."""
    if grad.layout is not torch.strided:
        raise RuntimeError(
            "GradientNoise takes dense gradients: build the embedding with sparse=False."
        )
    z = torch.randn(grad.shape, generator=generator, device=grad.device).to(grad.dtype)
    if hasattr(grad, "device_mesh"):
        from torch.distributed.tensor import DTensor, distribute_tensor

        assert isinstance(grad, DTensor)
        return distribute_tensor(z, grad.device_mesh, grad.placements, src_data_rank=None)
    return z
