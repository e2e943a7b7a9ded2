"""Memorization: which labels a model would not know had it not been trained on them."""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from os import PathLike
from typing import TYPE_CHECKING, Protocol

import numpy as np
import torch
from scipy.special import ndtri
from torch import Tensor

from thalweg.diagnostics._result import Result

if TYPE_CHECKING:
    import altair as alt

Train = Callable[[Tensor, int], Tensor]


class Store(Protocol):
    """What finished rounds are kept in; a dict is one, for as long as it lives."""

    def get(self, key: str, /) -> str | None:
        """Return the text under a key."""

    def __setitem__(self, key: str, text: str, /) -> None:
        """Keep a text under a key."""


@dataclass(frozen=True, eq=False)
class Memorization(Result):
    """What :func:`memorization_scores` found; all tensors are on the CPU, real ones float64.

    Args:
        scores: Of each training sample, in [-1, 1], (n,).
        low: Lower ends of their intervals, (n,).
        high: Upper ends, (n,).
        included: Which samples each model was trained on, (rounds, n).
        right: Which labels it predicts, those of training samples first, (rounds, n + m).
    """

    scores: Tensor
    low: Tensor
    high: Tensor
    included: Tensor
    right: Tensor

    def influence(self, samples: Tensor | None = None) -> Tensor:
        """Return by how much each sample raises the accuracy on each test label.

        Args:
            samples: Indices of training samples; all where not given.

        Returns:
            Accuracy with the sample minus that without, (samples, m).
        """
        within = self.included if samples is None else self.included[:, samples]
        right = self.right[:, self.included.shape[1] :].double()
        shares = [
            (part.T @ right) / part.sum(0)[:, None]
            for part in (within.double(), 1.0 - within.double())
        ]
        return shares[0] - shares[1]

    def chart(self) -> alt.LayerChart:
        """Draw the scores in order, with their intervals."""
        import altair as alt

        order = self.scores.argsort(descending=True).tolist()
        points = [
            {"rank": rank, "sample": i, "memorization": score, "low": low, "high": high}
            for rank, i in enumerate(order)
            for score, low, high in [tuple(float(x[i]) for x in (self.scores, self.low, self.high))]
        ]
        base = alt.Chart(alt.InlineData(values=points)).encode(
            alt.X("rank:Q", title="samples, the most memorized first")
        )
        band = base.mark_area(opacity=0.25).encode(alt.Y("low:Q"), alt.Y2("high:Q"))
        line = base.mark_line().encode(
            alt.Y("memorization:Q", title="memorization"), tooltip=["sample:Q", "memorization:Q"]
        )
        layers: alt.LayerChart = band + line
        title = f"{len(self.included)} models, each without some of {len(self.scores):,} samples"
        return layers.properties(title=title, width=480, height=240)


