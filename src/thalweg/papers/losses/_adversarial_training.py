"""Training on what an attack makes of each batch: by the smooth comp-sum loss, and by TRADES."""

from collections.abc import Callable
from dataclasses import replace
from itertools import count

from torch import Tensor
from torch.nn import functional as F

from thalweg.losses import SmoothAdversarialCompSum, pgd
from thalweg.training.batches import Batch
from thalweg.training.loop import Training
from thalweg.training.setup import Setup, Transform

OfScores = Callable[[Tensor, Tensor, Tensor], Tensor]  # clean ones, the target, perturbed ones
ANY = (-float("inf"), float("inf"))


def adversarial_comp_sum(
    *,
    tau: float = 0.4,
    rho: float = 1.0,
    nu: float = 1.0,
    radius: float = 0.1,
    n_steps: int = 10,
    bounds: tuple[float, float] = ANY,
) -> Transform:
    """Minimise the smooth adversarial comp-sum loss, its attack on the margins made by `pgd`."""
    loss = SmoothAdversarialCompSum(tau, rho=rho, nu=nu)
    return _attacked(loss.shift, loss, radius, n_steps, bounds)


def trades(
    *,
    beta: float = 6.0,
    radius: float = 0.1,
    n_steps: int = 10,
    bounds: tuple[float, float] = ANY,
) -> Transform:
    """Minimise the cross-entropy and `beta` times the divergence that an attack makes large."""

    def divergence(clean: Tensor, target: Tensor, perturbed: Tensor) -> Tensor:
        ours, theirs = perturbed.log_softmax(1), clean.log_softmax(1)
        return F.kl_div(ours, theirs, reduction="batchmean", log_target=True)

    def loss(clean: Tensor, target: Tensor, perturbed: Tensor) -> Tensor:
        return F.cross_entropy(clean, target) + beta * divergence(clean, target, perturbed)

    return _attacked(divergence, loss, radius, n_steps, bounds)


def _attacked(
    objective: OfScores,
    loss: OfScores,
    radius: float,
    n_steps: int,
    bounds: tuple[float, float],
) -> Transform:
    def transform(setup: Setup) -> Setup:
        seeds = count(setup.seed)

        def step(training: Training, batch: Batch) -> Tensor:
            model = training.model

            def attacked(output: Tensor, target: Tensor) -> Tensor:
                clean = output.detach()
                training.counts.gradients += n_steps
                perturbed = pgd(
                    model,
                    batch.input,
                    lambda scores: objective(clean, target, scores),
                    radius=radius,
                    n_steps=n_steps,
                    bounds=bounds,
                    seed=next(seeds),
                )
                scores: Tensor = model(perturbed)
                return loss(output, target, scores)

            return setup.step(replace(training, loss=attacked), batch)

        return replace(setup, step=step)

    return transform
