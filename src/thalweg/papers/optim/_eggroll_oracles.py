"""EGGROLL against the paper's equations, and against what must hold of any such estimate."""

import math
from statistics import NormalDist, fmean

import torch
from torch import Tensor, nn

from thalweg.optim import EGGROLL
from thalweg.optim.eggroll import Population


class _Raw(nn.Module):
    """The same layer, whose weight is not known to be that of a product."""

    def __init__(self, layer: nn.Linear) -> None:
        super().__init__()
        self.weight, self.bias = layer.weight, layer.bias

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.mT + self.bias


def _perturbations(members: Population, layer: nn.Linear) -> tuple[Tensor, Tensor]:
    """Return what each member adds to weight and bias, as its outputs tell."""
    columns = layer.in_features
    bias = members(layer, torch.zeros(1, columns, dtype=layer.weight.dtype))
    weight = members(layer, torch.eye(columns, dtype=layer.weight.dtype)) - bias
    return weight.mT - layer.weight.detach(), bias[:, 0] - layer.bias.detach()


def _layer(seed: int = 0) -> nn.Linear:
    generator = torch.Generator().manual_seed(seed)
    layer = nn.Linear(5, 4, dtype=torch.float64)
    for p in layer.parameters():
        p.data.normal_(generator=generator)
    return layer


def members_are_perturbed_weights() -> None:
    """Members come in pairs of opposite sign, of the rank, the same however they are applied."""
    for rank in (1, 2, None):
        layer = _layer()
        sgd = torch.optim.SGD(layer.parameters(), lr=0.1)
        members = EGGROLL(sgd, population=6, sigma=0.3, rank=rank, seed=1).ask()
        weight, bias = _perturbations(members, layer)
        for part in (weight, bias):
            torch.testing.assert_close(part[0::2], -part[1::2], rtol=1e-9, atol=1e-12)
        found = torch.linalg.matrix_rank(weight, rtol=1e-9).tolist()
        assert found == [rank or 4] * 6, found
        x = torch.linspace(-1, 1, 6 * 3 * 5, dtype=torch.float64).view(6, 3, 5)
        expected = x @ (layer.weight + weight).mT + (layer.bias + bias)[:, None]
        for module in (layer, _Raw(layer), nn.Sequential(layer)):
            torch.testing.assert_close(members(module, x, own=True), expected)
            torch.testing.assert_close(members(module, x[2])[2], expected[2])
        hook = layer.register_forward_hook(lambda layer, inputs, output: output.tanh())
        torch.testing.assert_close(members(layer, x, own=True), expected.tanh())
        hook.remove()
        tied = nn.Sequential(nn.Linear(4, 4, bias=False), nn.Linear(4, 4)).double()
        tied[1].weight = tied[0].weight  # and the bias is not the optimizer's
        sgd = torch.optim.SGD(tied[0].parameters(), lr=0.1)
        squares = EGGROLL(sgd, population=6, rank=rank, seed=1).ask()
        weight = squares(tied[0], torch.eye(4, dtype=torch.float64)).mT
        outputs = squares(tied, torch.eye(4, dtype=torch.float64))
        torch.testing.assert_close(outputs, (weight @ weight).mT + tied[1].bias)


def update_retyped() -> None:
    """The inner optimizer is given the paper's estimate, retyped from single numbers.

    The paper takes the mean from the fitness, of all members or of a group's; it cancels.
    """
    lr, sigma, size = 0.2, 0.3, 8
    fitness = [0.5, -1.0, 2.0, 0.25, 3.0, 1.0, -2.0, 0.75]
    for rank, width in ((1, size), (3, 4), (None, 2)):
        layer = _layer()
        sgd = torch.optim.SGD(layer.parameters(), lr=lr)
        optimizer = EGGROLL(sgd, population=size, sigma=sigma, rank=rank, seed=4)
        drawn: list[list[Tensor]] = []

        def measure(
            members: Population, layer: nn.Linear = layer, drawn: list[list[Tensor]] = drawn
        ) -> Tensor:
            drawn.append([part / sigma for part in _perturbations(members, layer)])
            return torch.tensor(fitness, dtype=torch.float64)

        for _ in range(2):
            before = [p.detach().clone() for p in layer.parameters()]
            assert optimizer.step(measure).tolist() == fitness
        mean = fmean(fitness)
        scale = math.sqrt(fmean((r - mean) ** 2 for r in fitness) + 1e-5)
        means = [fmean(fitness[i - i % width :][:width]) for i in range(size)]
        shaped = [(r - mean) / scale for r, mean in zip(fitness, means, strict=True)]
        for p, old, z, first in zip(layer.parameters(), before, *reversed(drawn), strict=True):
            ghat = sum(f * e for f, e in zip(shaped, z, strict=True)) / size
            step = sigma * math.sqrt(size) * ghat
            torch.testing.assert_close(p.grad, -step, rtol=1e-9, atol=1e-12)
            torch.testing.assert_close(p.detach() - old, lr * step)
            assert not torch.allclose(z, first), "both steps draw the same"


