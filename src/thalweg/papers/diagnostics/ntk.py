"""Neural tangent kernel (2018): wide networks train as a kernel does."""

import math

import torch
from torch import Tensor, nn

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import empirical_ntk, kernel_alignment, lazy_prediction, ntk_spectrum
from thalweg.diagnostics._tangent import Mode
from thalweg.papers.diagnostics._ntk_reading import passes, read_kernels
from thalweg.papers.diagnostics._ntk_trials import all_vanish_with_width, towards_the_limit

_PASSES = {
    "batch_size": "the kernel is that of all data, but for rounding",
    "progress": "it is told of the progress and changes nothing",
}


class _Mixed(nn.Module):
    """One layer of each kind: called twice, grouped, tied, and parameters of no layer."""

    def __init__(self) -> None:
        super().__init__()
        self.conv = nn.Conv2d(2, 4, 3, stride=2, padding=1, groups=2)
        self.norm = nn.GroupNorm(2, 4)
        self.line, self.twice = nn.Conv1d(4, 6, 2), nn.Linear(3, 3)
        self.first, self.second = nn.Linear(6, 2, bias=False), nn.Linear(6, 2)
        self.second.weight = self.first.weight
        self.words, self.shift = nn.Embedding(5, 3, padding_idx=1), nn.Parameter(torch.ones(2))

    def forward(self, image: Tensor, words: Tensor) -> Tensor:
        h = self.line(self.norm(self.conv(image)).flatten(2).tanh()).mean(2)
        told = self.twice(self.twice(self.words(words)).tanh()).sum((1, 2))
        scores: Tensor = self.first(h) * told[:, None] + self.second(h).sin() * self.shift
        return scores


def _seeded(model: nn.Module) -> nn.Module:
    generator = torch.Generator().manual_seed(0)
    for p in model.double().parameters():
        p.data.normal_(generator=generator)
    return model


def _small() -> tuple[nn.Module, tuple[Tensor, Tensor]]:
    """Return a net with 3 outputs, and samples with a class each."""
    generator = torch.Generator().manual_seed(1)
    net = _seeded(nn.Sequential(nn.Linear(4, 5), nn.Tanh(), nn.Dropout(), nn.Linear(5, 3)))
    inputs = torch.randn(6, 4, dtype=torch.float64, generator=generator)
    return net, (inputs, torch.tensor([0, 2, 1, 1, 0, 2]))


def _jacobian(model: nn.Module, *inputs: Tensor) -> Tensor:
    """Differentiate one output of one sample after the other, (n, C, parameters)."""
    parameters = [p for p in model.parameters() if p.requires_grad]
    rows = []
    for sample in zip(*inputs, strict=True):
        output = model.eval()(*(part[None] for part in sample)).flatten()
        each = [torch.autograd.grad(end, parameters, retain_graph=True) for end in output]
        rows.append(torch.stack([torch.cat([g.flatten() for g in slopes]) for slopes in each]))
    return torch.stack(rows)


def kernels_of_jacobians() -> None:
    """Multiply Jacobians, for layers of every kind, in every mode, batch by batch or at once."""
    generator = torch.Generator().manual_seed(2)
    for frozen in ((), ("conv.weight", "line.bias", "norm.bias")):
        model = _seeded(_Mixed())
        for name in frozen:
            model.get_parameter(name).requires_grad_(False)
        one, other = (
            (
                torch.randn(n, 2, 4, 4, dtype=torch.float64, generator=generator),
                torch.randint(5, (n, 3), generator=generator),
            )
            for n in (3, 2)
        )
        first, second = _jacobian(model, *one), _jacobian(model, *other)
        size, pairs = (1, 6) if frozen else (None, 1)
        sides = (None, first, 2, 3), (other, second, size, pairs)
        for others, right, size, pairs in sides:
            full = torch.einsum("ncp,mdp->nmcd", first, right)
            modes: dict[Mode, Tensor] = {
                "full": full,
                "diagonal": full.diagonal(dim1=2, dim2=3),
                "trace": full.diagonal(dim1=2, dim2=3).sum(2),
            }
            for mode, expected in modes.items():
                told: list[tuple[int, int]] = []
                found = empirical_ntk(
                    *(model, one, others),
                    mode=mode,
                    batch_size=size,
                    progress=lambda *step, told=told: told.append(step),
                )
                assert told == [(i, pairs) for i in range(1, pairs + 1)]
                torch.testing.assert_close(found, expected)
                assert not found.requires_grad, "the kernel keeps the graph it was made by"


