import pytest
import torch
from torch import nn
from torch.nn import functional as F
from torch.utils.data import DataLoader, TensorDataset

from thalweg.data import el2n_scores, grand_scores
from thalweg.data._gradient_norms import GradientNorms


class Tied(nn.Module):
    """A layer called twice, one weight in two layers, an activation that overwrites."""

    def __init__(self):
        super().__init__()
        self.embed, self.norm = nn.Embedding(7, 6, padding_idx=2), nn.LayerNorm(6)
        self.twice, self.last = nn.Linear(6, 6), nn.Linear(6, 7, bias=False)
        self.last.weight = self.embed.weight

    def forward(self, tokens):
        hidden = F.relu_(self.twice(self.norm(self.embed(tokens))))
        return self.last(self.twice(hidden).mean(1))


class Functional(nn.Module):
    """Parameters outside of layers, and a residual that overwrites."""

    def __init__(self):
        super().__init__()
        self.embed, self.place = nn.Embedding(7, 8), nn.Parameter(torch.randn(5, 8))
        self.block, self.last = nn.TransformerEncoderLayer(8, 2, 16), nn.Linear(8, 3)

    def forward(self, tokens):
        hidden = self.embed(tokens) + self.place
        hidden = hidden + self.block(hidden.mT.mT)
        hidden += self.place
        return self.last(hidden.mean(1))


TOKENS = torch.arange(45).reshape(9, 5) ** 2 % 7
MODELS = {
    "mlp": (
        lambda: nn.Sequential(
            *(nn.Linear(6, 8), nn.ReLU(inplace=True), nn.BatchNorm1d(8), nn.Linear(8, 3))
        ),
        torch.randn(9, 6),
    ),
    "sequence": (
        lambda: nn.Sequential(nn.Linear(6, 8), nn.RMSNorm(8), nn.Flatten(), nn.Linear(40, 3)),
        torch.randn(9, 5, 6),
    ),
    "bag of few tokens": (
        lambda: nn.Sequential(nn.Embedding(7, 4, padding_idx=1), nn.Flatten(), nn.Linear(20, 3)),
        TOKENS,
    ),
    "images": (
        lambda: nn.Sequential(
            *(nn.Conv2d(2, 4, 3, stride=2, padding=1), nn.BatchNorm2d(4), nn.ReLU(inplace=True)),
            *(nn.Conv2d(4, 6, (3, 2), groups=2, dilation=(1, 2), bias=False), nn.Flatten()),
            nn.Linear(24, 3),
        ),
        torch.randn(9, 2, 8, 8),
    ),
    "volumes": (
        lambda: nn.Sequential(nn.Conv3d(1, 2, 3), nn.Tanh(), nn.Flatten(), nn.Linear(16, 3)),
        torch.randn(9, 1, 4, 4, 4),
    ),
    "tied": (Tied, TOKENS),
    "functional": (Functional, TOKENS),
}
TARGET = torch.arange(9) % 3


@pytest.mark.parametrize("name", MODELS)
@pytest.mark.parametrize("loss", [F.cross_entropy, nn.CrossEntropyLoss(reduction="sum")])
def test_norms_are_those_of_one_gradient_after_the_other(name, loss):
    torch.manual_seed(0)
    make, inputs = MODELS[name]
    model = make().double()
    inputs = inputs.double() if inputs.is_floating_point() else inputs
    if name == "functional":  # the block is made for positions first: each sample is alone in it
        model.block.self_attn.batch_first = True
    found = grand_scores(model, (inputs, TARGET), loss, batch_size=4)
    model.eval()
    for i, norm in enumerate(found):
        value = loss(model(inputs[i : i + 1]), TARGET[i : i + 1])
        slopes = torch.autograd.grad(value, list(model.parameters()))
        expected = torch.cat([slope.flatten() for slope in slopes]).norm()
        torch.testing.assert_close(norm, expected)


def closed(model, inputs):
    norms = GradientNorms(model.eval(), F.cross_entropy, model.parameters())
    norms.norms((inputs, TARGET[: len(inputs)]))
    return [type(layer).__name__ for layer in norms.layers], sorted(norms.rest)


def test_layers_go_without_vmap_unless_their_parameters_are_used_otherwise():
    torch.manual_seed(0)
    make, inputs = MODELS["images"]
    assert closed(make(), inputs) == (["Conv2d", "BatchNorm2d", "Conv2d", "Linear"], [])
    layers, rest = closed(Tied(), TOKENS)
    assert layers == ["LayerNorm"]
    assert rest == ["embed.weight", "twice.bias", "twice.weight"]


@pytest.mark.parametrize("positions", [2, 50])  # few: the Gram matrices are cheaper; many: x' y
def test_both_ways_of_multiplying_agree(positions):
    torch.manual_seed(0)
    model = nn.Sequential(nn.Linear(20, 20), nn.Flatten(), nn.Linear(20 * positions, 3)).double()
    inputs = torch.randn(3, positions, 20).double()
    found = grand_scores(model, (inputs, TARGET[:3]), parameters=lambda m: [m[0].weight])
    for i in range(3):
        value = F.cross_entropy(model(inputs[i : i + 1]), TARGET[i : i + 1])
        expected = torch.autograd.grad(value, model[0].weight)[0].norm()
        torch.testing.assert_close(found[i], expected)


def test_error_is_the_gradient_of_the_loss_with_respect_to_the_output():
    output = torch.randn(9, 3, requires_grad=True)
    F.cross_entropy(output, TARGET, reduction="sum").backward()
    found = el2n_scores(nn.Identity(), (output.detach(), TARGET))
    torch.testing.assert_close(found, output.grad.norm(dim=1))
    numbers = torch.randn(9, 3)
    found = el2n_scores(nn.Identity(), (output.detach(), numbers))
    torch.testing.assert_close(found, (output - numbers).norm(dim=1).detach())


@pytest.mark.parametrize("scores", [el2n_scores, grand_scores])
def test_scores_are_in_the_order_of_the_samples(scores):
    models = [nn.Linear(4, 3), nn.Linear(4, 3)]
    data = torch.randn(9, 4), TARGET
    expected = scores(models, data)
    torch.testing.assert_close(sum(scores(model, data) for model in models) / 2, expected)
    torch.testing.assert_close(scores(models, data, batch_size=2), expected)
    loader = DataLoader(TensorDataset(*data), batch_size=4)
    torch.testing.assert_close(scores(models, loader), expected)
    for wrong in ({"shuffle": True}, {"drop_last": True}):
        with pytest.raises(ValueError, match="shuffle=False"):
            scores(models, DataLoader(TensorDataset(*data), batch_size=4, **wrong))


def test_what_cannot_be_scored_is_refused():
    data = torch.randn(9, 4), TARGET
    with pytest.raises(ValueError, match="at least one"):
        el2n_scores([], data)
    with pytest.raises(ValueError, match="do not fit"):
        el2n_scores(nn.Linear(4, 3), (data[0], torch.rand(9)))
    with pytest.raises(ValueError, match="unfreeze"):
        grand_scores(nn.Linear(4, 3).requires_grad_(False), data)


def test_scores_do_not_keep_the_graph_they_were_made_by():
    torch.manual_seed(0)
    scores = grand_scores(Functional(), (TOKENS, torch.arange(9) % 3))
    assert not scores.requires_grad
