"""What is measured of DCT projections: how much of a gradient they keep, and what they cost."""

import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from statistics import median

import torch
from torch import Tensor, nn

from thalweg.core.claim import Finding, Size
from thalweg.core.verdicts import exceeds, together
from thalweg.optim import DCTAdamW, dct_column_projection
from thalweg.papers.baselines.low_rank import SVDAdamW
from thalweg.problems import code_lm, digits_mlp
from thalweg.training.problem import TrainingProblem

GALORE_GAP = 200  # steps from one decomposition to the next


def small_code_lm() -> TrainingProblem:
    """Predict the next byte of source code by one layer of 64 numbers a position."""
    return replace(
        code_lm.problem(),
        name="code-lm-small",
        model=partial(code_lm.ByteTransformer, width=64, depth=1),
        evaluations=1,
        target=None,
        description="small byte-level transformer on the sources of Python's standard library",
    )


PROBLEMS = {"code-lm-small": small_code_lm, "digits-mlp": digits_mlp.problem}


def shares_kept(seed: int, size: Size) -> Mapping[str, float]:
    """Train for a while, then project the gradients of all layers to a quarter of their columns."""
    steps = 100 if size == "full" else 2
    figures: dict[str, float] = {}
    for name, problem in PROBLEMS.items():
        with torch.random.fork_rng(devices=()):
            grads = _gradients(problem(), seed, steps)
            random = {n: torch.linalg.qr(torch.randn(n, n)).Q for n in {g.shape[1] for g in grads}}
        kept: dict[str, list[float]] = {"DCT": [], "random": [], "SVD": []}
        for g in grads:
            rank, square = g.shape[1] // 4, g.square().sum()
            chosen = (g @ random[g.shape[1]]).T  # by the same rule, from other columns
            best = chosen[chosen.abs().sum(1).topk(rank).indices]
            kept["DCT"].append(float(dct_column_projection(g, rank)[1].square().sum() / square))
            kept["random"].append(float(best.square().sum() / square))
            singular = torch.linalg.svdvals(g)[:rank]
            kept["SVD"].append(float(singular.square().sum() / square))
        figures |= {f"{kind} on {name}": sum(x) / len(x) for kind, x in kept.items()}
    return figures


def _gradients(problem: TrainingProblem, seed: int, steps: int) -> list[Tensor]:
    """Return the last gradients of the linear layers, turned so that their columns are fewer."""
    setup = problem.setup(seed, steps=steps)
    for _ in setup.loop(replace(setup, evaluate=lambda model: {})):
        pass
    layers = [layer for layer in setup.model.modules() if isinstance(layer, nn.Linear)]
    grads = [layer.weight.grad for layer in layers if layer.weight.grad is not None]
    return [g if g.shape[0] >= g.shape[1] else g.T for g in grads]


def keeps_more_than_random_columns(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by a sign test on each model whether cosines keep more than other columns."""
    return together(
        [
            exceeds(
                f"Share of the gradients' square on {name} (SVD: {best:.3f})",
                *([run[f"{kind} on {name}"] for run in figures] for kind in ("DCT", "random")),
                names=("DCT columns", "columns of a random orthogonal matrix"),
            )
            for name in PROBLEMS
            for best in [median(run[f"SVD on {name}"] for run in figures)]
        ]
    )


def costs(seed: int, size: Size) -> Mapping[str, float]:
    """Time steps of either optimizer on a square layer, and weigh its state."""
    n, turns = (512, 5) if size == "full" else (64, 2)
    generator = torch.Generator().manual_seed(seed)
    weight = nn.Parameter(torch.randn(n, n, generator=generator))
    weight.grad = torch.randn(n, n, generator=generator)
    steps: dict[str, Callable[[], object]] = {}
    figures: dict[str, float] = {}
    for name, kind in (("SVD", SVDAdamW), ("DCT", DCTAdamW)):
        for what, gap in (("choice", 1), ("rest", 10**9)):
            optimizer = kind([weight], rank=n // 4, update_gap=gap, rotate=False)
            optimizer.step()
            steps[f"{name} {what}"] = optimizer.step
        held = [x for x in optimizer.state[weight].values() if isinstance(x, Tensor)]
        figures[f"{name} bytes"] = sum(x.nbytes for x in held)
    spent: dict[str, list[float]] = {name: [] for name in steps}
    for _ in range(turns):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            spent[name].append(1e3 * (time.perf_counter() - start))
    ms = {name: median(times) for name, times in spent.items()}
    every = (ms["SVD choice"] + (GALORE_GAP - 1) * ms["SVD rest"]) / GALORE_GAP
    return figures | {f"{x} choice": ms[f"{x} choice"] for x in ("SVD", "DCT")} | {"GaLore": every}


def is_cheaper(figures: Sequence[Mapping[str, float]]) -> Finding:
    """Judge by sign tests whether a step with DCT columns takes less time and memory."""
    compared = (
        ("Milliseconds a step, chosen at each", "SVD choice", "DCT choice"),
        (f"Milliseconds a step, the SVD every {GALORE_GAP} steps", "GaLore", "DCT choice"),
        ("Bytes of state", "SVD bytes", "DCT bytes"),
    )
    return together(
        [
            exceeds(
                what,
                *([run[name] for run in figures] for name in names),
                names=("SVD", "DCT"),
            )
            for what, *names in compared
        ]
    )