def spectrum_retyped() -> None:
    """Eigenvalues, shares of the targets and alignment, from Jacobians and one entry at a time."""
    net, (inputs, label) = _small()
    jacobian = _jacobian(net, inputs)
    one_hot = torch.eye(3, dtype=torch.float64)[label]
    for mode in ("full", "trace"):
        if mode == "full":
            matrix = jacobian.flatten(0, 1) @ jacobian.flatten(0, 1).T
            aims = one_hot.reshape(-1, 1)
        else:
            matrix = jacobian.flatten(1) @ jacobian.flatten(1).T / 3
            aims = one_hot
        found = ntk_spectrum(net, (inputs, label), mode=mode)
        values, vectors = torch.linalg.eigh(matrix)
        torch.testing.assert_close(found.eigenvalues, values.flip(0))
        for i, v in enumerate(vectors.T.flip(0)):
            share = sum(float(v @ y) ** 2 for y in aims.T) / len(label)
            assert math.isclose(found.target_shares[i], share, rel_tol=1e-7)
        wanted = aims @ aims.T
        inner = sum(float(matrix[i, j] * wanted[i, j]) for i in range(6) for j in range(6))
        if mode == "trace":
            sizes = [math.sqrt(sum(float(x) ** 2 for x in k.flatten())) for k in (matrix, wanted)]
            assert math.isclose(found.target_alignment, inner / sizes[0] / sizes[1])
            assert math.isclose(
                kernel_alignment(matrix, wanted, centered=False), inner / sizes[0] / sizes[1]
            )
            still = torch.eye(6).double() - torch.ones(6, 6).double() / 6
            one, other = still @ matrix @ still, still @ wanted @ still
            expected = torch.trace(one @ other) / one.norm() / other.norm()
            assert math.isclose(kernel_alignment(matrix, wanted), expected)
        shares = (values / values.sum()).tolist()
        rank = math.exp(-sum(s * math.log(s) for s in shares))
        assert math.isclose(found.effective_rank, rank)
        assert math.isclose(found.condition, values[-1] / values[0], rel_tol=1e-6)
        assert math.isclose(found.max_lr, 18 / values[-1])
        assert found.rank == len(values)


def samples_seen_twice_and_any_matrices() -> None:
    """No share of the targets is learned along zeros; alignment needs no symmetry, and has blocks.

    The two labels of a sample that occurs twice are learned as their mean.
    """
    generator = torch.Generator().manual_seed(4)
    inputs, target = (
        torch.randn(*shape, dtype=torch.float64, generator=generator) for shape in ((4, 3), (4, 1))
    )
    inputs[3] = inputs[0]
    model = _seeded(nn.Linear(3, 1))
    kernel = inputs @ inputs.T + 1
    values, vectors = torch.linalg.eigh(kernel)
    found = ntk_spectrum(model, (inputs, target))
    expected = (vectors.T @ target).flip(0).flatten().square() / target.square().sum()
    torch.testing.assert_close(found.target_shares[:3], expected[:3])
    assert found.target_shares[3] == 0 < expected[3]
    assert found.rank == 3
    lazy = lazy_prediction(model, (inputs, target), times=[math.inf])
    assert math.isclose(lazy.max_lr, 4 / values[-1])
    means = torch.stack([(target[0] + target[3]) / 2, target[1], target[2]])
    torch.testing.assert_close(lazy.outputs[0], means[[0, 1, 2, 0]])
    one, other = (
        torch.randn(3, 3, 2, 2, dtype=torch.float64, generator=generator) for _ in range(2)
    )
    flat = [
        torch.stack([k[n, :, c].flatten() for n in range(3) for c in range(2)])
        for k in (one, other)
    ]
    still = torch.eye(6).double() - 1 / 6
    left, right = (still @ matrix @ still for matrix in flat)
    aligned = float((left * right).sum() / left.norm() / right.norm())
    assert math.isclose(kernel_alignment(one, other), aligned)
    assert math.isclose(kernel_alignment(*flat), aligned)
    assert kernel_alignment(torch.zeros(3, 3), torch.eye(3)) == 0


