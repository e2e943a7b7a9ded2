"""What the claims of MECO measure: the mean of a Gaussian, and a density in the plane."""

import math
from collections.abc import Callable, Mapping

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Size
from thalweg.core.seeds import derive_seed
from thalweg.losses import MECO
from thalweg.problems.nets import mlp

LossOfLogs = Callable[[Tensor, Tensor, Tensor, Tensor], Tensor]
MEAN, NEAR = 8.0, 0.2
STEP_SIZES = (0.003, 0.01, 0.03, 0.1, 0.3, 1.0)
RATES = (1e-3, 3e-3, 1e-2)
WIDTH = 2.0  # of the noise in the plane, which covers the data: their width is 1.45


class NCE(nn.Module):
    """Noise-contrastive estimation: logistic regression of data against noise."""

    def __init__(self) -> None:
        super().__init__()
        self.log_partition = nn.Parameter(torch.zeros(()))

    def forward(
        self, log_p_data: Tensor, log_q_data: Tensor, log_p_noise: Tensor, log_q_noise: Tensor
    ) -> Tensor:
        """Return the mean loss of telling data and noise, each weighed alike."""
        data = log_p_data - log_q_data - self.log_partition
        noise = log_p_noise - log_q_noise - self.log_partition
        return F.softplus(-data).mean() + F.softplus(noise).mean()


def _contenders() -> dict[str, tuple[LossOfLogs, list[nn.Parameter]]]:
    meco, nce = MECO(), NCE()
    return {
        "MECO": (lambda p_data, q_data, p_noise, q_noise: meco(p_data, p_noise, q_noise), []),
        "NCE": (nce, list(nce.parameters())),
    }


def steps_to_the_mean(seed: int, size: Size) -> Mapping[str, float]:
    """Return the steps after which both stay near the mean, each at its best step size."""
    steps, sizes = (1500, STEP_SIZES) if size == "full" else (20, STEP_SIZES[:2])
    return {
        name: float(min(_steps(name, lr, steps, seed) for lr in sizes)) for name in _contenders()
    }


def _steps(name: str, lr: float, steps: int, seed: int) -> int:
    """Learn theta of exp(-(x - theta)^2 / 2) from data about 8 and noise of width 4 about 0."""
    loss, own = _contenders()[name]
    theta = torch.zeros((), requires_grad=True)
    optimizer = torch.optim.SGD([theta, *own], lr, momentum=0.9, dampening=0.9)
    last_far = 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("meco", "mean", seed))
        for step in range(1, steps + 1):
            x, y = MEAN + torch.randn(64), 4 * torch.randn(64)
            log_p = [-0.5 * (sample - theta).square() for sample in (x, y)]
            log_q = [_log_normal(sample, 4.0) for sample in (x, y)]
            optimizer.zero_grad()
            torch.autograd.backward(loss(log_p[0], log_q[0], log_p[1], log_q[1]))
            optimizer.step()
            if not abs(theta.item() - MEAN) < NEAR:
                last_far = step
    return last_far + 1


def divergence_in_the_plane(seed: int, size: Size) -> Mapping[str, float]:
    """Return the divergence from the true density, each at its best rate on validation data."""
    steps, rates = (800, RATES) if size == "full" else (10, RATES[:1])
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("meco", "plane", seed))
        validation, test = (_sample(5000) for _ in range(2))
    figures = {}
    for name in _contenders():
        models = [_trained(name, lr, steps, seed) for lr in rates]
        best = min(models, key=lambda model: _divergence(model, validation))
        figures[name] = _divergence(best, test)
    return figures


def _centres() -> Tensor:
    """Return those of eight Gaussians of width 0.3 on a circle, (8, 2)."""
    angle = torch.arange(8) * math.tau / 8
    return 2 * torch.stack((angle.cos(), angle.sin()), 1)


def _sample(n: int) -> Tensor:
    return _centres()[torch.randint(8, (n,))] + 0.3 * torch.randn(n, 2)


def _log_truth(x: Tensor) -> Tensor:
    parts = _log_normal(x.unsqueeze(1) - _centres(), 0.3).sum(-1)
    return parts.logsumexp(-1) - math.log(8)


def _log_normal(x: Tensor, width: float) -> Tensor:
    return -0.5 * (x / width).square() - math.log(width * math.sqrt(math.tau))


def _trained(name: str, lr: float, steps: int, seed: int) -> nn.Module:
    loss, own = _contenders()[name]
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(derive_seed("meco", "plane", "training", seed))
        model = mlp(2, 1)
        optimizer = torch.optim.Adam([*model.parameters(), *own], lr)
        for _ in range(steps):
            x, y = _sample(128), WIDTH * torch.randn(128, 2)
            log_p, log_q = (
                _log_p(model, torch.cat((x, y))).chunk(2),
                [_log_normal(z, WIDTH).sum(-1) for z in (x, y)],
            )
            optimizer.zero_grad()
            torch.autograd.backward(loss(log_p[0], log_q[0], log_p[1], log_q[1]))
            optimizer.step()
    return model


def _log_p(model: nn.Module, x: Tensor) -> Tensor:
    """Return the unnormalised log-density: a net that bends a Gaussian."""
    bend: Tensor = model(x)
    return bend.squeeze(-1) - 0.5 * (x / WIDTH).square().sum(-1)


@torch.no_grad()
def _divergence(model: nn.Module, x: Tensor) -> float:
    """Return the Kullback-Leibler divergence, with the partition function by quadrature."""
    axis = torch.linspace(-10, 10, 251)
    log_cell = 2 * math.log(axis[1] - axis[0])
    log_partition = _log_p(model, torch.cartesian_prod(axis, axis)).logsumexp(0) + log_cell
    return float((_log_truth(x) - _log_p(model, x) + log_partition).mean())
