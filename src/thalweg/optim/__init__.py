"""Optimizers: each a plain `torch.optim.Optimizer`, usable in any training loop."""

from thalweg.optim.adahessian import AdaHessian
from thalweg.optim.diffgrad import DiffGrad

__all__ = ["AdaHessian", "DiffGrad"]
