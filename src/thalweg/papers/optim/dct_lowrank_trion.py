"""DCT-AdamW and Trion (2025): low-rank steps in the span of cosines instead of singular vectors."""

import itertools
from typing import Any

import scipy.fft
import torch
from torch import Tensor

from thalweg.core.claim import Effort, MeasurementClaim, RaceClaim
from thalweg.core.example import Example
from thalweg.core.method import Interval
from thalweg.core.paper import Paper
from thalweg.core.verdicts import matches
from thalweg.optim import DCTAdamW, Trion, dct_column_projection, dct_columns
from thalweg.papers.optim._dct_lowrank_retyped import (
    AUTHORS_DCT_ADAMW,
    AUTHORS_TRION,
    columns_retyped,
    dct_adamw_retyped,
    followed,
    gradients,
    trion_retyped,
)
from thalweg.papers.optim._dct_lowrank_trials import (
    costs,
    is_cheaper,
    keeps_more_than_random_columns,
    shares_kept,
    small_code_lm,
)
from thalweg.training.methods import optimizer_method


def the_transform_is_the_product() -> None:
    """The FFT path equals the product with the orthogonal matrix, and SciPy, for any length."""
    for n in (1, 2, 3, 4, 7, 12):
        Q = columns_retyped(n)
        torch.testing.assert_close(Q.T @ Q, torch.eye(n).double(), rtol=0, atol=1e-12)
        G = torch.stack(gradients((5, n), 3))
        indices, S = dct_column_projection(G, n)
        assert torch.equal(indices, torch.arange(n).expand(3, n))
        torch.testing.assert_close(S, G @ Q, rtol=0, atol=1e-12)
        by_scipy = scipy.fft.dct(G.numpy(), type=2, norm="ortho", axis=-1)
        torch.testing.assert_close(S, torch.from_numpy(by_scipy), rtol=0, atol=1e-12)
        columns = dct_columns(indices.flip(-1), n, dtype=torch.float64)
        torch.testing.assert_close(columns, Q.flip(-1).expand(3, n, n), rtol=0, atol=1e-12)


def the_largest_columns_are_chosen() -> None:
    """The error is what the other columns hold; of all choices l2's is the best and bounded."""
    Q, (G,) = columns_retyped(6), gradients((4, 6), 1)
    G[0] += 20 * Q[:, 5]  # large in few entries, and so by one norm more than by another
    chosen = {}
    for norm, rank in itertools.product((1.0, 2.0), range(1, 7)):
        indices, coefficients = dct_column_projection(G, rank, norm=norm)
        sizes = torch.linalg.vector_norm(G @ Q, ord=norm, dim=0)
        kept, left = sizes[indices], sizes[[j for j in range(6) if j not in indices]]
        assert kept.min() >= left.max() if len(left) else rank == 6
        assert indices.tolist() == sorted(indices.tolist())
        error = (G - coefficients @ dct_columns(indices, 6, dtype=G.dtype).mT).square().sum()
        torch.testing.assert_close(error, G.square().sum() - coefficients.square().sum())
        if norm == 2:
            assert error <= (1 - rank / 6) * G.square().sum() + 1e-9
        chosen[norm, rank] = indices.tolist()
    assert any(chosen[1.0, rank] != chosen[2.0, rank] for rank in range(1, 7))


def equations_retyped() -> None:
    """Square and wide matrices follow the equations with dense ones, whatever is switched on."""
    lr, decay = 0.05, 0.3
    for shape, rank in (((4, 4), 2), ((3, 7), 1)):
        grads = gradients(shape, 7)
        tall = [g.T for g in grads] if shape[0] < shape[1] else grads
        for gap, error_feedback, rotate in itertools.product((1, 3), (False, True), (False, True)):
            arguments: dict[str, Any] = {"betas": (0.8, 0.9), "eps": 1e-2, "weight_decay": decay}
            arguments |= {"update_gap": gap, "error_feedback": error_feedback, "rotate": rotate}
            ours, _ = followed(DCTAdamW, grads, lr=lr, rank=rank, **arguments)
            _agree(ours, dct_adamw_retyped(tall, lr, rank=rank, **arguments))
        scales = {
            "original": max(1, shape[0] / shape[1]) ** 0.5,
            "match_rms_adamw": 0.2 * max(shape) ** 0.5,
        }
        arguments = {"rank": rank, "momentum": 0.7, "weight_decay": decay}
        for name, scale in scales.items():
            ours, _ = followed(Trion, grads, lr=lr, adjust_lr_fn=name, **arguments)
            _agree(ours, trion_retyped(tall, lr, scale=scale, **arguments))


