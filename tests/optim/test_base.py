"""How an elementwise optimizer divides its parameters, and what it runs compiled."""

import copy

import pytest
import torch
from torch.nn import Parameter

from thalweg.optim import DiffGrad, _base

FULL = _base._PACK
STATE = DiffGrad.state_names


class Own(torch.Tensor):
    """A tensor of a class of its own, as sharded ones are."""


@pytest.fixture(autouse=True)
def without_graph():
    with torch.no_grad():
        yield


def zeros(*sizes, dtype=torch.float32):
    return [Parameter(torch.zeros(size, dtype=dtype)) for size in sizes]


def own(*shape):
    return Parameter(torch.ones(shape).as_subclass(Own))


def moved(params, steps=3, **settings):
    """Return where a few steps end."""
    optimizer = DiffGrad(params, 0.1, **settings)
    for t in range(steps):
        for i, p in enumerate(params):
            p.grad = torch.cos(p.detach() + i + t)
        optimizer.step()
    return torch.cat([p.detach().as_subclass(torch.Tensor).flatten() for p in params])


def packed(*sizes, together=1):
    params = zeros(*sizes)
    packs = DiffGrad(params)._packs(params, together)
    return [[pack.sizes for pack in some] for some in packs]


def large(shape=(200, 200)):
    generator = torch.Generator().manual_seed(0)
    return Parameter(torch.randn(shape, generator=generator))


# Which packs there are ----------------------------------------------------------------------


