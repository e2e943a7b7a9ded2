"""What the claim about over-training measures, and how it is judged."""

from collections.abc import Mapping, Sequence

import numpy as np
import torch

from thalweg.core.claim import Finding, Number, Size, Verdict
from thalweg.core.verdicts import together, typical
from thalweg.papers.scaling._tiny_lm import n_params, train
from thalweg.scaling import DownstreamErrorLaw, OvertrainedLossLaw

# Hidden units and tokens a parameter: the runs that are fitted to, and those that are predicted.
Runs = tuple[tuple[int, int], ...]
FITTED: dict[Size, Runs] = {
    "smoke": ((1, 5), (2, 5), (3, 5), (4, 5), (1, 20)),
    "full": ((4, 20), (8, 20), (16, 20), (32, 20), (4, 320)),
}
TARGETS: dict[Size, Runs] = {"smoke": ((5, 20), (8, 5)), "full": ((48, 64), (96, 20))}
KINDS = ("over-trained", "large")  # the targets
RATES = 2.0 ** torch.arange(-6, -2)
STEPS: dict[Size, int] = {"smoke": 20, "full": 300}


def predicted(seed: int, size: Size) -> Mapping[str, float]:
    """Return by how many per cent the laws of cheap runs miss the loss and error of dear ones."""
    fitted, targets = (_measured(runs[size], size, seed) for runs in (FITTED, TARGETS))
    sizes, losses, errors = fitted[:, :2], fitted[:, 2], fitted[:, 3]
    law = OvertrainedLossLaw(draws=1, random_state=0).fit(sizes, losses)
    said = law.predict(targets[:, :2])
    # All but the last, which alone is over-trained.
    by_compute = OvertrainedLossLaw(draws=1, random_state=0).fit(_compute(sizes)[:-1], losses[:-1])
    downstream = DownstreamErrorLaw(draws=1, random_state=0).fit(losses[:, None], errors)
    misses = {
        "loss": said / targets[:, 2],
        "loss by compute alone": by_compute.predict(_compute(targets)) / targets[:, 2],
        "error": downstream.predict(said[:, None]) / targets[:, 3],
    }
    return {
        f"{what}, {kind}": 100 * abs(float(ratio) - 1)
        for what, ratios in misses.items()
        for kind, ratio in zip(KINDS, ratios, strict=True)
    }


def _measured(runs: Runs, size: Size, seed: int) -> np.ndarray:
    """Return parameters, tokens, loss and downstream error of each run at its best rate."""
    rows = []
    for width, multiplier in runs:
        tokens = multiplier * n_params(width)
        loss, error = train(width, tokens, max(1, tokens // STEPS[size]), RATES, seed)
        best = int(loss.argmin())
        rows.append((n_params(width), tokens, loss[best].item(), error[best].item()))
    return np.array(rows)


def _compute(sizes: np.ndarray) -> np.ndarray:
    compute: np.ndarray = 6 * sizes[:, :1] * sizes[:, 1:2]
    return compute


def cheap_runs_tell(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by the medians over the seeds, in three parts.

    The loss of both targets is missed by at most 3 %; that of the over-trained one by at most half
    as much as by a law of compute alone; the error of both by at most 3.6 %, the paper's worse.
    """
    paper = {"loss, over-trained": "0.7", "loss, large": "0.7", "error, over-trained": "3.6"}
    paper["error, large"] = "0.05"
    miss = {
        name: typical(f"{name}: missed by [%]", [run[name] for run in figures], paper.get(name, ""))
        for name in figures[0]
    }
    loss, error = ([miss[f"{what}, {kind}"] for kind in KINDS] for what in ("loss", "error"))
    naive = miss["loss by compute alone, over-trained"]
    return together(
        [
            _part("The loss is missed by", loss, max(x.ours for x in loss) <= 3),
            _part("By compute alone by", [naive], loss[0].ours <= naive.ours / 2),
            _part("The downstream error by", error, max(x.ours for x in error) <= 3.6),
        ]
    )


def _part(what: str, numbers: Sequence[Number], holds: bool) -> Finding:
    verdict: Verdict = "reproduced" if holds else "not reproduced"
    values = " and ".join(f"{number.ours:.2g} %" for number in numbers)
    return Finding(verdict, f"{what} {values}.", tuple(numbers))