def _agree(ours: Tensor, tall: Tensor) -> None:
    expected = tall if ours.shape == tall.shape else tall.T
    torch.testing.assert_close(ours, expected, rtol=0, atol=1e-9)


def authors_numbers() -> None:
    """Both optimizers end where the authors' code ends."""
    for shape, row in AUTHORS_DCT_ADAMW.items():
        arguments = {"rank": 2, "betas": (0.8, 0.9), "error_feedback": True}
        ours, _ = followed(DCTAdamW, gradients(shape, 6), lr=0.1, weight_decay=0.1, **arguments)
        torch.testing.assert_close(ours[0].tolist(), row, rtol=0, atol=2e-6)
    for shape, rows in AUTHORS_TRION.items():
        arguments = {"rank": 2, "momentum": 0.9, "weight_decay": 0.1}
        ours, optimizer = followed(Trion, gradients(shape, 4), lr=0.02, **arguments)
        M = next(iter(optimizer.state.values()))["momentum_buffer"]
        for own, row in zip((ours, M if shape[0] > shape[1] else M.T), rows, strict=True):
            torch.testing.assert_close(own[0].tolist(), row, rtol=0, atol=2e-6)


def at_full_rank_it_is_adam_of_the_transformed() -> None:
    """With all columns, W Q goes where AdamW goes on G Q; what is not projected is AdamW's."""
    grads, Q = gradients((6, 4), 5), columns_retyped(4)
    for kind, betas in ((DCTAdamW, (0.9, 0.999)), (Trion, (0.9, 0.95))):
        plain = {"lr": 0.1, "weight_decay": 0.1, "eps": 1e-3}
        adam, _ = followed(torch.optim.AdamW, grads, betas=betas, **plain)
        for some in (grads, [g.flatten() for g in grads]):
            ours, _ = followed(kind, some, rank=4, max_size=6, **plain)
            torch.testing.assert_close(ours, adam.view_as(ours), rtol=0, atol=1e-12)
    start = torch.nn.Parameter(torch.ones_like(grads[0]) @ Q)
    rotated = torch.optim.AdamW([start], lr=0.1, weight_decay=0.1)
    for g in grads:
        start.grad = g @ Q
        rotated.step()
    ours, _ = followed(DCTAdamW, grads, lr=0.1, weight_decay=0.1, rank=4, max_size=7)
    torch.testing.assert_close(ours @ Q, start.detach(), rtol=0, atol=1e-12)


def state_is_as_large_as_stated() -> None:
    """The bytes of a matrix's state are those of the formula, for every dtype."""
    for dtype, error_feedback in itertools.product((torch.float32, torch.bfloat16), (False, True)):
        for shape, rank in (((40, 24), 8), ((24, 40), 8), ((40, 24), 30)):
            m, n, r = max(shape), min(shape), min(rank, 24)
            grads = [g.to(dtype) for g in gradients(shape, 1)]
            _, ours = followed(DCTAdamW, grads, rank=rank, error_feedback=error_feedback)
            numbers = 2 * m * r + m * n * error_feedback
            assert _bytes(ours) == numbers * dtype.itemsize + 4 * r
            _, ours = followed(Trion, grads, rank=rank)
            assert _bytes(ours) == m * n * dtype.itemsize


def _bytes(optimizer: torch.optim.Optimizer) -> int:
    held = [x for state in optimizer.state.values() for x in state.values()]
    return sum(x.nbytes for x in held if isinstance(x, Tensor))


_TAKES = ("lr", "rank", "betas", "eps", "weight_decay")
_ADAMS = {
    "lr": (1e-3, 2e-3),
    "betas": ((0.9, 0.999), (0.5, 0.9)),
    "eps": (1e-8, 1e-2),
    "weight_decay": (0.01, 0.5),
    "max_size": (32_000, 2),
    "rank": (2, 1),
}
_SPACE = {
    "lr": Interval(1e-5, 1e-1, log=True),
    "weight_decay": Interval(1e-4, 1.0, log=True),
}
_WHOLE = "shards_equal_the_whole_or_are_refused:refused"
_EXCEPTIONS = {_WHOLE: "a projection takes whole matrices, which fully_shard divides"}
_SMOKE, _FULL = Effort(seeds=2, steps=2), Effort(seeds=10, trials=4, steps=200)

