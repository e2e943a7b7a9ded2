"""Oracles of correctness-aware calibration: loss, temperatures, fit and reliability, retyped."""

import math
from collections.abc import Sequence

import torch
from torch import Tensor

from thalweg.diagnostics import reliability
from thalweg.losses import CorrectnessAware
from thalweg.nn import CorrectnessCalibrator


def scores() -> tuple[Tensor, Tensor, Tensor]:
    """Return scores of 8 samples and of two copies, and targets, half of them predicted."""
    generator = torch.Generator().manual_seed(0)
    logits = 2 * torch.randn(8, 6, generator=generator, dtype=torch.float64)
    noise = torch.randn(8, 2, 6, generator=generator, dtype=torch.float64)
    target = logits.argmax(1)
    target[::2] = (target[::2] + 2) % 6
    target[1] = (target[1] + 1) % 6
    return logits, logits.unsqueeze(1) + noise, target


def loss_retyped() -> None:
    """Follow the loss for single numbers, with the weights as the authors' code has them."""
    z, _, target = scores()
    given = (target + (torch.arange(8) < 2)) % 6
    for predicted in (None, given):
        chosen = (z.argmax(1) if predicted is None else predicted).tolist()
        right = [float(k == y) for k, y in zip(chosen, target.tolist(), strict=True)]
        sure = [max(map(math.exp, row)) / sum(map(math.exp, row)) for row in z.tolist()]
        accuracy = sum(right) / 8
        assert 0 < accuracy < 1
        assert accuracy != 0.5
        squares = [(c - k) ** 2 for c, k in zip(sure, right, strict=True)]
        weight = [1 - accuracy if k else accuracy for k in right]
        weighed = [w * s for w, s in zip(weight, squares, strict=True)]
        for loss, expected in (
            (CorrectnessAware(), sum(squares) / 8),
            (CorrectnessAware(balanced=True), sum(weighed) / sum(weight)),
        ):
            assert math.isclose(loss(z, target, predicted).item(), expected, rel_tol=1e-12)
    for all_one in (z.argmax(1), (z.argmax(1) + 1) % 6):
        plain, balanced = (CorrectnessAware(balanced=b)(z, all_one) for b in (False, True))
        torch.testing.assert_close(balanced, plain, rtol=1e-12, atol=0)


def temperatures_retyped() -> None:
    """Follow a calibrator for single samples; no prediction changes, and the clamp holds."""
    z, copies, _ = scores()
    rows, of_copies = z.tolist(), copies.tolist()
    torch.testing.assert_close(_calibrator().last.bias, torch.ones(1, dtype=torch.float64))
    for bias in (1.0, -5.0, 50.0):
        calibrator = _calibrator()
        torch.nn.init.constant_(calibrator.last.bias, bias)
        w1, b1, w2, b2 = (p.detach() for p in calibrator.parameters())
        calibrated = calibrator.transform(z, copies)
        assert torch.equal(calibrated.argmax(1), z.argmax(1))
        for i in range(8):
            highest = sorted(range(6), key=lambda k: -rows[i][k])[:3]
            phi = [
                math.exp(of_copies[i][j][k]) / sum(map(math.exp, of_copies[i][j]))
                for j in range(2)
                for k in highest
            ]
            hidden = [
                max(0.0, x) for x in (w1 @ torch.tensor(phi, dtype=torch.float64) + b1).tolist()
            ]
            chosen = sum(w * h for w, h in zip(w2[0].tolist(), hidden, strict=True)) + b2.item()
            expected = z[i] / min(max(chosen, 0.1), 10.0)
            torch.testing.assert_close(calibrated[i], expected, rtol=1e-12, atol=0)


def fitting_is_adam_on_batches() -> None:
    """An epoch moves every weight as Adam does over the batches, in the order of the seed."""
    z, copies, target = scores()
    for criterion in (None, torch.nn.CrossEntropyLoss()):
        ours, theirs = _calibrator(), _calibrator()
        fitted = ours.fit(
            z, copies, target, criterion=criterion, epochs=2, lr=0.02, batch_size=5, seed=3
        )
        assert fitted is ours
        generator = torch.Generator().manual_seed(3)
        optimizer = torch.optim.Adam(theirs.parameters(), lr=0.02)
        for _ in range(2):
            order = torch.randperm(8, generator=generator)
            for batch in (order[:5], order[5:]):
                calibrated = z[batch] / theirs.temperature(z[batch], copies[batch]).unsqueeze(1)
                if criterion is None:
                    right = (z[batch].argmax(1) == target[batch]).double()
                    loss = (calibrated.softmax(1).amax(1) - right).square().mean()
                else:
                    loss = criterion(calibrated, target[batch])
                optimizer.zero_grad()
                torch.autograd.backward(loss)
                optimizer.step()
        for p, q in zip(ours.parameters(), theirs.parameters(), strict=True):
            torch.testing.assert_close(p, q, rtol=1e-9, atol=1e-12)


def _calibrator() -> CorrectnessCalibrator:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        return CorrectnessCalibrator(2, top=3, dtype=torch.float64)


def reliability_retyped() -> None:
    """Sort into bins one by one, edges included; compare every right with every wrong sample."""
    z, _, target = scores()
    # The last are on edges of bins, and equally sure, one right and one wrong.
    edges = torch.tensor([[0.75, 0.25], [0.25, 0.75], [1.0, 0.0], [0.5, 0.5]]).double()
    for p, y in ((z.softmax(1), target), (edges, torch.tensor([0, 0, 0, 0]))):
        found, (n, k) = reliability(p, y, n_bins=4), p.shape
        sure = [max(row) for row in p.tolist()]
        right = [row.index(max(row)) == int(i) for row, i in zip(p.tolist(), y, strict=True)]
        counts = [0, 0, 0, 0]
        for c in sure:
            counts[_bin(c)] += 1
        assert found.count.tolist() == counts
        assert math.isclose(found.ece, _error(sure, right), rel_tol=1e-12, abs_tol=1e-15)
        of_classes = [_error(p[:, j].tolist(), (y == j).tolist()) for j in range(k)]
        assert math.isclose(found.classwise_ece, sum(of_classes) / k, rel_tol=1e-12)
        brier = sum((p[i, j].item() - (int(y[i]) == j)) ** 2 for i in range(n) for j in range(k))
        assert math.isclose(found.brier, brier / n, rel_tol=1e-12)
        pairs = [
            (a > b) + 0.5 * (a == b)
            for a, r in zip(sure, right, strict=True)
            for b, s in zip(sure, right, strict=True)
            if r and not s
        ]
        assert math.isclose(found.auroc, sum(pairs) / len(pairs), rel_tol=1e-12)
        for b in range(4):
            inside = [i for i in range(n) if _bin(sure[i]) == b]
            for ours, values in ((found.confidence, sure), (found.accuracy, right)):
                mean = sum(values[i] for i in inside) / max(len(inside), 1)
                assert math.isclose(ours[b].item(), mean, rel_tol=1e-12)


def _bin(p: float) -> int:
    return next(b for b in range(4) if p <= (b + 1) / 4)


def _error(sure: Sequence[float], right: Sequence[bool]) -> float:
    sums = [0.0] * 4
    for c, r in zip(sure, right, strict=True):
        sums[_bin(c)] += c - r
    return sum(map(abs, sums)) / len(sure)
