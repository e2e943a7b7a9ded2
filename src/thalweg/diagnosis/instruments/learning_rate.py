"""The learning rate: what other rates would have come to."""

import math
from dataclasses import replace

from torch import nn
from torch.optim import Optimizer

from thalweg.core.instrument import Instrument, Reading, Symptom
from thalweg.core.trace import Diverged
from thalweg.diagnosis.instruments._charts import lines
from thalweg.training.loop import trained
from thalweg.training.subject import Subject, outputs_of

FACTORS = (1 / 10, 1 / 3, 3, 10)
LONGEST = 500  # steps of a run that is made for comparison
GAIN, NOTE = 0.15, 0.05  # share of the way down that a rate leaves to another one
FAR = 10  # times, from which on a rate is of another order


def examine(subject: Subject) -> Reading:
    """Train from the same start at other rates, and compare the losses at the end."""
    run = subject.run
    assert run is not None
    steps = min(subject.steps, LONGEST)
    rows = subject.rows("train")

    def loss_of(model: nn.Module) -> float:
        value = float(subject.loss(outputs_of(model, rows), rows.target))
        return value if math.isfinite(value) else math.inf

    def end(factor: float) -> float:
        setup = subject.setup(steps=steps)
        try:
            *_, model = trained(
                replace(setup, optimizer=lambda model: _scaled(setup.optimizer(model), factor))
            )
        except Diverged:
            return math.inf
        return loss_of(model)

    start = loss_of(subject.setup(steps=steps).model)
    whole = steps == subject.steps and "model" in subject.offers
    ends = {1.0: loss_of(subject.model) if whole else end(1.0)}
    ends |= {factor: end(factor) for factor in FACTORS}
    rate = float(run.lrs.max())
    table = [
        {"times the rate": factor, "rate": rate * factor, "training loss": _shown(ends[factor])}
        for factor in sorted(ends)
    ]
    finite = [row for row in table if row["training loss"] is not None]
    charts = {
        f"Training loss after {steps} steps from the same start": lines(
            finite, "rate", "training loss", log_x=True, points=True
        )
    }
    return Reading(_symptoms(ends, start, rate, steps), charts, {"Other rates": table})


def _symptoms(
    ends: dict[float, float], start: float, rate: float, steps: int
) -> tuple[Symptom, ...]:
    best = min(ends, key=lambda factor: ends[factor])
    mine = min(ends[1.0], start)  # above the start no rate is worse than another
    gain = (mine - ends[best]) / (start - ends[best]) if ends[best] < start else 0.0
    if gain < NOTE:
        return ()
    # The nearest rate that is as good as the best but for a part of what would make a finding.
    slack = min(gain, GAIN) / 2 * (start - ends[best])
    enough = [factor for factor, loss in ends.items() if loss <= ends[best] + slack]
    nearest = min(enough, key=lambda factor: abs(math.log(factor)))
    high = nearest < 1
    times = 1 / nearest if high else nearest
    far = times >= FAR - 1e-6 or max(1 / best, best) >= FAR - 1e-6
    after = f"after {steps} steps from the same start"
    return (
        Symptom(
            "rate-too-high" if high else "rate-too-low",
            "note" if gain < GAIN else "fault" if far else "warning",
            title=f"the learning rate is too {'high' if high else 'low'}: {times:.2g} times "
            f"{'lower' if high else 'higher'} is far better"
            if gain >= GAIN
            else f"a {'lower' if high else 'higher'} learning rate fits the training data better",
            evidence=f"The training loss begins at {start:.3g}. At the rate {rate:.2g} it is "
            f"{ends[1.0]:.3g} {after}, at {rate * nearest:.2g} {ends[nearest]:.3g}, at its best, "
            f"{rate * best:.2g}, {ends[best]:.3g}: {gain:.0%} of the way down is left.",
            sure="Certain for these steps: the same initial weights and order of the data, only "
            "the rate differs. One seed each.",
            meaning="Steps overshoot: the loss cannot settle."
            if high
            else "Steps are too small for the length of the run.",
            remedies=(
                f"a learning rate of {rate * nearest:.2g}",
                *(("a warm-up", "batch-hessian-lr") if high else ("step-law",)),
            ),
            explains=()
            if gain < GAIN
            else (
                *("diverged", "no-learning", "still-falling", "dead-units", "collapsed-features"),
                *("unmoved-parameters", "class-confused", "wrong-labels", "modes-disagree"),
                "class-imbalance",
                *("far-below-the-edge", "lazy-training"),
            ),
        ),
    )


def _scaled(optimizer: Optimizer, factor: float) -> Optimizer:
    for group in optimizer.param_groups:
        if "lr" in group:
            group["lr"] = group["lr"] * factor
    return optimizer


def _shown(loss: float) -> float | None:
    return loss if math.isfinite(loss) else None


INSTRUMENTS = (
    Instrument(
        "learning-rate",
        summary="Would a rate of another order of magnitude end lower?",
        examine=examine,
        cost=lambda s: len(FACTORS) * s.passes * min(1.0, LONGEST / s.steps),
        cannot_tell="What is best on new data, and, where the run is longer than "
        f"{LONGEST} steps, what is best for the whole of it: long runs favour lower rates.",
        needs=frozenset({"steps"}),
    ),
)