PAPER = Paper(
    id="dct-lowrank-trion",
    title="FFT-based Dynamic Subspace Selection for Low-Rank Adaptive Optimization of Large "
    "Language Models",
    year=2025,
    arxiv="2505.17967",
    headline="In pre-training and fine-tuning of language models, projections onto chosen columns "
    "of the DCT matrix match those by SVD and QR, at a running time that does not depend on the "
    "rank, with up to 25 % less memory.",
    provides=(DCTAdamW, Trion, dct_column_projection, dct_columns),
    methods=(
        optimizer_method(
            "dct-adamw",
            DCTAdamW,
            takes=(*_TAKES, "update_gap", "error_feedback", "rotate"),
            defaults={"rank": 16},
            space=_SPACE,
            knobs=_ADAMS,
            exceptions=_EXCEPTIONS,
        ),
        optimizer_method(
            "trion",
            Trion,
            takes=(*_TAKES, "momentum", "adjust_lr_fn"),
            defaults={
                "lr": 1e-3,
                "rank": 16,
                "adjust_lr_fn": "match_rms_adamw",
                "weight_decay": 0.01,
            },
            space=_SPACE,
            knobs={
                **_ADAMS,
                "momentum": (0.95, 0.5),
                "adjust_lr_fn": ("original", "match_rms_adamw"),
            },
            exceptions=_EXCEPTIONS,
        ),
    ),
    examples=(
        Example(
            DCTAdamW,
            "optimizer",
            arguments={"rank": 1, "update_gap": 3, "error_feedback": True},
            knobs={
                "update_gap": (3, 1),
                "error_feedback": (True, False),
                "rotate": (True, False),
            },
            exceptions=_EXCEPTIONS,
        ),
        Example(
            dct_column_projection,
            "function",
            arguments={"rank": 2},
            knobs={"rank": (2, 3), "norm": (1.0, 2.0)},
            inputs=lambda: (torch.stack(gradients((4, 6), 9)),),
        ),
        Example(
            dct_columns,
            "function",
            arguments={"n": 4},
            knobs={"n": (4, 5), "dtype": (torch.float32, torch.float64)},
            inputs=lambda: (torch.tensor([[0, 3], [1, 2]]),),
        ),
    ),
    oracles=(
        the_transform_is_the_product,
        the_largest_columns_are_chosen,
        equations_retyped,
        authors_numbers,
        at_full_rank_it_is_adam_of_the_transformed,
        state_is_as_large_as_stated,
    ),
    claims=(
        RaceClaim(
            "matches-svd",
            statement="AdamW in the span of chosen DCT columns ends as well as in that of the "
            "leading singular vectors, GaLore's, of the same rank.",
            problems=("digits-mlp", small_code_lm),
            methods=("svd-adamw", "dct-adamw"),
            smoke=_SMOKE,
            full=_FULL,
            expect=matches,
            scaled="Rank 16 of widths of 64 in place of Llama, both tuned alike; the SVD "
            "every 200 steps, the columns at each, as either is meant.",
        ),
        RaceClaim(
            "trion-matches-dion",
            statement="Trion ends as well as Dion of the same rank.",
            problems=("digits-mlp", small_code_lm),
            methods=("dion", "trion"),
            smoke=_SMOKE,
            full=_FULL,
            expect=matches,
            scaled="Rank 16 of widths of 64 in place of Llama, both tuned alike.",
        ),
        MeasurementClaim(
            "keeps-more-than-random",
            statement="Of a gradient's square, chosen DCT columns keep more than columns chosen "
            "by the same rule from a random orthogonal matrix.",
            measure=shares_kept,
            smoke=Effort(seeds=1),
            full=Effort(seeds=10),
            expect=keeps_more_than_random_columns,
            scaled="All linear layers of small nets after 100 steps, a quarter of their columns.",
        ),
        MeasurementClaim(
            "cheaper-than-svd",
            statement="A step with chosen DCT columns takes less time than one with singular "
            "vectors, and the state is smaller.",
            measure=costs,
            smoke=Effort(seeds=2),
            full=Effort(seeds=10),
            expect=is_cheaper,
            scaled="One layer of 512 x 512 at rank 128 on the CPU.",
        ),
    ),
    symptoms=("the optimizer's state does not fit into memory", "the SVD of GaLore takes long"),
)
