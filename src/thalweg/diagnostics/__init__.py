"""Instruments: what a model, its data or its training suffer from."""

from thalweg.diagnostics.hessian_spectrum import HessianSpectrum, hessian_spectrum

__all__ = ["HessianSpectrum", "hessian_spectrum"]
