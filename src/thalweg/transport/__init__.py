"""Optimal transport."""

from thalweg.transport.sinkhorn import TransportPlan, iterate_sinkhorn, sinkhorn
from thalweg.transport.sinkhorn_newton import (
    iterate_sinkhorn_newton_sparse,
    sinkhorn_newton_sparse,
)

__all__ = [
    "TransportPlan",
    "iterate_sinkhorn",
    "iterate_sinkhorn_newton_sparse",
    "sinkhorn",
    "sinkhorn_newton_sparse",
]
