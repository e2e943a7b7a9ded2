import pytest
import torch
from torch import nn

from thalweg.diagnostics._tangent import Tangents, contracted

IMAGES, LINES, ROWS = (5, 4, 6, 6), (5, 4, 6), (5, 4)
LAYERS = {
    "linear": (lambda: nn.Linear(4, 2), ROWS),
    "linear of tokens": (lambda: nn.Linear(4, 2), (5, 3, 4)),
    "linear without bias": (lambda: nn.Linear(4, 2, bias=False), ROWS),
    "convolution": (lambda: nn.Conv2d(4, 2, 3, stride=2, padding=1, groups=2), IMAGES),
    "convolution of lines": (lambda: nn.Conv1d(4, 2, 2, dilation=2), LINES),
    "words": (lambda: nn.Embedding(4, 2), None),
    "padded words": (lambda: nn.Embedding(4, 2, padding_idx=1), None),
    "layer norm": (lambda: nn.LayerNorm(4), (5, 3, 4)),
    "group norm": (lambda: nn.GroupNorm(2, 4), IMAGES),
    "batch norm": (lambda: nn.BatchNorm2d(4), IMAGES),
}


class Read(nn.Module):
    def __init__(self, layer, scale=1.0):
        super().__init__()
        self.layer, self.scale = layer, scale

    def forward(self, x):
        h = self.layer(x).flatten(1)
        return self.scale * torch.stack([h.sin().sum(1), (h * h).sum(1), h[:, 0]], 1)


class Discarding(nn.Module):
    def __init__(self):
        super().__init__()
        self.used, self.discarded = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        self.discarded(x)
        return self.used(x)


class Uncalled(nn.Module):
    def __init__(self):
        super().__init__()
        self.uncalled, self.slope = nn.Linear(4, 2), nn.Parameter(torch.ones(4))

    def forward(self, x):
        return x * self.slope


class Table(nn.Module):
    def __init__(self, length):
        super().__init__()
        self.layer = nn.Linear(3, 2)
        self.table = torch.linspace(-1, 1, 3 * length).reshape(length, 3).double()

    def forward(self, x):
        return x[:, :2] * self.layer(self.table).square().sum(0)


class Cancelling(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        other = self.layer.weight.sum() * x[:, :1]
        return self.layer(x) + torch.cat([other, -other], 1)


class Balanced(nn.Module):
    def __init__(self):
        super().__init__()
        self.still, self.moving = nn.Linear(4, 2), nn.Linear(4, 2)

    def forward(self, x):
        return self.moving(x) + 0 * self.still(x)


def words():
    return torch.tensor([[0, 1, 2], [1, 1, 3], [2, 0, 0], [3, 2, 1], [0, 0, 1]])


def numbers(*shape):
    return torch.randn(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(0))


def seeded(model):
    generator = torch.Generator().manual_seed(1)
    for p in model.double().parameters():
        p.data.normal_(generator=generator)
    return model.eval()


def expected(model, x):
    parameters = [p for p in model.parameters() if p.requires_grad]
    slopes = [
        torch.cat(
            [
                g.flatten()
                for g in torch.autograd.grad(
                    end, parameters, retain_graph=True, materialize_grads=True
                )
            ]
        )
        for sample in x
        for end in model(sample[None]).flatten()
    ]
    rows = torch.stack(slopes).unflatten(0, (len(x), -1))
    return torch.einsum("ncp,mdp->cndm", rows, rows)


def agrees(tangents, x):
    every = expected(tangents.model, x)
    full = contracted(tangents(x), tangents(x), "full")
    torch.testing.assert_close(full, every)
    diagonal = contracted(tangents(x), tangents(x), "diagonal")
    torch.testing.assert_close(diagonal, every.diagonal(dim1=0, dim2=2).permute(2, 0, 1))
    trace = contracted(tangents(x), tangents(x), "trace")
    torch.testing.assert_close(trace, torch.einsum("cncm->nm", every))


@pytest.mark.parametrize(
    ("kind", "frozen"),
    [
        (kind, frozen)
        for kind, (make, _) in LAYERS.items()
        for frozen in (None, "weight", "bias")
        if {name for name, _ in make().named_parameters()} - {frozen}
    ],
)
def test_every_kind_of_layer_keeps_its_closed_form(kind, frozen):
    make, shape = LAYERS[kind]
    model = seeded(Read(make()))
    for name, p in model.layer.named_parameters():
        p.requires_grad_(name != frozen)
    x = words() if shape is None else numbers(*shape)
    tangents = Tangents(model, x)
    assert [*tangents.layers] == [model.layer]
    assert not tangents.rest
    agrees(tangents, x)


def test_a_layer_called_twice_keeps_its_closed_form():
    shared = nn.Linear(4, 4)
    model, x = seeded(Read(nn.Sequential(shared, nn.Tanh(), shared))), numbers(5, 4)
    tangents = Tangents(model, x)
    assert [*tangents.layers] == [shared]
    assert not tangents.rest
    agrees(tangents, x)


@pytest.mark.parametrize("scale", [1e-6, 1e6])
def test_small_and_large_gradients_keep_their_closed_form(scale):
    model, x = seeded(Read(nn.Linear(4, 3), scale)), numbers(5, 4)
    assert [*Tangents(model, x).layers] == [model.layer]


def test_a_wrong_form_of_large_gradients_is_noticed():
    class Owner(nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return 1e6 * (self.layer(x) + 1e-3 * self.layer.weight.sum() * x[:, :1])

    model, x = seeded(Owner()), numbers(5, 4)
    tangents = Tangents(model, x)
    assert not tangents.layers
    agrees(tangents, x)


def test_a_layer_without_influence_keeps_its_closed_form():
    model, x = seeded(Balanced()), numbers(5, 4)
    tangents = Tangents(model, x)
    assert [*tangents.layers] == [model.still, model.moving]
    agrees(tangents, x)


def test_a_layer_whose_output_is_discarded_keeps_its_closed_form():
    model, x = seeded(Discarding()), numbers(5, 4)
    tangents = Tangents(model, x)
    assert [*tangents.layers] == [model.used, model.discarded]
    agrees(tangents, x)


def test_a_layer_that_is_not_called_has_no_influence():
    model, x = seeded(Uncalled()), numbers(5, 4)
    tangents = Tangents(model, x)
    assert not tangents.layers
    agrees(tangents, x)


@pytest.mark.parametrize("length", [3, 4, 5])
def test_a_layer_whose_rows_are_no_samples_is_left_to_torch_func(length):
    model, x = seeded(Table(length)), numbers(5, 4)
    tangents = Tangents(model, x)
    assert not tangents.layers
    agrees(tangents, x)


def test_another_use_that_cancels_in_the_sum_of_the_outputs_is_noticed():
    model, x = seeded(Cancelling()), numbers(5, 4)
    tangents = Tangents(model, x)
    assert not tangents.layers
    agrees(tangents, x)


def test_outputs_may_be_more_precise_than_the_layers():
    class Widened(nn.Sequential):
        def forward(self, x):
            return super().forward(x).double()

    torch.manual_seed(0)
    model, x = Widened(nn.Linear(4, 2)), numbers(5, 4).float()
    tangents = Tangents(model, x)
    assert [*tangents.layers] == [model[0]]
    found = contracted(tangents(x), tangents(x), "trace")
    torch.testing.assert_close(found, 2 * (x @ x.T + 1))