def noise_is_standard_and_the_estimate_unbiased() -> None:
    """To five standard errors, whatever the rank: E has variance 1, E[<G, E> E] is G."""
    gradient = torch.tensor([[1.0, -2.0, 0.5], [0.3, 0.0, -1.0]], dtype=torch.float64)
    size = 40_000
    for rank in (1, 3, None):
        layer = nn.Linear(3, 2, bias=False, dtype=torch.float64)
        sgd = torch.optim.SGD(layer.parameters(), lr=1.0)
        members = EGGROLL(sgd, population=size, sigma=2.0, rank=rank, seed=5).ask()
        outputs = members(layer, torch.eye(3, dtype=torch.float64))
        noise = (outputs.mT - layer.weight.detach())[0::2] / 2.0
        for power, expected in ((noise, 0.0), (noise**2, 1.0)):
            error = (power.mean(0) - expected) * math.sqrt(size / 2) / power.std(0)
            assert (error.abs() < 5).all(), error
        fitness = (outputs.mT * gradient).sum((1, 2)) / 2.0
        terms = noise * (noise * gradient).sum((1, 2), keepdim=True)
        gains = fitness[0::2] - fitness[1::2]
        estimate = members.ascent(layer.weight, gains) / math.sqrt(size)
        error = (estimate - gradient) * math.sqrt(size / 2) / terms.std(0)
        assert (error.abs() < 5).all(), error


def equal_pairs_change_nothing() -> None:
    """Where both of each pair fare alike, whoever else fares better, no number moves."""
    layer = _layer()
    before = [p.detach().clone() for p in layer.parameters()]
    optimizer = EGGROLL(torch.optim.SGD(layer.parameters(), lr=1.0), population=6, seed=2)
    for fitness in ([1.0, 1.0, 5.0, 5.0, -3.0, -3.0], [2.0] * 6):
        _perturbations(optimizer.ask(), layer)
        optimizer.tell(torch.tensor(fitness))
    assert all(map(torch.equal, before, layer.parameters()))


def integers_move_by_one() -> None:
    """Eight-bit weights step by one, up to their limits, where the estimate is large for noise."""
    values = torch.tensor([[3, -128, 127, 127], [-128, 1, -2, 127], [-128, 5, 127, -128]])
    for share, direction in ((0.0, 1), (0.3, 1), (1.0, 1), (1.0, -1)):
        weight = nn.Parameter(values.to(torch.int8), requires_grad=False)
        sgd = torch.optim.SGD([weight], lr=share, maximize=direction < 0)
        optimizer = EGGROLL(sgd, population=16, sigma=1.0, seed=3)
        members, fitness = optimizer.ask(), torch.linspace(-1, 1, 16) ** 3
        shaped = (fitness - fitness.mean()) / (fitness.var(correction=0) + 1e-5).sqrt()
        outputs = members(_Integer(weight), torch.eye(4, dtype=torch.int32) * 10_000)
        noise = outputs.mT / 10_000 - values
        z = direction * (noise * shaped[:, None, None]).sum(0) / 4
        optimizer.tell(fitness)
        threshold = NormalDist().inv_cdf(1 - share / 2) if share else math.inf
        expected = (values + z.sign() * (z.abs() > threshold)).clamp(-128, 127)
        torch.testing.assert_close(weight.detach(), expected.to(torch.int8))


def integers_are_perturbed_by_integers() -> None:
    """A member's own integers are the nearest to those that real ones would be."""
    values = torch.tensor([3.0, -128.0, 0.0, 127.0, 126.0])
    drawn = []
    for dtype in (torch.float32, torch.int8):
        p = nn.Parameter(values.to(dtype), requires_grad=dtype is torch.float32)
        sgd = torch.optim.SGD([p], lr=0.1)
        drawn.append(EGGROLL(sgd, population=8, sigma=2.0, seed=6).ask()(_Itself(p)))
    assert drawn[1].dtype == torch.int8
    torch.testing.assert_close(drawn[1].float(), drawn[0].round().clamp(-128, 127))


class _Itself(nn.Module):
    """A parameter as an output."""

    def __init__(self, p: nn.Parameter) -> None:
        super().__init__()
        self.p = p

    def forward(self) -> Tensor:
        return self.p


class _Integer(nn.Linear):
    """A product of whole numbers."""

    def __init__(self, weight: nn.Parameter) -> None:
        super().__init__(weight.shape[1], weight.shape[0], bias=False)
        self.weight = weight

    def forward(self, input: Tensor) -> Tensor:
        return input @ self.weight.to(torch.int32).mT