def test_small_parameters_are_laid_end_to_end_until_a_pack_is_full():
    assert packed(1, FULL // 2, FULL // 2 - 1, 0, 1, 3) == [
        [[1, FULL // 2, FULL // 2 - 1, 0]],
        [[1, 3]],
    ]


@pytest.mark.parametrize("size", [FULL, FULL + 1])
def test_a_large_parameter_is_alone(size):
    assert packed(size, 0, 1) == [[[size]], [[0, 1]]]
    assert packed(2, size, 1) == [[[2]], [[1]], [[size]]]


def test_a_parameter_of_another_class_is_alone_and_keeps_its_shape():
    params = [*zeros(2), own(3, 4), *zeros(0, 5)]
    packs = [pack for (pack,) in DiffGrad(params)._packs(params, 1)]
    assert [pack.sizes for pack in packs] == [[2], [0, 5], [12]]
    assert packs[2].shape == (3, 4)
    operand = packs[2].load(0, [params[1]])
    assert operand.data_ptr() == params[1].data_ptr()
    assert not operand.requires_grad
    torch.testing.assert_close(operand, params[1].detach(), rtol=0, atol=0)


def test_a_parameter_of_another_class_goes_where_a_tensor_goes():
    torch.testing.assert_close(moved([own(3, 4)]), moved([Parameter(torch.ones(3, 4))]))


@pytest.mark.parametrize(
    ("sizes", "length"),
    [((0,), 64), ((1,), 64), ((30, 34), 64), ((30, 35), 128), ((36_100,), 36_100)],
)
def test_a_pack_of_small_parameters_has_whole_vectors(sizes, length):
    params = zeros(*sizes)
    pack = _base._Pack(params)
    row = pack.load(0, params)
    assert pack.shape == row.shape == (length,)


def test_packs_of_one_shape_come_together_up_to_so_many():
    sizes = FULL, FULL + 64, FULL, 3, FULL
    alone = [[[FULL]], [[FULL]], [[FULL]], [[FULL + 64]], [[3]]]
    assert packed(*sizes) == alone
    together = [[[FULL], [FULL]], [[FULL]], [[FULL + 64]], [[3]]]
    assert packed(*sizes, together=2) == together


def test_packs_are_made_once_for_the_same_parameters():
    params = zeros(2, 3)
    optimizer = DiffGrad(params)
    first = optimizer._packs(params, 1)
    assert optimizer._packs(list(params), 1) is first
    assert optimizer._packs(params[:1], 1) is not first
    assert optimizer._packs(params, 1) is first
    params[0].data, params[1].data = (p.data.double() for p in params)
    assert optimizer._packs(params, 1) is not first


def test_packs_of_ever_new_combinations_are_not_all_held():
    params = zeros(*range(40))
    optimizer = DiffGrad(params)
    held = []
    for p in params:
        optimizer._packs([p], 1)
        held.append(len(optimizer._packings))
    assert held == [*range(1, 33), *range(1, 9)]


def test_a_copy_has_packs_of_its_own():
    p = large()
    optimizer = DiffGrad([p])
    p.grad = torch.ones_like(p)
    optimizer.step()
    again = copy.deepcopy(optimizer)
    assert optimizer._packings
    assert again._packings == {}


# What a pack does ---------------------------------------------------------------------------


def test_a_large_parameter_and_its_gradient_are_not_copied():
    p, g = large(), torch.ones(200, 200)
    pack = _base._Pack([p])
    rows = [pack.load(0, [p]), pack.load(1, [g])]
    for row, x in zip(rows, (p, g), strict=True):
        assert row.data_ptr() == x.data_ptr()
        assert row.shape == (40_000,)
        assert not row._is_view()
    assert pack.load(0, [p]) is rows[0]
    assert pack.load(1, [g]) is not rows[1]
    assert pack.flat is rows[0]
    assert not pack.rows


def test_a_large_parameter_may_move_to_other_memory():
    p = large()
    pack = _base._Pack([p])
    pack.load(0, [p])
    p.data = p.data.clone()
    assert pack.load(0, [p]).data_ptr() == p.data_ptr()


def test_a_parameter_as_large_as_a_pack_is_not_copied():
    (p,) = zeros(FULL)
    assert _base._Pack([p]).load(0, [p]).data_ptr() == p.data_ptr()


def test_small_parameters_are_copied_to_and_fro():
    params = [Parameter(torch.tensor([[1.0, 2.0]])), Parameter(torch.tensor(3.0))]
    pack = _base._Pack(params)
    row = pack.load(0, params)
    assert row[:4].tolist() == [1, 2, 3, 0]
    assert not row[4:].any()
    row.mul_(2)
    pack.store(row)
    assert [p.tolist() for p in params] == [[[2, 4]], 6]
    assert pack.load(0, params) is row
    assert pack.load(1, [-p.detach() for p in params])[:3].tolist() == [-2, -4, -6]


def test_a_large_parameter_that_is_not_contiguous_is_copied_to_and_fro():
    p = Parameter(large((100, 400)).detach().t())
    expected = 2 * p.detach()
    pack = _base._Pack([p])
    pack.load(1, [torch.ones(400, 100)])
    row = pack.load(0, [p])
    row.mul_(2)
    pack.store(row)
    assert torch.equal(p.detach(), expected)


def test_what_was_copied_is_not_stored_once_the_parameter_is_contiguous():
    p = Parameter(large((100, 400)).detach().t())
    pack = _base._Pack([p])
    pack.load(0, [p])
    p.data = p.data.contiguous()
    row = pack.load(0, [p])
    row.mul_(2)
    expected = p.detach().clone()
    pack.store(row)
    assert torch.equal(p.detach(), expected)


def test_state_moves_into_rows_once():
    pack = _base._Pack(zeros(2, 1))
    states = [{name: torch.full((n,), float(n)) for name in STATE} for n in (2, 1)]
    rows = pack.keep(STATE, states)
    for name, row in zip(STATE, rows, strict=True):
        assert row[:4].tolist() == [2, 2, 1, 0]
        assert states[0][name].data_ptr() == row.data_ptr()
    kept = pack.kept
    assert len(kept) == 2 * len(STATE)
    again = pack.keep(STATE, states)
    assert pack.kept is kept
    assert all(row is other for row, other in zip(rows, again, strict=True))


def test_state_that_was_replaced_moves_again():
    pack = _base._Pack(zeros(2, 1))
    states = [{"exp_avg": torch.zeros(2)}, {"exp_avg": torch.zeros(1)}]
    pack.keep(["exp_avg"], states)
    states[1]["exp_avg"] = torch.ones(1)
    (row,) = pack.keep(["exp_avg"], states)
    assert row[:4].tolist() == [0, 0, 1, 0]
    row.add_(1)
    assert states[1]["exp_avg"].tolist() == [2]


def test_state_of_another_class_stays_where_it_is():
    state = {"exp_avg": torch.zeros(2)}
    (row,) = _base._Pack([own(2)]).keep(["exp_avg"], [state])
    assert row is state["exp_avg"]


# Steps --------------------------------------------------------------------------------------


def test_large_parameters_of_one_shape_all_move():
    ends = moved([large(), large()]).view(2, 200, 200)
    start = large().detach()
    assert (ends[0] != start).all()
    assert (ends[1] != start).all()


def test_maximizing_leaves_gradients_alone():
    p, q = zeros(2, FULL)
    p.grad, q.grad = torch.ones_like(p), torch.ones_like(q)
    DiffGrad([p, q], 0.1, maximize=True).step()
    for x in (p, q):
        assert (x.detach() > 0).all()
        assert (x.grad == 1).all()


def test_a_closure_may_return_a_plain_number():
    (p,) = zeros(2)
    assert DiffGrad([p]).step(lambda: 1.5) == 1.5


def test_the_loss_comes_back_without_its_graph():
    (p,) = zeros(2)
    loss = DiffGrad([p]).step(lambda: (p + 1).sum())
    assert loss.item() == 2
    assert not loss.requires_grad


@pytest.mark.parametrize(
    "betas", [(0.9,), (0.9, 0.9, 0.9), (0.9, 1.0), (1.0, 0.9), (-0.1, 0.9), 0.9, ("a", "b")]
)
def test_betas_that_are_no_decay_rates_are_refused(betas):
    with pytest.raises(ValueError, match="betas must be two numbers"):
        DiffGrad(zeros(1), betas=betas)


def test_a_group_that_is_refused_is_not_added():
    optimizer = DiffGrad(zeros(1), betas=(0.0, 0.0))
    complex_ones = [Parameter(torch.ones(1, dtype=torch.complex64))]
    for wrong, says in (({"lr": -1.0}, "lr must be"), ({"params": complex_ones}, "real")):
        with pytest.raises(ValueError, match=says):
            optimizer.add_param_group({"params": zeros(1), **wrong})
        assert len(optimizer.param_groups) == 1


def test_an_average_with_all_the_weight_on_the_newest_is_the_newest():
    mean = torch.tensor([1e8])
    _base.average_(mean, torch.tensor([1.0]), 1.0)
    assert mean.item() == 1


def test_an_average_is_compiled_without_branches(monkeypatch):
    monkeypatch.setattr(torch.compiler, "is_compiling", lambda: True)
    monkeypatch.setattr(torch.Tensor, "lerp_", None)
    mean = torch.tensor([1.0, -2.0])
    _base.average_(mean, torch.tensor([2.0, 4.0]), 0.25)
    assert mean.tolist() == [1.25, -0.5]


def test_what_is_drawn_by_a_key_stays_the_same():
    generator = _base.keyed_generator(torch.device("cpu"), 0, 1)
    assert generator.initial_seed() == 8_566_881_351_708_354_045


# Compiled -----------------------------------------------------------------------------------


class Recorder:
    """In place of `torch.compile`: leaves programs as they are and records them and their calls."""

    def __init__(self):
        self.names, self.settings, self.calls = [], [], []

    def __call__(self, program, **settings):
        self.names.append(program.__code__.co_name)
        self.settings.append(settings)

        def recorded(rows, names, values, **constants):
            self.calls.append((len(rows), values.dtype))
            program(rows, names, values, **constants)

        return recorded


@pytest.fixture
def compiling(monkeypatch):
    recorder = Recorder()
    monkeypatch.setattr(torch, "compile", recorder)
    _base._compiled.cache_clear()
    yield recorder
    _base._compiled.cache_clear()


def test_what_is_compiled_has_the_same_numbers(compiling):
    def params():
        small = Parameter(torch.ones(3, 2))
        return [small, large(), large(), Parameter(large().t()), own(3, 4)]

    settings = {"weight_decay": 0.1, "decoupled_weight_decay": True}
    together = moved(params(), **settings, compile=True)
    assert [count for count, _ in compiling.calls] == [1, 3, 1] * 3
    torch.testing.assert_close(together, moved(params(), **settings))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64, torch.bfloat16])
def test_what_is_compiled_takes_its_numbers_in_single_precision_or_better(compiling, dtype):
    moved(zeros(3, dtype=dtype), steps=1, compile=True)
    assert compiling.calls == [(1, torch.promote_types(dtype, torch.float32))]


def test_up_to_sixteen_packs_are_one_program_and_each_count_has_its_own(compiling):
    moved([*zeros(*[FULL] * 17), *zeros(3)], steps=2, compile=True)
    assert [count for count, _ in compiling.calls] == [16, 1, 1] * 2
    assert compiling.names == ["DiffGrad.update_of_16", "DiffGrad.update_of_1"]
    assert all(settings["dynamic"] for settings in compiling.settings)
