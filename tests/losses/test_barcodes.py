"""Barcodes: who dies where components meet, by contraction and by union-find."""

import numpy as np
import pytest

from thalweg.losses import _barcodes


def younger_elders(ends, ages):
    oldest, died = np.arange(len(ages)), []
    for edge in ends:
        older, younger = sorted(oldest[edge], key=ages.__getitem__)
        oldest[oldest == younger] = older
        died.append(younger)
    return died


def random_forest(generator, n):
    parents = [generator.integers(child) for child in range(1, n)]
    names = generator.permutation(n)
    ends = names[np.stack((np.arange(1, n), parents), 1)]
    ends = generator.permuted(generator.permutation(ends)[: n - 3], axis=1)
    return ends, generator.permutation(n) - n // 2


@pytest.fixture
def left_to_union_find(monkeypatch):
    numbers, by_union_find = [], _barcodes._by_union_find

    def counted(u, v, ages):
        numbers.append(len(u))
        return by_union_find(u, v, ages)

    monkeypatch.setattr(_barcodes, "_by_union_find", counted)
    return numbers


@pytest.mark.parametrize("seed", range(8))
def test_of_two_components_the_one_with_the_younger_elder_dies(seed):
    ends, ages = random_forest(np.random.default_rng(seed), 30)
    expected = younger_elders(ends, ages)
    assert _barcodes._elder(ends, ages).tolist() == expected
    u, v = ends.T.tolist()
    assert _barcodes._by_union_find(u, v, ages.tolist()).tolist() == expected


def test_contraction_alone_finishes_where_many_end_in_each_round(left_to_union_find):
    ends, ages = random_forest(np.random.default_rng(0), 30)
    _barcodes._elder(ends, ages)
    assert left_to_union_find == [0]


def test_union_find_takes_over_where_nodes_end_one_by_one(left_to_union_find):
    nodes = np.arange(40)
    ends = np.stack((nodes[:-1], nodes[1:]), 1)
    assert _barcodes._elder(ends, -nodes).tolist() == nodes[:-1].tolist()
    assert left_to_union_find == [38]
