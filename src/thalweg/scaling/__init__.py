"""Scaling: what to expect of a larger model, and which hyperparameters it wants."""

from thalweg.scaling.overtraining import DownstreamErrorLaw, OvertrainedLossLaw
from thalweg.scaling.step_law import (
    HyperparameterLaw,
    Hyperparameters,
    fit_hyperparameter_law,
    step_law,
)

__all__ = [
    "DownstreamErrorLaw",
    "HyperparameterLaw",
    "Hyperparameters",
    "OvertrainedLossLaw",
    "fit_hyperparameter_law",
    "step_law",
]
