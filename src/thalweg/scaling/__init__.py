"""Scaling: what to expect of a larger model, and which hyperparameters it wants."""

from thalweg.scaling.abc_parametrization import Regime, abc_parametrize, classify
from thalweg.scaling.coordinate_check import CoordinateCheck, coordinate_check
from thalweg.scaling.overtraining import DownstreamErrorLaw, OvertrainedLossLaw
from thalweg.scaling.step_law import (
    HyperparameterLaw,
    Hyperparameters,
    fit_hyperparameter_law,
    step_law,
)

__all__ = [
    "CoordinateCheck",
    "DownstreamErrorLaw",
    "HyperparameterLaw",
    "Hyperparameters",
    "OvertrainedLossLaw",
    "Regime",
    "abc_parametrize",
    "classify",
    "coordinate_check",
    "fit_hyperparameter_law",
    "step_law",
]
