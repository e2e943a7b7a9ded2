"""Oracles of LDR-KL and ALDR-KL: equations retyped, and what is known of their optimum."""

import functools
import math
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from torch.nn import functional as F

from thalweg.losses import ALDRKL, LDRKL

Z = ((3.0, 1.0, -2.0, 0.5), (0.2, -0.4, 0.9, -1.0), (-5.0, 2.0, 1.0, 1.5))
Y = (1, 0, 3)
INDEX = (4, 0, 2)


def _differences(z: Sequence[float], y: int, margin: float) -> list[float]:
    size = sum(abs(x) for x in z) / len(z)
    return [(x - z[y]) / size + margin * (k != y) for k, x in enumerate(z)]


def _worst(d: Sequence[float], lam: float) -> list[float]:
    powers = [math.exp(x / lam) for x in d]
    return [power / sum(powers) for power in powers]


def _kl(p: Sequence[float]) -> float:
    return sum(x * math.log(x * len(p)) for x in p)


def _under(p: Sequence[float], d: Sequence[float], lam: float) -> float:
    return sum(a * b for a, b in zip(p, d, strict=True)) - lam * _kl(p)


def _tensors() -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    z = torch.tensor(Z, dtype=torch.float64, requires_grad=True)
    return z, torch.tensor(Y), torch.tensor(INDEX)


def equations_retyped() -> None:
    """Find the loss under the worst distribution, and its gradient by small differences."""
    lam, margin, step = 0.7, 0.3, 1e-6

    def naive(z: Sequence[Sequence[float]]) -> float:
        d = [_differences(row, y, margin) for row, y in zip(z, Y, strict=True)]
        return sum(_under(_worst(row, lam), row, lam) for row in d) / len(d)

    def moved(i: int, k: int, by: float) -> float:
        return naive(
            [[x + by * ((i, k) == (a, b)) for b, x in enumerate(r)] for a, r in enumerate(Z)]
        )

    z, target, _ = _tensors()
    value = LDRKL(lam, margin)(z, target)
    torch.autograd.backward(value)
    slopes = [
        [(moved(i, k, step) - moved(i, k, -step)) / (2 * step) for k in range(4)] for i in range(3)
    ]
    assert math.isclose(value.item(), naive(Z), rel_tol=1e-12)
    expected = torch.tensor(slopes, dtype=torch.float64)
    torch.testing.assert_close(z.grad, expected, rtol=1e-6, atol=1e-9)
    # No distribution is worse than that which the closed form is of.
    d = _differences(Z[0], Y[0], margin)
    for p in ((0.1, 0.2, 0.3, 0.4), (0.97, 0.01, 0.01, 0.01), (0.25, 0.25, 0.25, 0.25)):
        assert _under(p, d, lam) < LDRKL(lam, margin)(z[:1], target[:1]).item()


def written_gradient() -> None:
    """The gradient is that of the value, in soft targets and at places too, and has its own."""
    z, target, _ = _tensors()
    z = z.detach().T[None].requires_grad_()
    q = z.detach().softmax(1).requires_grad_()
    for normalize in (True, False):
        loss = LDRKL(0.7, 0.3, normalize=normalize)
        hard = functools.partial(loss, target=target[None])
        cases: Sequence[tuple[Callable[..., Tensor], tuple[Tensor, ...]]] = (
            (hard, (z,)),
            (loss, (z, q)),
        )
        for of, inputs in cases:
            torch.autograd.gradcheck(of, inputs)
            torch.autograd.gradgradcheck(of, inputs)
            plain = torch.autograd.grad(of(*inputs), inputs)
            again = torch.autograd.grad(of(*inputs), inputs, create_graph=True)
            torch.testing.assert_close(plain, again)
    # Scores that are as good as zero are divided by a constant.
    tiny = (1e-14 * z).detach().requires_grad_()
    torch.autograd.backward(LDRKL(0.7, 0.3)(tiny, target[None]))
    scaled = (1e12 * tiny).detach().requires_grad_()
    torch.autograd.backward(LDRKL(0.7, 0.3, normalize=False)(scaled, target[None]))
    assert scaled.grad is not None
    torch.testing.assert_close(tiny.grad, 1e12 * scaled.grad)


