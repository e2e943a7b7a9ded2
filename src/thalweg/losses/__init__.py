"""Losses: each a plain `torch.nn.Module`, called with an input and a target."""

from thalweg.losses.correctness_aware import CorrectnessAware
from thalweg.losses.decoupled_mixup import DecoupledMixup
from thalweg.losses.mesa import MESA
from thalweg.losses.ms_ssim import MSSSIM
from thalweg.losses.saf import SAF
from thalweg.losses.ssim import SSIM
from thalweg.losses.z_loss import ZLoss

__all__ = ["MESA", "MSSSIM", "SAF", "SSIM", "CorrectnessAware", "DecoupledMixup", "ZLoss"]
