import pytest
import torch
from torch import nn

from thalweg.diagnostics import generalization_bounds, rank_bounds, two_worlds


@pytest.fixture
def data():
    inputs = torch.randn(30, 4, generator=torch.Generator().manual_seed(0))
    return inputs, (inputs[:, 0] > 0).long()


def net():
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(4, 8), nn.ReLU(), nn.Linear(8, 2))


@pytest.mark.parametrize(
    "odd", [nn.Tanh(), nn.BatchNorm1d(4), nn.utils.parametrizations.weight_norm(nn.Linear(4, 4))]
)
def test_norms_are_left_out_where_the_architecture_does_not_allow_them(data, odd):
    found = generalization_bounds(nn.Sequential(odd, nn.Linear(4, 2)), data, samples=1)
    assert list(found.bounds) == ["PAC-Bayes", "flatness"]
    assert found.left_out == ("norms", "margins")


def test_a_layer_that_is_used_twice_counts_twice(data):
    torch.manual_seed(0)
    layer, last = nn.Linear(4, 4), nn.Linear(4, 2)
    twice = generalization_bounds(nn.Sequential(layer, nn.ReLU(), layer, last), data, samples=1)
    copied = nn.Linear(4, 4)
    copied.load_state_dict(layer.state_dict())
    copy = generalization_bounds(nn.Sequential(layer, nn.ReLU(), copied, last), data, samples=1)
    assert twice.bounds["norms"] == pytest.approx(copy.bounds["norms"])


def test_a_model_of_zeros_is_wrong_everywhere_and_bounded(data):
    model = net()
    for p in model.parameters():
        nn.init.zeros_(p)
    found = generalization_bounds(model, data, samples=1)
    assert found.train_error == 1
    assert set(found.vacuous) == set(found.bounds)


def test_progress_is_told_of_every_pass(data):
    told = []
    generalization_bounds(net(), data, samples=2, progress=lambda *x: told.append(x))
    assert told == [(i, 20) for i in range(1, 21)]


@pytest.mark.parametrize(
    ("settings", "sentence"),
    [
        ({"delta": 1.0}, "delta is"),
        ({"samples": 0}, "at least 1"),
        ({"initial": {}}, "before training"),
    ],
)
def test_arguments_that_do_not_fit_are_refused(data, settings, sentence):
    with pytest.raises(ValueError, match=sentence):
        generalization_bounds(net(), data, **settings)


def test_data_that_can_be_read_only_once_are_refused(data):
    with pytest.raises(TypeError, match="read only once; give a list of batches"):
        generalization_bounds(net(), iter([data]))


def test_targets_that_are_no_classes_are_refused(data):
    with pytest.raises(ValueError, match="do not fit"):
        generalization_bounds(net(), (data[0], data[1].float()), samples=1)
    with pytest.raises(TypeError, match="give a pair of tensors"):
        generalization_bounds(net(), 3)
    with pytest.raises(ValueError, match="at least 3"):
        rank_bounds([], [])


def test_the_verdict_says_what_is_proved_and_what_is_not():
    found = two_worlds(lambda *_: 0.0, lambda *_: nn.Linear(5, 2), torch.eye(5), trials=2)
    assert "no estimate can be off by less than" in found.verdict
    assert "says nothing about" in found.verdict
    with pytest.raises(ValueError, match="give at least 1, 1 and 2"):
        two_worlds(lambda *_: 0.0, lambda *_: nn.Linear(5, 2), torch.eye(5), n=0)


def table(labels, seed):
    model = nn.Linear(len(labels), 2, bias=False)
    model.weight.data = nn.functional.one_hot(labels).T.float()
    return model


@pytest.mark.parametrize(("d", "n"), [(2, 1), (5, 1), (9, 3)])
def test_a_third_of_the_pool_is_drawn(d, n):
    seen = []

    def estimate(model, sample):
        seen.append(len(sample[0]))
        return 0.0

    found = two_worlds(estimate, table, torch.eye(d), trials=1)
    assert seen == [n]
    assert found.forced_error == pytest.approx((1 - 1 / d) ** n / 4)


def test_the_worlds_differ_outside_of_the_sample_alone():
    d, n, seeds, samples = 20, 6, [], []

    def fit(labels, seed):
        seeds.append(seed)
        return table(torch.cat([labels[:15], 1 - labels[15:]]), seed)

    def estimate(model, sample):
        samples.append(sample[0].argmax(1))
        return 0.25

    found = two_worlds(estimate, fit, torch.eye(d), n=n, trials=1, seed=3)
    generator = torch.Generator().manual_seed(3)
    labels, other = torch.randint(2, (2, d), generator=generator)
    chosen = torch.randint(d, (n,), generator=generator)
    assert seeds == [int(torch.randint(2**31, (), generator=generator))]
    assert torch.equal(samples[0], chosen)
    labels[15:] = 1 - labels[15:]
    wrong = sum(int(other[i] != labels[i]) for i in range(d) if i not in chosen.tolist())
    assert found.truths.item() == wrong / d
    assert found.train_errors.item() == 0.25


def test_trainings_have_seeds_that_any_generator_takes():
    seeds = []

    def fit(labels, seed):
        seeds.append(seed)
        return table(labels, seed)

    two_worlds(lambda *_: 0.0, fit, torch.eye(3), trials=20)
    assert len(set(seeds)) == 20
    assert max(seeds) < 2**31
