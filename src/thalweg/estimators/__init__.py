"""Estimators with the interface of scikit-learn."""

from thalweg.estimators.gbnn import GBNNClassifier, GBNNRegressor

__all__ = ["GBNNClassifier", "GBNNRegressor"]