def memorization_scores(
    train: Train,
    labels: Tensor,
    *,
    test_labels: Tensor | None = None,
    rounds: int = 100,
    keep: float = 0.7,
    confidence: float = 0.95,
    store: Store | None = None,
    seed: int = 0,
    progress: Callable[[int, int], object] | None = None,
) -> Memorization:
    """Estimate how far the label of each sample is known only because it was trained on.

        mem_i = P[h(x_i) = y_i, i among the training samples] - P[h(x_i) = y_i, i not among them]
        infl_ij = the same difference for h(x_j) = y_j, j a test sample
        each P: a share of `rounds` models, each trained on a random part `keep` of the samples

    Use it to find mislabelled and untypical samples (scores near 1), to see which training samples
    a test prediction rests on, and how much would be lost by a method that cannot memorize, such
    as private or heavily compressed training. Avoid it where samples are duplicated, which hides
    memorization, and where early stopping or other settings will change. Cost: `rounds` trainings;
    the intervals are about 4 / sqrt(rounds) wide.

    Args:
        train: Called with the indices of the samples to train on, ascending, and a seed; returns
            the classes it then predicts, (n + m,): for all training samples, in order, and then
            for the test samples.
        labels: Classes of the training samples, (n,).
        test_labels: Classes of the test samples, (m,), where influence is of interest.
        rounds: Models to be trained, >= 2.
        keep: Part of the samples that each is trained on, in (0, 1).
        confidence: Of the interval of each single score, in (0, 1).
        store: What keeps each finished round at once, so that after a crash the same call goes on
            from there, and more `rounds` add to it: ``thalweg.Kept("sqlite:///rounds.db")``, or
            the URL of another database; anything else with texts by key, such as a `shelve`. Take
            another when `train` changes.
        seed: Of the parts and of the seeds given to `train`.
        progress: Called with the number of rounds done, and of all, after each.

    Returns:
        The scores with their intervals; `chart()` draws them.

    Raises:
        ValueError: If an argument is outside its range, a sample would be in all rounds or in
            none, or predictions do not fit.
        TypeError: If the store is a path or URL that has not been opened.

    Example:
        >>> import torch
        >>> from thalweg.diagnostics import memorization_scores
        >>> x = torch.tensor([0.0, 0.1, 0.2, 0.25, 5.0, 5.1, 5.2, 5.25])
        >>> y = torch.tensor([0, 0, 0, 0, 1, 1, 1, 0])  # the last is mislabelled
        >>> def nearest_neighbour(rows, seed):
        ...     return y[rows][(x[:, None] - x[rows]).abs().argmin(1)]
        >>> memorization_scores(nearest_neighbour, y, rounds=50).scores[[0, 7]]
        tensor([0., 1.], dtype=torch.float64)

    Paper: Does Learning Require Memorization? A Short Tale about a Long Tail, 2019,
        arXiv 1906.05271. Differs: the paper compares training on all samples with training on all
        but one; n trainings are replaced by random parts, after What Neural Networks Memorize and
        Why, 2020, arXiv 2008.03703, so that the scores are those of `keep * n` samples. The
        intervals, of Newcombe's score method, are in neither.
    """
    labels = labels.cpu()
    tests = labels[:0] if test_labels is None else test_labels.cpu()
    if labels.dim() != 1 or tests.dim() != 1 or len(labels) < 2:
        raise ValueError(
            f"labels have shape {tuple(labels.shape)} and test_labels {tuple(tests.shape)}; give "
            "classes, (n,) with n of at least 2, and (m,)"
        )
    if rounds < 2 or not 0 < keep < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"rounds is {rounds}, keep {keep} and confidence {confidence}; give at least 2 rounds "
            "and shares between 0 and 1"
        )
    generator = torch.Generator().manual_seed(seed)
    kept = min(max(round(keep * len(labels)), 1), len(labels) - 1)
    # Drawn one after the other, so that more rounds begin with the same ones.
    drawn = [
        (
            torch.randperm(len(labels), generator=generator)[:kept].sort().values,
            int(torch.randint(2**31, (), generator=generator)),
        )
        for _ in range(rounds)
    ]
    included = torch.zeros(rounds, len(labels), dtype=torch.bool)
    for row, (part, _) in zip(included, drawn, strict=True):
        row[part] = True
    n_in, n_out = included.sum(0).double(), (~included).sum(0).double()
    if not (n_in * n_out).all():
        raise ValueError(
            f"in {rounds} rounds with keep={keep} some sample would be trained on always or never; "
            "give more rounds"
        )
    truth = torch.cat([labels, tests.to(labels.dtype)])
    right = torch.zeros(rounds, len(truth), dtype=torch.bool)
    if isinstance(store, str | PathLike):
        raise TypeError(f"store is the path {str(store)!r}; open it: thalweg.Kept({str(store)!r})")
    done: Store = {} if store is None else store
    key = hashlib.sha256(f"{len(labels)} {keep} {seed} {truth.tolist()}".encode()).hexdigest()
    for i, (part, own_seed) in enumerate(drawn):
        if (finished := done.get(f"{key} {i}")) is not None:
            right[i] = _unpacked(finished, len(truth))
        else:
            predicted = train(part, own_seed).cpu()
            if predicted.shape != truth.shape:
                raise ValueError(
                    f"train returned predictions of shape {tuple(predicted.shape)}; return the "
                    f"classes of all samples, {tuple(truth.shape)}, those of the test last"
                )
            right[i] = predicted == truth
            done[f"{key} {i}"] = _packed(right[i])
        if progress is not None:
            progress(i + 1, rounds)
    own = right[:, : len(labels)]
    p_in, p_out = (own & included).sum(0) / n_in, (own & ~included).sum(0) / n_out
    z = float(ndtri((1 + confidence) / 2))
    (low_in, high_in), (low_out, high_out) = _wilson(p_in, n_in, z), _wilson(p_out, n_out, z)
    scores = p_in - p_out
    return Memorization(
        scores=scores,
        low=scores - torch.hypot(p_in - low_in, high_out - p_out),
        high=scores + torch.hypot(high_in - p_in, p_out - low_out),
        included=included,
        right=right,
    )


def _wilson(share: Tensor, n: Tensor, z: float) -> tuple[Tensor, Tensor]:
    """Return the ends of the score interval of a share."""
    middle = (share + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * (share * (1 - share) / n + z**2 / (4 * n**2)).sqrt()
    return middle - half, middle + half


def _packed(right: Tensor) -> str:
    return np.packbits(right.numpy()).tobytes().hex()


def _unpacked(text: str, length: int) -> Tensor:
    bits = np.unpackbits(np.frombuffer(bytes.fromhex(text), np.uint8), count=length)
    return torch.from_numpy(bits).bool()
