"""Saliency: what it refuses, frozen and shared parts, and maps that single nothing out."""

import pytest
import torch
from torch import nn

from thalweg.diagnostics import class_sensitivity, deletion_insertion, saliency


def net():
    return nn.Sequential(
        nn.Conv2d(1, 2, 3, padding=1),
        nn.ReLU(inplace=True),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(2, 3),
    )


def images():
    return torch.randn(2, 1, 5, 7, generator=torch.Generator().manual_seed(0)), torch.tensor([0, 2])


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"method": "gradcamm"}, "give one of normgrad, .*bias"),
        ({"method": ("bias", "median")}, "is not known"),
        ({"layers": ["5"]}, "'5' is not one of the model"),
        ({"layers": ["3"]}, r"of shape \(2, 2\); give layers"),
        ({"layers": []}, "no layers"),
        ({"meta_lr": -1.0}, "meta_lr is -1.0"),
        ({"batch_size": 0}, "batch_size is 0"),
        ({"target": torch.tensor([0, 3])}, "classes up to 3"),
        ({"target": torch.tensor([0])}, "give images"),
        ({"model": nn.Flatten(), "layers": None}, "no Conv2d"),
    ],
)
def test_what_cannot_be_mapped_is_refused(settings, says):
    x, target = images()
    given = {"model": net(), "input": x, "target": target, **settings}
    with pytest.raises(ValueError, match=says):
        saliency(given.pop("model"), given.pop("input"), given.pop("target"), **given)


def test_bad_shapes_and_numbers_are_refused():
    x, target = images()
    with pytest.raises(ValueError, match=r"maps \(2, 5, 5\)"):
        deletion_insertion(net(), x, target, torch.zeros(2, 5, 5))
    with pytest.raises(ValueError, match="steps is 0"):
        deletion_insertion(net(), x, target, x[:, 0], steps=0)
    with pytest.raises(ValueError, match="batch_size is 0"):
        class_sensitivity(net(), x, batch_size=0)


def test_a_frozen_model_has_the_same_maps_also_without_gradients():
    frozen = nn.Sequential(nn.ReLU(inplace=True), *net())
    frozen.register_parameter("unused", nn.Parameter(torch.ones(1)))
    free = saliency(frozen, *images()).maps
    frozen.requires_grad_(False)
    with torch.no_grad():
        assert torch.equal(saliency(frozen, *images()).maps, free)
        assert torch.equal(saliency(frozen, *images(), meta_lr=0.0).maps, free)
        assert saliency(frozen, *images(), meta_lr=0.1).maps.isfinite().all()
    assert not any(p.requires_grad for p in frozen.parameters())


def test_a_map_that_singles_nothing_out_is_one_everywhere():
    x, target = images()
    found = saliency(net(), x, target, method=("bias", "sum"), layers=["1"])
    assert torch.equal(found.maps, torch.ones(2, 5, 7))  # of the mean over the places


class Branched(nn.Module):
    """A net one of whose layers has no part in the scores."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Conv2d(1, 3, 1), nn.Conv2d(1, 2, 1)

    def forward(self, x):
        self.unused(x)
        return self.used(x).mean((2, 3))


def test_a_layer_without_part_in_the_scores_has_a_map_without_contrast():
    x, target = images()
    maps = saliency(Branched(), x, target, layers=["unused"])
    assert maps.maps.isfinite().all()
