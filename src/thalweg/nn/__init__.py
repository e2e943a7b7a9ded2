"""Layers: each a plain `torch.nn.Module`."""

from thalweg.nn.spherical_linear import SphericalLinear

__all__ = ["SphericalLinear"]
