"""Scaling: what to expect of a larger model, and which hyperparameters it wants."""

from thalweg.scaling.step_law import (
    HyperparameterLaw,
    Hyperparameters,
    fit_hyperparameter_law,
    step_law,
)

__all__ = ["HyperparameterLaw", "Hyperparameters", "fit_hyperparameter_law", "step_law"]
