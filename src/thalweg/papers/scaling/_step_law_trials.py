"""What the claim about Step Law measures, and how it is judged."""

import contextlib
from collections.abc import Mapping, Sequence
from statistics import median

import torch

from thalweg.core.claim import Finding, Number, Size, Verdict
from thalweg.core.verdicts import combine, exceeds, together, typical
from thalweg.papers.scaling._tiny_lm import n_params, train
from thalweg.scaling import fit_hyperparameter_law
from thalweg.scaling.step_law import COLUMNS

# Hidden units, tokens and tokens in a batch.
SWEEPS: dict[Size, tuple[tuple[int, ...], tuple[int, ...], tuple[int, ...]]] = {
    "smoke": ((2, 4), (256, 512), (8, 32)),
    "full": ((8, 24, 72), (6144, 15_360, 38_400), (8, 32, 128, 512)),
}
RATES = 2.0 ** torch.arange(-7, -1)
# Rates lie a factor 2 apart and batches 4, so that six runs around a minimum need this much room.
WINDOW = 0.1
EXPONENTS = {
    "exponent of the parameters in the learning rate": -0.713,
    "exponent of the tokens in the learning rate": 0.307,
    "exponent of the tokens in the batch": 0.571,
}


def predicted_from_small(seed: int, size: Size) -> Mapping[str, float]:
    """Fit a law to all sweeps but that of most parameters and tokens, and follow it there."""
    widths, tokens, batches = SWEEPS[size]
    sweeps = {(w, d): _sweep(w, d, batches, seed) for w in widths for d in tokens}
    last, smallest = max(sweeps), sweeps[min(sweeps)]
    best = min(sweeps[last].values())
    reused = sweeps[last][min(smallest, key=lambda run: smallest[run])]
    rows = [
        (n_params(w), d, *run, loss)
        for (w, d), losses in sweeps.items()
        for run, loss in losses.items()
        if (w, d) != last
    ]
    runs = dict(zip(COLUMNS, zip(*rows, strict=True), strict=True))
    followed, exponents, left_out = reused, (0.0, 0.0, 0.0), len(sweeps) - 1
    # Without a law, since too few sweeps show their minimum, one can but keep what was best.
    with contextlib.suppress(ValueError):
        law = fit_hyperparameter_law(runs, window=WINDOW, draws=1)
        found = law.predict(n_params(last[0]), last[1], extrapolate=True)
        batch = min(max(1, round(found.batch_tokens)), last[1])
        followed = train(*last, batch, torch.tensor([found.lr]), seed)[0].item()
        exponents, left_out = (law.lr[1], law.lr[2], law.batch[1]), len(law.left_out)
    return {
        "law": 100 * (followed / best - 1),
        "reused": 100 * (reused / best - 1),
        "left out": float(left_out),
        **dict(zip(EXPONENTS, exponents, strict=True)),
    }


def _sweep(
    width: int, n_tokens: int, batches: tuple[int, ...], seed: int
) -> dict[tuple[float, int], float]:
    return {
        (lr, batch): loss
        for batch in batches
        for lr, loss in zip(
            RATES.tolist(), train(width, n_tokens, batch, RATES, seed)[0].tolist(), strict=True
        )
    }


def close_to_the_best(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by the medians over the seeds, and by a sign test.

    Three parts: following the law costs at most 0.5 % of the loss of the sweep's best point; it
    costs less than keeping the best point of the smallest sweep; the exponents have the paper's
    signs.
    """
    law, reused = ([run[name] for run in figures] for name in ("law", "reused"))
    excess = typical("loss above the sweep's best [%], by the law", law, "0.07")
    near: Verdict = "reproduced" if excess.ours <= 0.5 else "not reproduced"
    exponents = [
        typical(name, [run[name] for run in figures], f"{paper}")
        for name, paper in EXPONENTS.items()
    ]
    signs: list[Verdict] = [
        "reproduced" if number.ours * paper > 0 else "not reproduced"
        for number, paper in zip(exponents, EXPONENTS.values(), strict=True)
    ]
    left_out = Number("sweeps of 8 left out", median(run["left out"] for run in figures))
    return together(
        [
            Finding(near, f"The law ends {excess.ours:.2f} % above the sweep's best.", (excess,)),
            exceeds(
                "loss above the sweep's best [%]",
                reused,
                law,
                names=("what was best for the smallest model", "the law"),
            ),
            Finding(
                combine(signs),
                "Exponents: " + ", ".join(f"{number.ours:.2f}" for number in exponents) + ".",
                (*exponents, left_out),
            ),
        ]
    )
