import copy

import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import DCTAdamW, Trion, _projected, dct_column_projection, dct_columns

KINDS = (DCTAdamW, Trion)


def layers(shapes, dtype=torch.float64):
    generator = torch.Generator().manual_seed(0)
    values = [torch.randn(x, generator=generator, dtype=torch.float64) for x in shapes]
    return [Parameter(x.to(dtype)) for x in values]


def run(optimizer, params, steps, start=0):
    for t in range(start, start + steps):
        for i, p in enumerate(params):
            p.grad = torch.sin(p.detach() * (t + 2) + i)
        optimizer.step()
    return torch.cat([p.detach().double().flatten() for p in params])


@pytest.mark.parametrize("kind", KINDS)
def test_stacked_matrices_go_where_each_goes_alone(kind, monkeypatch):
    shapes = [(6, 4)] * 5 + [(4, 6)] * 3 + [(1, 1), (1, 9), (0, 3)]
    together = run(kind(params := layers(shapes), rank=2), params, 4)
    monkeypatch.setattr(_projected, "_STACK", 1)
    alone = run(kind(params := layers(shapes), rank=2), params, 4)
    torch.testing.assert_close(together, alone, rtol=1e-12, atol=1e-12)


def test_columns_beyond_256_survive_a_checkpoint_in_bfloat16():
    (p,) = params = layers([(400, 400)], torch.bfloat16)
    optimizer = DCTAdamW(params, rank=100, update_gap=10)
    run(optimizer, params, 2)
    state = copy.deepcopy(optimizer.state_dict())
    resumed = DCTAdamW(params, rank=100)
    resumed.load_state_dict(state)
    before, after = (x.state[p]["columns"] for x in (optimizer, resumed))
    assert after.dtype == torch.int32
    assert torch.equal(before, after)
    assert before.max() > 256
    assert after is not state["state"][0]["columns"]


def test_half_precision_is_projected_like_single():
    matrix = layers([(30, 20)])[0].detach().bfloat16()
    indices, coefficients = dct_column_projection(matrix, 5)
    expected, exact = dct_column_projection(matrix.float(), 5)
    assert torch.equal(indices, expected)
    torch.testing.assert_close(coefficients, exact.bfloat16())
    assert dct_columns(indices, 20, dtype=torch.bfloat16).dtype == torch.bfloat16


@pytest.mark.parametrize(
    ("matrix", "rank", "norm", "says"),
    [
        (torch.ones(3), 1, 1.0, "row\\[None\\]"),
        (torch.ones(3, 3, dtype=torch.int64), 1, 1.0, "real"),
        (torch.ones(3, 3), 4, 1.0, "rank must be 1 to 3"),
        (torch.ones(3, 3), 0, 1.0, "rank must be 1 to 3"),
        (torch.ones(3, 3), 1, 0.5, "norm must be"),
    ],
)
def test_what_cannot_be_projected_is_refused(matrix, rank, norm, says):
    with pytest.raises(ValueError, match=says):
        dct_column_projection(matrix, rank, norm=norm)


@pytest.mark.parametrize(
    ("kind", "wrong"),
    [
        (DCTAdamW, {"rank": 0}),
        (DCTAdamW, {"rank": 1, "update_gap": 1.5}),
        (DCTAdamW, {"rank": 1, "max_size": 0}),
        (Trion, {"rank": 1, "adjust_lr_fn": "none"}),
        (Trion, {"rank": 1, "momentum": 1.0}),
    ],
)
def test_what_makes_no_sense_is_refused(kind, wrong):
    with pytest.raises(ValueError, match=f"{list(wrong)[-1]} must be"):
        kind(layers([(3, 3)]), **wrong)


@pytest.mark.parametrize("kind", KINDS)
def test_a_column_that_leaves_takes_its_moments_along(kind):
    """Gradients along one cosine, then along another: the first has left nothing behind."""
    (p,) = params = layers([(5, 4)])
    optimizer = kind(params, rank=1)
    first, second = dct_columns(torch.tensor([1, 2]), 4, dtype=torch.float64).mT
    for cosine in (first, second):
        before = p.detach().clone()
        p.grad = torch.ones(5, 1, dtype=torch.float64) * cosine * (10 if cosine is second else 1)
        optimizer.step()
        for group in optimizer.param_groups:
            before *= 1 - group["lr"] * group["weight_decay"]
        change = p.detach() - before
        torch.testing.assert_close(change, change @ cosine[:, None] * cosine)
