"""Losses: each a plain `torch.nn.Module`, called with an input and a target."""

from thalweg.losses.aldr_kl import ALDRKL
from thalweg.losses.decoupled_mixup import DecoupledMixup
from thalweg.losses.ens_loss import EnsLoss
from thalweg.losses.groco import GroCo
from thalweg.losses.ldr_kl import LDRKL
from thalweg.losses.meco import MECO
from thalweg.losses.mesa import MESA
from thalweg.losses.saf import SAF
from thalweg.losses.z_loss import ZLoss

__all__ = ["ALDRKL", "LDRKL", "MECO", "MESA", "SAF", "DecoupledMixup", "EnsLoss", "GroCo", "ZLoss"]
