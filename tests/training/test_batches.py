import pytest
import torch
from torch.utils.data import DataLoader, IterableDataset, TensorDataset, WeightedRandomSampler

from thalweg.core.errors import ProblemError
from thalweg.training.batches import Arrays, Batches, as_dataset, hold_out

INPUT = torch.arange(20.0).reshape(10, 2)
TARGET = torch.arange(10)


def epoch(batches):
    return [batch.index.tolist() for batch in batches]


@pytest.mark.parametrize("data", [Arrays(INPUT, TARGET), TensorDataset(INPUT, TARGET)])
def test_every_sample_once_an_epoch_with_its_index(data):
    batches = Batches(data, 4, seed=3)
    assert len(batches) == 3
    for _ in range(2):
        seen = []
        for batch in batches:
            assert torch.equal(batch.target, batch.index)
            assert torch.equal(batch.input, INPUT[batch.index])
            seen += batch.index.tolist()
        assert sorted(seen) == list(range(10))


def test_the_order_is_that_of_the_seed_and_differs_between_epochs():
    first, same = (
        Batches(Arrays(INPUT, TARGET), 4, seed=3),
        Batches(Arrays(INPUT, TARGET), 4, seed=3),
    )
    torch.rand(5)  # whatever draws from the global generator
    assert epoch(first) == epoch(same)
    assert epoch(first) != epoch(Batches(Arrays(INPUT, TARGET), 4, seed=3))
    in_memory = epoch(Batches(Arrays(INPUT, TARGET), 4, seed=3))
    assert in_memory == epoch(Batches(TensorDataset(INPUT, TARGET), 4, seed=3))


def test_a_loader_gives_its_data_set_batch_size_and_collate_function():
    def collate(samples):
        return torch.stack([x for x, _ in samples]) + 100, torch.stack([y for _, y in samples])

    loader = DataLoader(TensorDataset(INPUT, TARGET), 4, collate_fn=collate, drop_last=True)
    data, found = as_dataset(loader, "training")
    batches = Batches(data, 4, loader=found)
    assert len(list(batches)) == len(batches) == 2
    assert next(iter(batches)).input.min() >= 100


def test_inputs_may_be_nested():
    data = Arrays({"a": INPUT, "b": (TARGET, TARGET)}, TARGET)
    batch = next(iter(Batches(data, 3)))
    assert batch.input["a"].shape == (3, 2)
    assert torch.equal(batch.input["b"][1], batch.target)


def test_a_stream_has_no_index():
    class Stream(IterableDataset):
        def __iter__(self):
            return iter([(INPUT[i], TARGET[i]) for i in range(10)])

    batches = list(Batches(Stream(), 4))
    assert [len(batch.target) for batch in batches] == [4, 4, 2]
    assert batches[0].index is None


def test_holding_out_splits_without_overlap_and_the_same_way_each_time():
    kept, out = hold_out(Arrays(INPUT, TARGET), 0.2, seed=1)
    assert sorted([*kept.target.tolist(), *out.target.tolist()]) == list(range(10))
    assert len(out) == 2
    subset, held = hold_out(TensorDataset(INPUT, TARGET), 0.2, seed=1)
    assert held.indices == out.target.tolist()
    assert subset.indices == kept.target.tolist()


@pytest.mark.parametrize(
    ("data", "sentence"),
    [
        ((INPUT, TARGET, TARGET), r"a tuple of 3; give \(inputs, targets\)"),
        ((INPUT, TARGET[:5]), "different lengths"),
        ((INPUT[:0], TARGET[:0]), "the training data is empty"),
        ("data.csv", "is a str; give a Dataset"),
        (
            DataLoader(TensorDataset(INPUT, TARGET), sampler=WeightedRandomSampler([1.0] * 10, 10)),
            "draws its samples with a WeightedRandomSampler",
        ),
    ],
)
def test_data_that_will_not_do_is_refused_with_a_sentence(data, sentence):
    with pytest.raises(ProblemError, match=sentence):
        as_dataset(data, "training")
