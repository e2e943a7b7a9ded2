"""The information plane (2017): fitting, then compression, where activations saturate."""

from torch.nn import functional as F

from thalweg.core.claim import Effort, MeasurementClaim
from thalweg.core.example import Example
from thalweg.core.instrument import Instrument
from thalweg.core.paper import Paper
from thalweg.diagnostics import gradient_phases, information_plane
from thalweg.papers.diagnostics._information_plane_reading import passes, read_information
from thalweg.papers.diagnostics._information_plane_retyped import (
    informations_retyped,
    limits_of_information,
    nets,
    phases_retyped,
    samples,
    transitions_of_given_ratios,
)
from thalweg.papers.diagnostics._information_plane_trials import planes, two_phases

PAPER = Paper(
    id="information-plane",
    title="Opening the Black Box of Deep Neural Networks via Information",
    year=2017,
    arxiv="1703.00810",
    headline="Training a tanh net first raises what its layers tell of the label, then spends most "
    "epochs compressing what they tell of the input, while gradients turn diffusive. Later work "
    "finds no compression in ReLU nets.",
    provides=(information_plane, gradient_phases),
    instruments=(
        Instrument(
            "information",
            summary="Which layers lose what tells the label?",
            examine=read_information,
            cost=passes,
            cannot_tell="Whether to forget the input is good: its bits fall with activations that "
            "saturate, such as tanh, and hardly with ReLU, in nets that generalise as well. Nor "
            "what wide layers lose, which tell all samples apart, or none of new data.",
            needs=frozenset({"model", "steps", "classes"}),
        ),
    ),
    oracles=(
        informations_retyped,
        limits_of_information,
        phases_retyped,
        transitions_of_given_ratios,
    ),
    examples=(
        Example(
            information_plane,
            "diagnostic",
            inputs=lambda: (nets(), samples()),
            arguments={"estimators": ("binning", "kde_upper")},
            knobs={
                "layers": (("1",), ("3",)),
                "estimators": (("binning",), ("kde_lower",)),
                "every": (1, 2),
                "bin_width": (0.1, 0.5),
                "noise_variance": (0.01, 0.1),
            },
            exceptions={"batch_size": "the information is that of all data together"},
        ),
        Example(
            gradient_phases,
            "diagnostic",
            inputs=lambda: (nets(), samples(), F.cross_entropy),
            arguments={"minibatch": 4},
            knobs={"minibatch": (4, 3), "every": (1, 2), "seed": (0, 1)},
        ),
    ),
    claims=(
        MeasurementClaim(
            name="two-phases",
            statement="Late in training the deep layers of a tanh net tell half a bit less of the "
            "input than they did, those of a ReLU net do not; the gradients' signal to noise falls "
            "at least fivefold.",
            measure=planes,
            smoke=Effort(seeds=1),
            full=Effort(seeds=6),
            expect=two_phases,
            scaled="The paper's 12 bits, net, bins and share of the data, with another symmetric "
            "rule; 800 epochs of Adam, which the authors' code uses too, and 6 draws for 50.",
        ),
    ),
    symptoms=(
        "which layer forgets the input",
        "has training gone over from fitting to wandering",
        "is my gradient more noise than signal",
    ),
)
