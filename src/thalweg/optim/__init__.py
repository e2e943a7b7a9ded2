"""Optimizers: each a plain `torch.optim.Optimizer`, usable in any training loop."""

from thalweg.optim.adahessian import AdaHessian
from thalweg.optim.diffgrad import DiffGrad
from thalweg.optim.gradient_noise import GradientNoise
from thalweg.optim.mfac import MFAC

__all__ = ["MFAC", "AdaHessian", "DiffGrad", "GradientNoise"]
