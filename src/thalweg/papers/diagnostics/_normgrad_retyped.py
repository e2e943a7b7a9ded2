"""Saliency retyped: identity layers put in for real, outer products written out, steps taken."""

import copy
import math

import torch
from scipy.stats import spearmanr
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.diagnostics import class_sensitivity, deletion_insertion, saliency


def net(*, inplace: bool = True) -> nn.Sequential:
    """Return a small net in double precision, each time the same."""
    model = nn.Sequential(
        nn.Conv2d(2, 3, 3, padding=1),
        nn.ReLU(inplace=inplace),
        nn.Conv2d(3, 4, 3, stride=2, padding=1),
        nn.Tanh(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Linear(16, 3),
    ).double()
    for i, p in enumerate(model.parameters()):
        p.data = (torch.arange(1.0, p.numel() + 1, dtype=torch.float64) * (1 + i)).sin().view_as(p)
    return model


def images() -> tuple[Tensor, Tensor]:
    """Return three images and a class of each."""
    pixels = torch.arange(3 * 2 * 6 * 4, dtype=torch.float64).view(3, 2, 6, 4)
    return (pixels**1.5).cos(), torch.tensor([0, 2, 1])


def _contributions(x: Tensor, g: Tensor, extract: str) -> Tensor:
    """Write out what each place contributes, entry by entry: (N, entries, h, w)."""
    channels, height, width = x.shape[1:]
    padded = F.pad(x, (1, 1, 1, 1))
    rows = []
    for c in range(channels):
        if extract == "bias":
            rows.append(g[:, c])
        elif extract == "scaling":
            rows.append(x[:, c] * g[:, c])
        elif extract == "average":
            mean = g[:, c].sum((1, 2)) / (height * width)
            rows.append(x[:, c] * mean[:, None, None])
        elif extract == "conv1x1":
            rows += [g[:, c] * x[:, d] for d in range(channels)]
        else:
            rows += [
                g[:, c] * padded[:, d, i : i + height, j : j + width]
                for d in range(channels)
                for i in range(3)
                for j in range(3)
            ]
    return torch.stack(rows, 1)


def _halves(model: nn.Sequential, layer: int) -> tuple[Tensor, Tensor, nn.Module]:
    """Return a layer's output, the score's gradient by it, and what comes behind."""
    pixels, target = images()
    x = model[: layer + 1](pixels).detach().requires_grad_()
    score = model[layer + 1 :](x)[torch.arange(3), target].sum()
    (g,) = torch.autograd.grad(score, x)
    return x.detach(), g, model[layer + 1 :]


def contributions_sum_to_the_gradient_of_an_identity_layer() -> None:
    """A bias, a scaling and convolutions that change nothing are put in, and differentiated."""
    x, g, behind = _halves(net(inplace=False), 1)
    _, target = images()
    channels = x.shape[1]
    weights = {
        "bias": torch.zeros(channels).double(),
        "scaling": torch.ones(channels).double(),
        "conv1x1": torch.eye(channels).double()[:, :, None, None],
        "conv3x3": F.pad(torch.eye(channels).double()[:, :, None, None], (1, 1, 1, 1)),
    }
    for extract, weight in weights.items():
        weight.requires_grad_()
        if extract == "bias":
            y = x + weight[:, None, None]
        elif extract == "scaling":
            y = x * weight[:, None, None]
        else:
            y = F.conv2d(x, weight, padding=weight.shape[-1] // 2)
        torch.testing.assert_close(y, x)
        score = behind(y)[torch.arange(3), target].sum()
        (slope,) = torch.autograd.grad(score, weight)
        ours = _contributions(x, g, extract).sum((0, 2, 3))
        torch.testing.assert_close(ours, slope.flatten())


def _aggregated(entries: Tensor, aggregate: str) -> Tensor:
    if aggregate == "norm":
        return (entries**2).sum(1) ** 0.5
    if aggregate == "positive":
        return (entries * (entries > 0)).square().sum(1) ** 0.5
    if aggregate in ("sum", "positive_sum"):
        total = entries.sum(1)
        return total * (total > 0) if aggregate == "positive_sum" else total
    return (entries.abs() if aggregate == "max_abs" else entries).max(1).values


def _map(model: nn.Sequential, layer: int, extract: str, aggregate: str) -> Tensor:
    x, g, _ = _halves(model, layer)
    values = _aggregated(_contributions(x, g, extract), aggregate)
    large = F.interpolate(values[:, None], (6, 4), mode="bilinear", align_corners=False)[:, 0]
    return torch.stack([(m - m.min()) / (m.max() - m.min()) for m in large])


def every_cell_of_the_table() -> None:
    """All pairs of extraction and aggregation; the named methods; layers multiplied."""
    plain, given = net(inplace=False), (net(), *images())
    extracts = "bias", "scaling", "average", "conv1x1", "conv3x3"
    for extract in extracts:
        for aggregate in ("norm", "positive", "sum", "positive_sum", "max", "max_abs"):
            found = saliency(*given, method=(extract, aggregate), layers=["2"])
            torch.testing.assert_close(found.maps, _map(plain, 2, extract, aggregate))
    for name, extract, aggregate in (
        ("normgrad", "conv1x1", "norm"),
        ("normgrad3x3", "conv3x3", "norm"),
        ("selective", "scaling", "positive"),
        ("linear", "scaling", "sum"),
        ("gradcam", "average", "positive_sum"),
    ):
        found = saliency(*given, method=name, batch_size=2)
        assert (found.extract, found.aggregate) == (extract, aggregate)
        assert found.layers == ("2",), "the last convolution"
        torch.testing.assert_close(found.maps, _map(plain, 2, extract, aggregate))
    both = saliency(*given, layers=["1", "3"]).maps
    product = _map(plain, 1, "conv1x1", "norm") * _map(plain, 3, "conv1x1", "norm")
    torch.testing.assert_close(both, product)
    pixels = given[1].clone().requires_grad_()
    score = plain(pixels)[torch.arange(3), given[2]].sum()
    (slope,) = torch.autograd.grad(score, pixels)
    largest = slope.abs().max(1).values
    scaled = torch.stack([(m - m.min()) / (m.max() - m.min()) for m in largest])
    torch.testing.assert_close(saliency(*given, method="gradient").maps, scaled)
    torch.testing.assert_close(saliency(*given, method="gradient", layers=[""]).maps, scaled)
    pooled = nn.Sequential(plain[0], nn.AdaptiveAvgPool2d(1), nn.Flatten())
    nowhere = saliency(pooled, *images(), method=("bias", "sum")).maps
    assert torch.equal(nowhere, torch.ones_like(nowhere)), "of what is the same everywhere"


def a_step_is_taken_before_the_map() -> None:
    """Each sample moves a model of its own by SGD, down the cross-entropy."""
    pixels, target = images()
    found = saliency(net(), pixels, target, layers=["1"], meta_lr=0.3).maps
    for i in range(3):
        model = net(inplace=False)
        optimizer = torch.optim.SGD(model.parameters(), lr=0.3)
        torch.autograd.backward(F.cross_entropy(model(pixels[i : i + 1]), target[i : i + 1]))
        optimizer.step()
        torch.testing.assert_close(found[i], _map(model, 1, "conv1x1", "norm")[i])
    plain = saliency(net(), pixels, target, layers=["1"]).maps
    assert (found - plain).abs().max() > 1e-3


def correlation_of_the_two_classes() -> None:
    """SciPy's rank correlation of the maps for the likeliest and the least likely class."""
    model, (pixels, _) = net(), images()
    scores = copy.deepcopy(model)(pixels).tolist()
    high = torch.tensor([max(range(3), key=row.__getitem__) for row in scores])
    low = torch.tensor([min(range(3), key=row.__getitem__) for row in scores])
    for method in ("normgrad", "linear"):
        found = class_sensitivity(model, pixels, method=method, layers=["1"], batch_size=2)
        maps = [saliency(model, pixels, y, method=method, layers=["1"]).maps for y in (high, low)]
        expected = [
            spearmanr(a.flatten(), b.flatten()).statistic for a, b in zip(*maps, strict=True)
        ]
        torch.testing.assert_close(found.correlations, torch.tensor(expected))
        assert torch.equal(found.likeliest, high)
        assert torch.equal(found.least_likely, low)
        assert math.isclose(found.mean, sum(expected) / 3)
        assert found.to_dict()["mean"] == found.mean


def correlation_of_few_places() -> None:
    """Two places can only be in the same order or in the other; one place has no order."""
    generator = torch.Generator().manual_seed(0)
    for places in (2, 1):
        small = nn.Sequential(nn.Conv2d(1, 3, 1), nn.Flatten(), nn.Linear(3 * places, 4)).double()
        for p in small.parameters():
            p.data.normal_(generator=generator)
        image = torch.randn(12, 1, 1, places, dtype=torch.float64, generator=generator)
        found = class_sensitivity(small, image, layers=["0"], batch_size=5).correlations
        if places == 1:
            assert torch.equal(found, torch.zeros_like(found))
        else:
            torch.testing.assert_close(found.abs(), torch.ones_like(found))
            assert found.amin() < 0 < found.amax()


def pixels_one_by_one() -> None:
    """Delete and insert them in a loop; equals in their order."""
    model, (pixels, target) = net(), images()
    maps = (torch.arange(3 * 24) % 7).view(3, 6, 4).double()
    found = deletion_insertion(model, pixels, target, maps, steps=5, fill=0.5, batch_size=2)
    counts = [0, 5, 10, 14, 19, 24]
    for i in range(3):
        ranked = sorted(range(24), key=lambda u, i=i: (-float(maps[i].flatten()[u]), u))  # type: ignore[misc]
        for k, count in enumerate(counts):
            deleted, inserted = pixels[i].clone(), torch.full_like(pixels[i], 0.5)
            for u in ranked[:count]:
                deleted[:, u // 4, u % 4] = 0.5
                inserted[:, u // 4, u % 4] = pixels[i, :, u // 4, u % 4]
            for image, curve in ((deleted, found.deletion), (inserted, found.insertion)):
                probability = model(image[None]).softmax(1)[0, target[i]]
                torch.testing.assert_close(curve[i, k], probability.detach())
    shares = [count / 24 for count in counts]
    torch.testing.assert_close(found.shares, torch.tensor(shares).double())
    for curve, area, name in (
        (found.deletion, found.deletion_area, "deletion_area"),
        (found.insertion, found.insertion_area, "insertion_area"),
    ):
        mean = curve.mean(0).tolist()
        steps = [
            (shares[k + 1] - shares[k]) * (mean[k] + mean[k + 1]) / 2 for k in range(len(mean) - 1)
        ]
        assert math.isclose(area, sum(steps))
        assert found.to_dict()[name] == area
