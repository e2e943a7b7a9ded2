"""What the information plane tells of a training: which layer loses the label."""

from collections.abc import Sequence
from dataclasses import replace
from itertools import islice

import torch
from torch import Tensor, nn

from thalweg.core.instrument import Reading, Symptom
from thalweg.diagnostics import InformationPlane, information_plane
from thalweg.diagnostics._outputs import outputs_of
from thalweg.training.batches import Batch, select
from thalweg.training.problem import evaluating
from thalweg.training.setup import apply_model
from thalweg.training.subject import Subject, is_activation

SAMPLES, PAIRED = 1000, 200  # counted in bins at the end, and compared pair by pair on the way
LONGEST, TIMES = 500, 12  # steps that are replayed, and measurements on the way
LAYERS, UNITS = 8, 2**12  # at most
BIN = 0.1  # of the units' typical deviation: 30 bins over three of them, as in the paper
NOISE = 0.1  # of a layer's variance: samples nearer than about a third of its spread are one
LOST = 0.1  # share of the label's bits


def passes(subject: Subject) -> float:
    """Return what the replay costs, and the distances of all pairs each time."""
    replay = subject.passes * min(1.0, LONGEST / subject.steps)
    return replay + 5 * TIMES * subject.share(PAIRED) + 2 * subject.share(SAMPLES)


def read_information(subject: Subject) -> Reading:
    """Follow the layers through a replay of the run, and see what they tell in the end."""
    few, rows = subject.rows("train", PAIRED), subject.rows("train", SAMPLES)
    found = _outputs(subject.model, few)
    if not found:
        return Reading()
    variances = [float(t.double().var(0).sum()) or 1.0 for t in found.values()]
    units = [t.shape[1] for t in found.values()]
    end = information_plane(
        *([subject.model], (rows.input, rows.target)),
        layers=list(found),
        bin_width=[BIN * (v / n) ** 0.5 for v, n in zip(variances, units, strict=True)],
    )
    steps = min(subject.steps, LONGEST)
    times = sorted({0, *(round(steps ** (i / TIMES)) for i in range(1, TIMES + 1))})
    run = islice(subject.replay(), steps + 1)
    path = information_plane(
        *((model for step, model in enumerate(run) if step in times), (few.input, few.target)),
        layers=list(found),
        estimators=("kde_upper",),
        noise_variance=[NOISE * variance for variance in variances],
    )
    path = replace(path, steps=torch.tensor(times[: len(path.steps)]))
    label = entropy(rows.target)
    told = end.target_information[0, -1].tolist()
    table = [
        {"layer": name, "units": n, "bits of the label": bits, "of": label, "patterns": int(count)}
        for name, n, bits, count in zip(end.layers, units, told, end.patterns[-1], strict=True)
    ]
    return Reading(
        lost_label(end, label),
        {"What the layers tell of input and label along the run": path.chart()},
        {"What the layers tell of the label in the end": table},
    )


def lost_label(end: InformationPlane, label: float) -> tuple[Symptom, ...]:
    """Find the first layer from which on none tells the label.

    Args:
        end: Measured in bins at the end of the run.
        label: Entropy of the classes, in bits.
    """
    told = end.target_information[0, -1]
    # What a later layer tells has not been lost here, but gone round this one.
    later = told.flip(0).cummax(0).values.flip(0)
    lost = (later < (1 - LOST) * label).nonzero().flatten().tolist()
    if not lost:
        return ()
    at = lost[0]
    before = f"; {end.layers[at - 1]}, before it, {told[at - 1]:.2f}" if at else ""
    return (
        Symptom(
            "lost-label",
            "note",
            title=f"layer {end.layers[at]} loses {1 - told[at] / label:.0%} of what tells the "
            "label",
            evidence=f"Its outputs tell {told[at]:.2f} of the label's {label:.2f} bits{before}: "
            f"{end.n_samples:,} training samples fall into {int(end.patterns[-1, at])} patterns "
            f"of bins, {BIN:g} deviations of its units wide.",
            sure="Certain for these samples at this resolution: bits counted on a sample are too "
            "many rather than too few, and no later layer tells more.",
            meaning="Samples of unlike classes look alike from here on, and no later layer can "
            "tell them apart, but by differences finer than the bins.",
            remedies=(
                "more units in this layer",
                "look for dead units, or a mean or sum over the wrong axis",
                "residual connections",
            ),
        ),
    )


def entropy(target: Tensor) -> float:
    """Return the entropy of classes, in bits."""
    shares = target.bincount().double() / len(target)
    return float(-torch.special.xlogy(shares, shares).sum() / torch.log(torch.tensor(2.0)))


def _outputs(model: nn.Module, rows: Batch) -> dict[str, Tensor]:
    """Return the outputs of activations that are called once and are not too wide, flat."""
    names = [name for name, module in model.named_modules() if is_activation(module)]
    trial = _seen(model, names, select(rows.input, slice(2)))
    fit = [name for name, (first, *more) in trial.items() if not more and first[0].numel() <= UNITS]
    at = torch.linspace(0, len(fit) - 1, min(LAYERS, len(fit))).round().int().tolist()
    chosen = [fit[i] for i in at]
    seen = _seen(model, chosen, rows.input)
    return {name: seen[name][0].flatten(1) for name in chosen}


def _seen(model: nn.Module, names: Sequence[str], inputs: object) -> dict[str, list[Tensor]]:
    with evaluating(model), outputs_of(model, names) as seen:
        apply_model(model, inputs)
    return seen
