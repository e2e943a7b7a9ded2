"""MS-SSIM as a loss (2015): networks that draw images are trained on how alike images look."""

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from thalweg.core.claim import Effort, Finding, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.paper import Paper
from thalweg.core.verdicts import exceeds, together
from thalweg.losses import MSSSIM, SSIM
from thalweg.papers.losses._ms_ssim_retyped import (
    equations_retyped,
    exact_values,
    numbers_of_other_implementations,
    waves,
)
from thalweg.papers.losses._ms_ssim_trials import codes, reconstructions

PIXELWISE = ("squared error", "absolute error")


def images() -> tuple[Tensor, Tensor]:
    """Return four pairs of images of two channels."""
    x, y = (image[:, :2, :13, :12] for image in waves(16, 16))
    return torch.cat((x, y.flip(3))), torch.cat((y, x.flip(3) ** 2))


def they_look_more_alike(measured: Sequence[Mapping[str, float]]) -> Finding:
    """More alike, and with a local contrast that is closer to the image's, than by either error."""

    def closeness(loss: str) -> list[float]:
        return [1 - abs(1 - m[f"contrast kept, {loss}"]) for m in measured]

    return together(
        [
            finding
            for other in PIXELWISE
            for finding in (
                exceeds(
                    "MS-SSIM of reconstructions",
                    [m["MS-SSIM, MS-SSIM"] for m in measured],
                    [m[f"MS-SSIM, {other}"] for m in measured],
                    names=("MS-SSIM", other),
                ),
                exceeds(
                    "closeness of local contrast",
                    closeness("MS-SSIM"),
                    closeness(other),
                    names=("MS-SSIM", other),
                ),
            )
        ]
    )


def codes_classify_better(measured: Sequence[Mapping[str, float]]) -> Finding:
    """A linear model on the codes is more often right than on those of either error."""
    return together(
        [
            exceeds(
                "accuracy on the codes",
                [m["MS-SSIM"] for m in measured],
                [m[other] for m in measured],
                names=("MS-SSIM", other),
            )
            for other in PIXELWISE
        ]
    )


_KNOBS = {
    "data_range": (1.0, 2.0),
    "sigma": (1.5, 0.8),
    "window_size": (5, 4),
    "k1": (0.01, 0.1),
    "k2": (0.03, 0.1),
}

PAPER = Paper(
    id="ms-ssim-loss",
    title="Learning to Generate Images with Perceptual Similarity Metrics",
    year=2015,
    arxiv="1511.06409",
    headline="People reliably prefer the reconstructions of autoencoders trained on MS-SSIM to "
    "those trained on squared or absolute errors, in three architectures; the codes classify "
    "better where the bottleneck is tight, and super-resolution looks better.",
    provides=(MSSSIM, SSIM),
    oracles=(numbers_of_other_implementations, equations_retyped, exact_values),
    examples=(
        Example(
            MSSSIM,
            "loss",
            arguments={"weights": (0.3, 0.7), "window_size": 5},
            knobs={**_KNOBS, "weights": ((0.3, 0.7), (0.3, 0.6)), "reduction": ("mean", "sum")},
            inputs=images,
        ),
        Example(
            SSIM,
            "loss",
            arguments={"window_size": 5},
            knobs={**_KNOBS, "reduction": ("mean", "sum")},
            inputs=images,
        ),
    ),
    claims=(
        MeasurementClaim(
            name="reconstructions-look-more-alike",
            statement="An autoencoder trained on MS-SSIM draws images that are more alike and "
            "keep more of the local contrast than one trained on squared or absolute errors.",
            measure=reconstructions,
            smoke=Effort(seeds=1),
            full=Effort(seeds=8),
            expect=they_look_more_alike,
            scaled="Synthetic textures of 32 x 32 pixels, a small perceptron with 16 codes, Adam "
            "at one rate for all. For the eyes of people stand MS-SSIM on unseen images and, which "
            "no loss is trained on, the local contrast that is kept.",
        ),
        MeasurementClaim(
            name="codes-classify-better",
            statement="A linear model is more often right on the codes of an autoencoder trained "
            "on MS-SSIM than on those of squared or absolute errors, where codes are few.",
            measure=codes,
            smoke=Effort(seeds=1),
            full=Effort(seeds=8),
            expect=codes_classify_better,
            scaled="Handwritten digits, enlarged to 32 x 32 pixels, and 6 codes in place of faces.",
        ),
    ),
    symptoms=(
        "my autoencoder draws blurred images",
        "a squared error does not see what I see",
        "my super-resolution lacks texture",
    ),
)