def training_of_a_linear_model() -> None:
    """A linear model's kernel stays, so that the prediction is its training, step by step."""
    generator = torch.Generator().manual_seed(3)
    inputs, target = (
        torch.randn(n, c, dtype=torch.float64, generator=generator) for n, c in ((4, 6), (4, 2))
    )
    fresh = torch.randn(3, 6, dtype=torch.float64, generator=generator)
    model = _seeded(nn.Linear(6, 2))
    start = [p.detach().clone() for p in model.parameters()]
    lr, times = 0.05, [0.0, 0.05, 0.5, 2.0]
    found = lazy_prediction(model, (inputs, target), fresh, times=times, lr=lr)
    seen = lazy_prediction(model, (inputs, target), times=times, lr=lr)
    slow = lazy_prediction(model, (inputs, target), fresh, times=times)
    for i, time in enumerate(times):
        weight, bias = start
        for _ in range(round(time / lr)):
            error = inputs @ weight.T + bias - target
            weight, bias = weight - lr * error.T @ inputs / 4, bias - lr * error.sum(0) / 4
        error = inputs @ weight.T + bias - target
        torch.testing.assert_close(found.outputs[i], fresh @ weight.T + bias)
        torch.testing.assert_close(seen.outputs[i], error + target)
        torch.testing.assert_close(found.loss[i], error.square().mean())
        kernel = inputs @ inputs.T + 1
        left = torch.matrix_exp(-time * kernel / 4) @ (inputs @ start[0].T + start[1] - target)
        torch.testing.assert_close(slow.loss[i], left.square().mean())
        moved = (fresh @ inputs.T + 1) @ torch.linalg.solve(
            kernel, left - (inputs @ start[0].T + start[1] - target)
        )
        torch.testing.assert_close(slow.outputs[i], fresh @ start[0].T + start[1] + moved)
    assert math.isclose(found.max_lr, 8 / torch.linalg.eigvalsh(inputs @ inputs.T + 1)[-1])
    ends = lazy_prediction(model, (inputs, target), fresh, times=[math.inf]).outputs[0]
    torch.testing.assert_close(
        ends, lazy_prediction(model, (inputs, target), fresh, times=[1e9], lr=lr).outputs[0]
    )


PAPER = Paper(
    id="ntk",
    title="Neural Tangent Kernel: Convergence and Generalization in Neural Networks",
    year=2018,
    arxiv="1806.07572",
    headline="As a network's width grows, its tangent kernel becomes deterministic at the start "
    "and stays as it is in training: gradient descent is then kernel gradient descent, fastest "
    "along the kernel's leading components.",
    provides=(empirical_ntk, ntk_spectrum, kernel_alignment, lazy_prediction),
    instruments=(
        Instrument(
            "kernel",
            summary="Has the net learned features, or moved along a fixed kernel?",
            examine=read_kernels,
            cost=passes,
            cannot_tell="Whether features would have helped; and of a net that is hardly "
            "trained, what it will learn.",
            needs=frozenset({"model", "run"}),
        ),
    ),
    oracles=(
        kernels_of_jacobians,
        spectrum_retyped,
        samples_seen_twice_and_any_matrices,
        training_of_a_linear_model,
    ),
    examples=(
        Example(
            empirical_ntk,
            "function",
            knobs={
                "mode": ("full", "trace"),
                "others": (None, torch.linspace(-1, 1, 12).reshape(3, 4).double()),
            },
            inputs=lambda: (_small()[0], _small()[1][0]),
            exceptions=_PASSES,
        ),
        Example(
            ntk_spectrum,
            "diagnostic",
            knobs={"mode": ("full", "trace")},
            inputs=_small,
            exceptions=_PASSES,
        ),
        Example(
            kernel_alignment,
            "function",
            knobs={"centered": (True, False)},
            inputs=lambda: (torch.diag(torch.tensor([1.0, 2.0, 3.0])), torch.ones(3, 3).tril()),
        ),
        Example(
            lazy_prediction,
            "diagnostic",
            arguments={"times": [0.01, 0.1, 1.0]},
            knobs={
                "times": ([0.01], [0.1]),
                "lr": (None, 0.01),
                "inputs": (None, torch.linspace(-1, 1, 12).reshape(3, 4).double()),
            },
            inputs=_small,
            exceptions=_PASSES,
        ),
    ),
    claims=(
        MeasurementClaim(
            name="kernel-of-wide-networks",
            statement="The wider a network, the closer is its tangent kernel to that of infinite "
            "width, the less does it move in training, and the closer is training to the closed "
            "form.",
            measure=towards_the_limit,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=all_vanish_with_width,
            scaled="40 points on the unit circle, two hidden layers of 64 to 1024 ReLUs in the "
            "paper's parametrisation, 200 steps of full-batch gradient descent.",
        ),
    ),
    symptoms=(
        "is my network learning features or only moving along a kernel",
        "which part of my targets is learned slowly",
        "training is slow from the first step on",
        "how fast would a linearised network train",
    ),
)
