"""NormGrad (2020): saliency as the gradient of identity layers, informative at every depth."""

from typing import Any

import torch

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import class_sensitivity, deletion_insertion, saliency
from thalweg.papers.diagnostics._normgrad_reading import passes, read_mistakes
from thalweg.papers.diagnostics._normgrad_retyped import (
    a_step_is_taken_before_the_map,
    contributions_sum_to_the_gradient_of_an_identity_layer,
    correlation_of_few_places,
    correlation_of_the_two_classes,
    every_cell_of_the_table,
    images,
    net,
    pixels_one_by_one,
)
from thalweg.papers.diagnostics._normgrad_trials import (
    meta_saliency_is_more_sensitive,
    pointing_game,
    points_at_every_depth,
    sensitivities,
)

_BATCHES = {"batch_size": "a sample's map does not depend on the others"}
_KNOBS: dict[str, tuple[Any, Any]] = {
    "method": ("normgrad", "gradcam"),
    "layers": (("0",), ("0", "2")),
    "meta_lr": (0.0, 0.1),
}
_SCALED = (
    "Digits of 8 x 8 pixels at random places of 24 x 24 pixels of noise, and a net of three "
    "convolutions, in place of photographs and VGG or ResNet."
)


PAPER = Paper(
    id="normgrad",
    title="There and Back Again: Revisiting Backpropagation Saliency Methods",
    year=2020,
    arxiv="2004.02866",
    headline="Saliency methods are ways to extract and to aggregate the gradient of an identity "
    "layer; the norm of that of a convolution is informative at every depth, where Grad-CAM is so "
    "in the last layers alone, and a step of training before makes any method more sensitive to "
    "the class.",
    provides=(saliency, class_sensitivity, deletion_insertion),
    instruments=(
        Instrument(
            "mistakes",
            summary="What does the model look at where it errs most?",
            examine=read_mistakes,
            cost=passes,
            cannot_tell="Why: a map shows places a prediction rests on, and is no proof of cause.",
            needs=frozenset({"model", "classes", "images"}),
        ),
    ),
    oracles=(
        contributions_sum_to_the_gradient_of_an_identity_layer,
        every_cell_of_the_table,
        a_step_is_taken_before_the_map,
        correlation_of_the_two_classes,
        correlation_of_few_places,
        pixels_one_by_one,
    ),
    examples=(
        Example(
            saliency,
            "diagnostic",
            inputs=lambda: (net(), *images()),
            knobs=_KNOBS,
            exceptions=_BATCHES,
        ),
        Example(
            class_sensitivity,
            "diagnostic",
            inputs=lambda: (net(), images()[0]),
            knobs=_KNOBS,
            exceptions=_BATCHES,
        ),
        Example(
            deletion_insertion,
            "diagnostic",
            inputs=lambda: (net(), *images(), torch.arange(72.0).sin().view(3, 6, 4)),
            knobs={"steps": (20, 4), "fill": (0.0, 0.5)},
            exceptions=_BATCHES,
        ),
    ),
    claims=(
        MeasurementClaim(
            name="points-at-every-depth",
            statement="The highest place of a NormGrad map lies in the object more often than that "
            "of a Grad-CAM map, in early and in middle layers.",
            measure=pointing_game,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=points_at_every_depth,
            scaled=_SCALED,
        ),
        MeasurementClaim(
            name="meta-saliency-is-more-sensitive",
            statement="After a step of training on the image, maps for the likeliest and the least "
            "likely class correlate less.",
            measure=sensitivities,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=meta_saliency_is_more_sensitive,
            scaled=_SCALED + " The step is the authors' for ResNet-50.",
        ),
    ),
    symptoms=(
        "what does my classifier look at",
        "my model is right for the wrong reason",
        "Grad-CAM shows nothing in early layers",
    ),
)