def sure_targets_and_lone_samples() -> None:
    """A one-hot target is its index, at places and with weights too; a sample may stand alone."""
    z, target, _ = _tensors()
    one_hot = F.one_hot(target, 4).double()
    for weight in (None, torch.tensor([1.0, 2.0, 0.5, 3.0], dtype=torch.float64)):
        loss = LDRKL(0.7, 0.3, weight=weight, reduction="none")
        each = loss(z, target)
        torch.testing.assert_close(loss(z, one_hot.float()), each)
        torch.testing.assert_close(loss(z.T[None], one_hot.T[None]), each[None])
        torch.testing.assert_close(loss(z[0], target[0]), each[0])
        torch.testing.assert_close(loss(z[0], one_hot[0]), each[0])
        torch.testing.assert_close(LDRKL(0.7, 0.3, weight=weight)(z, one_hot), each.mean())
    half = z.detach().bfloat16()
    loss = LDRKL(0.7, 0.3, reduction="none")
    assert torch.equal(loss(half, target), loss(half.float(), target).bfloat16())


def ends_of_the_temperature() -> None:
    """It is cross-entropy less log C at 1, and tends to the largest and to the mean difference."""
    z, target, _ = _tensors()
    plain = LDRKL(1.0, 0.0, normalize=False)(z, target)
    expected = F.cross_entropy(z, target) - math.log(4)
    torch.testing.assert_close(plain, expected, rtol=1e-12, atol=1e-14)
    d = torch.tensor([_differences(row, y, 0.1) for row, y in zip(Z, Y, strict=True)])
    for lam, end in ((1e-4, d.amax(1)), (1e6, d.mean(1))):
        each = LDRKL(lam, reduction="none")(z, target).float()
        torch.testing.assert_close(each, end, rtol=0, atol=1e-3)


def scores_follow_the_labels_distribution() -> None:
    """Under labels drawn from q it is least at lam * log q, which ranks every label rightly."""
    q = torch.tensor([[0.1, 0.4, 0.2, 0.3]], dtype=torch.float64)
    for lam in (0.5, 3.0):
        best = (lam * q.log()).requires_grad_()
        loss = LDRKL(lam, 0.0, normalize=False, reduction="none")
        each = loss(best.expand(4, 4), torch.arange(4))
        torch.autograd.backward((each * q[0]).sum())
        torch.testing.assert_close(best.grad, torch.zeros_like(q), rtol=0, atol=1e-14)


def temperatures_retyped() -> None:
    """Follow temperatures, loss and gradient over visits in changing order."""
    lam0, alpha, margin, classes = 0.75, 1.7, 0.2, 4  # 0.75 is exact in single precision
    loss, fixed = ALDRKL(6, lam0, alpha, margin).double(), dict.fromkeys(range(6), lam0)
    for visit in ((0, 1, 2), (2, 0), (1,), (1, 2, 0)):
        z, target, index = (x[list(visit)] for x in _tensors())
        z = (z * (1 + 0.1 * len(visit))).detach().requires_grad_()
        total, grad = 0.0, []
        for row, y, i in zip(z.tolist(), target.tolist(), index.tolist(), strict=True):
            d = _differences(row, y, margin)
            fixed[i] = lam0 - lam0 / (alpha * math.log(classes)) * _kl(_worst(d, fixed[i]))
            p = _worst(d, fixed[i])
            anchor = alpha * math.log(classes) / (2 * lam0) * (fixed[i] - lam0) ** 2
            total += _under(p, d, fixed[i]) - anchor
            one = torch.tensor([row], dtype=torch.float64, requires_grad=True)
            torch.autograd.backward(LDRKL(fixed[i], margin)(one, torch.tensor([y])))
            assert one.grad is not None
            grad.append(one.grad)
        value = loss(z, target, index)
        torch.autograd.backward(value)
        assert math.isclose(value.item(), total / len(visit), rel_tol=1e-12)
        torch.testing.assert_close(z.grad, torch.cat(grad) / len(visit), rtol=1e-9, atol=1e-12)
        for i, lam in fixed.items():
            assert math.isclose(loss.temperature[i].item(), lam, rel_tol=1e-12)


def temperature_is_the_best() -> None:
    """Visits of the same scores end where no other temperature makes the loss larger."""
    lam0, alpha, margin = 2.0, 1.5, 0.1
    z, target, index = _tensors()
    loss = ALDRKL(6, lam0, alpha, margin, reduction="none").double()
    for _ in range(100):
        each = loss(z, target, index)
    for i, (row, y) in enumerate(zip(Z, Y, strict=True)):
        d = _differences(row, y, margin)
        values = [
            lam * math.log(sum(math.exp(x / lam) for x in d) / 4)
            - alpha * math.log(4) / (2 * lam0) * (lam - lam0) ** 2
            for lam in (lam0 * (0.3 + k / 1000) for k in range(1000))
        ]
        assert math.isclose(each[i].item(), max(values), rel_tol=0, abs_tol=1e-6)
        best = lam0 * (0.3 + values.index(max(values)) / 1000)
        assert math.isclose(loss.temperature[INDEX[i]].item(), best, rel_tol=0, abs_tol=2e-3)
