"""Optimizers: each a plain `torch.optim.Optimizer`, usable in any training loop."""

from thalweg.optim.adahessian import AdaHessian
from thalweg.optim.diffgrad import DiffGrad
from thalweg.optim.gradient_noise import GradientNoise

__all__ = ["AdaHessian", "DiffGrad", "GradientNoise"]
