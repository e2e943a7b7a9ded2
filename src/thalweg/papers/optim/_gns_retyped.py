"""Gradient-normalized smoothness with dense matrices and derivatives by hand, in two variables."""

import math

import torch
from torch import Tensor

START = torch.tensor([0.2, 1.0], dtype=torch.float64)  # where Rosenbrock's function is not convex


class Retyped:
    """The way of the method on |u|^p / p, where |u|^2 is Rosenbrock's function; on |u|^2 for p = 2.

    Args:
        name: Of the Hessian.
        gamma: The first radius.
        rates: The inverse of the metric's diagonal.
    """

    def __init__(self, name: str, gamma: float, rates: tuple[float, float] = (1.0, 1.0)) -> None:
        self.name, self.gamma = name, gamma
        self.fourth = name in ("gauss-newton", "fisher")
        self.inverse_metric = torch.tensor(rates, dtype=torch.float64)
        self.x = START
        self.evaluations, self.products = 1, 0

    def value(self) -> Tensor:
        """Return |u|^4 / 4, or |u|^2."""
        a, b = self.x.tolist()
        square = (1 - a) ** 2 + 100 * (b - a * a) ** 2
        return torch.tensor(square**2 / 4 if self.fourth else square, dtype=torch.float64)

    def gradient(self) -> Tensor:
        """Return its gradient."""
        a, b = self.x.tolist()
        square = (1 - a) ** 2 + 100 * (b - a * a) ** 2
        slope = [-2 * (1 - a) - 400 * a * (b - a * a), 200 * (b - a * a)]
        factor = square / 2 if self.fourth else 1.0
        return factor * torch.tensor(slope, dtype=torch.float64)

    def hessian(self) -> Tensor:
        """Return the Hessian, or its approximation."""
        a, b = self.x.tolist()
        g = self.gradient()
        square = (1 - a) ** 2 + 100 * (b - a * a) ** 2
        if self.name == "fisher":
            H: Tensor = 2 / square**2 * torch.outer(g, g)
        elif self.name == "gauss-newton":
            J = torch.tensor([[-1.0, 0.0], [-20 * a, 10.0]], dtype=torch.float64)
            H = square * (J.T @ J) + 2 / square**2 * torch.outer(g, g)
        else:
            rows = [[2 + 1200 * a * a - 400 * b, -400 * a], [-400 * a, 200.0]]
            H = torch.tensor(rows, dtype=torch.float64)
        return H

    def step(self) -> None:
        """Halve gamma until the step is accepted, then double it."""
        x, f, g, H = self.x, self.value(), self.gradient(), self.hessian()
        norm = math.sqrt(float(g @ (self.inverse_metric * g)))
        root = self.inverse_metric.sqrt()
        scaled, scaled_g = root[:, None] * H * root, root * g
        tried = 0
        while True:
            damping = norm / self.gamma
            M = scaled + damping * torch.eye(2, dtype=torch.float64)
            slope = scaled_g @ M @ scaled_g
            if self.name == "one product":
                tried = 1
                positive, d = bool(slope > 0), root * scaled_g * (scaled_g @ scaled_g) / slope
            else:
                # A direction of negative curvature may show before all products are made.
                tried = max(tried, 2 if slope > 0 and self.name != "fisher" else 1)
                positive = bool(torch.linalg.eigvalsh(M)[0] > 0)
                d = root * torch.linalg.solve(M, scaled_g)
            if positive:
                self.evaluations += 1
                self.x = x - d
                new = self.gradient()
                due = float(new @ (self.inverse_metric * new)) / (8 * damping)
                if f - self.value() >= due:
                    break
            self.gamma /= 2
        self.gamma *= 2
        self.products += tried
