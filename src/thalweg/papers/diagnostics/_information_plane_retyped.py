"""The information plane retyped: symbols counted one by one, pairs of samples in a loop."""

import math
from collections import Counter
from collections.abc import Sequence

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.diagnostics import gradient_phases, information_plane


def nets() -> list[nn.Module]:
    """Return three snapshots of a small net in double precision, each time the same."""
    models: list[nn.Module] = []
    for step in range(3):
        net = nn.Sequential(nn.Linear(3, 2), nn.Tanh(), nn.Linear(2, 4), nn.ReLU(), nn.Linear(4, 3))
        for i, p in enumerate(net.double().parameters()):
            grown = torch.arange(1.0, p.numel() + 1, dtype=torch.float64).view_as(p)
            p.data = (grown * (1 + i + step / 3)).sin()
        models.append(net)
    return models


def samples() -> tuple[Tensor, Tensor]:
    """Return twelve inputs and the class of each."""
    inputs = torch.arange(36.0, dtype=torch.float64).view(12, 3).cos()
    return inputs, torch.arange(12) % 5 % 3


def _entropy(symbols: Sequence[object]) -> float:
    counts = Counter(symbols).values()
    return -sum(c / len(symbols) * math.log2(c / len(symbols)) for c in counts)


def _spread(rows: list[list[float]], scale: float) -> float:
    total = 0.0
    for a in rows:
        kernels = [
            math.exp(-sum((x - y) ** 2 for x, y in zip(a, b, strict=True)) / scale) for b in rows
        ]
        total -= math.log2(sum(kernels) / len(rows))
    return total / len(rows)


def informations_retyped() -> None:
    """Count the symbols, whole and of each class; the bounds by loops over pairs of samples."""
    inputs, target = samples()
    names = ("binning", "kde_upper", "kde_lower")
    widths, variances = (0.3, 0.2), (0.05, 0.02)  # one for each layer
    found = information_plane(
        nets(),
        (inputs, target),
        estimators=names,
        every=2,
        bin_width=widths,
        noise_variance=variances,
        batch_size=5,
    )
    assert (found.layers, found.saturating) == (("1", "3"), (True, False))
    assert (found.steps.tolist(), found.estimators, found.n_samples) == ([0, 2], names, 12)
    for m, net in enumerate(nets()[::2]):
        for i, rows in enumerate((net[:2](inputs).tolist(), net[:4](inputs).tolist())):  # type: ignore[index]
            symbols = [tuple(math.floor(x / widths[i]) for x in row) for row in rows]
            assert found.patterns[m, i] == len(set(symbols))
            expected = [_entropy(symbols), *(_spread(rows, c * variances[i]) for c in (2, 8))]
            classes = [[j for j in range(12) if target[j] == c] for c in (0, 1, 2)]
            for e, whole in enumerate(expected):
                within = 0.0
                for chosen in classes:
                    part = (
                        _entropy([symbols[j] for j in chosen])
                        if e == 0
                        else _spread([rows[j] for j in chosen], (2, 8)[e - 1] * variances[i])
                    )
                    within += len(chosen) / 12 * part
                assert math.isclose(found.input_information[e, m, i], whole, rel_tol=1e-9)
                assert math.isclose(found.target_information[e, m, i], whole - within, rel_tol=1e-7)
            bias = (len(set(symbols)) - 1) / (24 * math.log(2))
            assert math.isclose(found.bias[m, i], bias)
    lost = found.input_information.max(1).values - found.input_information[:, 1]
    assert torch.equal(found.compression, lost)
    assert found.to_dict()["compression"] == lost.tolist()
    assert found.to_dict()["bias"] == found.bias.tolist()
    assert found.to_dict()["caveats"] == list(found.caveats)
    assert "1 saturates, 3 does not saturate" in found.caveats[1]
    bounds = information_plane(nets(), (inputs, target), estimators=names[1:])
    assert bounds.caveats[2] == "It cannot exceed log2 N = 3.58 bits."
    assert "log2 N = 3.58 bits; 0 of 4" in found.caveats[2] or (found.patterns > 10).any()


def limits_of_information() -> None:
    """Distinct patterns tell log2 N bits, a constant nothing, the class itself H(Y)."""
    bits = torch.cartesian_prod(*[torch.tensor([0.0, 1.0])] * 6).double()
    target = (bits.sum(1) > 3).long()
    share = float(target.double().mean())
    entropy = -share * math.log2(share) - (1 - share) * math.log2(1 - share)
    label = target[:, None].double()
    for inputs, told, of_class in (
        (bits, 6.0, entropy),
        (torch.zeros(64, 2).double(), 0.0, 0.0),
        (label, entropy, entropy),
    ):
        found = information_plane(
            [nn.Sequential(nn.Identity())],
            (inputs, target),
            layers=["0"],
            estimators=("binning", "kde_upper", "kde_lower"),
        )
        measured = torch.stack([found.input_information, found.target_information])
        expected = torch.tensor([told, of_class]).double()[:, None].expand(2, 3)
        torch.testing.assert_close(measured[:, :, 0, 0], expected, rtol=0, atol=1e-6)
        told_apart = 1 if told == 6 else 0
        assert f"= 6.00 bits; {told_apart} of 1 measurements" in found.caveats[2]


def phases_retyped() -> None:
    """Gather the mini-batches' gradients, and take their mean and spread."""
    inputs, target = samples()
    found = gradient_phases(nets(), (inputs, target), F.cross_entropy, minibatch=5, every=2, seed=3)
    assert found.parameters == ("0.weight", "2.weight", "4.weight")
    assert found.steps.tolist() == [0, 2]
    order = torch.randperm(12, generator=torch.Generator().manual_seed(3))
    for m, net in enumerate(nets()[::2]):
        for i, name in enumerate(found.parameters):
            weight = dict(net.named_parameters())[name]
            slopes = []
            for part in (order[:5], order[5:10]):
                value = F.cross_entropy(net(inputs[part]), target[part])
                slopes.append(torch.autograd.grad(value, weight)[0])
            mean = (slopes[0] + slopes[1]) / 2
            spread = math.sqrt(sum(float((g - mean).square().sum()) for g in slopes) / 2)
            size = float(weight.detach().norm())
            assert math.isclose(found.mean[m, i], float(mean.norm()) / size, rel_tol=1e-9)
            assert math.isclose(found.deviation[m, i], spread / size, rel_tol=1e-9)
    assert torch.equal(found.signal_to_noise, found.mean / found.deviation)


def transitions_of_given_ratios() -> None:
    """Diffusion begins behind the last measurement at which a weight drifts."""
    found = gradient_phases(nets(), samples(), F.cross_entropy, minibatch=6)
    for ratios, step in (
        ([2.0, 2.0, 2.0], None),
        ([2.0, 0.5, 0.5], 1),
        ([0.5, 2.0, 0.9], 2),
        ([0.5, 0.9, 1.0], 0),
        ([0.5, 0.9, 1.1], None),
    ):
        found.mean[:, 0] = torch.tensor(ratios).double()
        found.deviation[:, 0] = 1
        assert found.transitions[0] == step, ratios
        assert found.to_dict()["transitions"] == list(found.transitions)
        assert found.to_dict()["signal_to_noise"] == found.signal_to_noise.tolist()
