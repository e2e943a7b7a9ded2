"""The engine: instruments, cheapest first, as far as the time goes."""

import time
import traceback
from collections.abc import Callable, Iterable, Iterator

import torch

from thalweg.core.catalogue import catalogue
from thalweg.core.errors import SettingError
from thalweg.core.instrument import Instrument, Reading
from thalweg.core.recipe import suggest
from thalweg.diagnosis.results import Examination
from thalweg.training.setup import apply_model
from thalweg.training.subject import Subject

OWN = "thalweg.diagnosis.instruments"
NEEDS = {
    "model": "finite weights",
    "run": "a run that was watched, and this is a checkpoint",
    "steps": "a run that was watched step by step",
    "classes": "classes as targets",
    "samples": "samples to choose from, and these are streamed, or a single one",
    "images": "images, and a model that convolves them",
    "plain": "a plain stack of layers with one activation between them",
    "gradient-descent": "a run by plain gradient descent",
}


def instruments() -> dict[str, Instrument]:
    """Return all instruments: those that need no paper, and those of the papers."""
    return {**catalogue(OWN).instruments, **catalogue().instruments}


def choose(only: Iterable[str] | None) -> list[Instrument]:
    """Return the instruments of the given names, or all.

    Raises:
        SettingError: Where there is none of a name.
    """
    known = instruments()
    if only is None:
        return list(known.values())
    chosen = list(dict.fromkeys(only))
    for name in chosen:
        if name not in known:
            raise SettingError(
                f"there is no instrument {name!r}{suggest(name, known)}; "
                f"there are: {', '.join(sorted(known))}"
            )
    return [known[name] for name in chosen]


def examine(
    subject: Subject,
    chosen: Iterable[Instrument],
    *,
    seconds: float,
    say: Callable[[str], None] = lambda line: None,
) -> Iterator[Examination]:
    """Apply instruments to a subject, cheapest first.

    Args:
        subject: What is examined.
        chosen: With what.
        seconds: An instrument that would go beyond them is left out.
        say: Called with lines about the progress.

    Yields:
        What became of each; one that fails leaves the rest standing.
    """
    with torch.random.fork_rng():
        unit = seconds_of_a_pass(subject)
    start = time.monotonic()
    fitting = []
    for instrument in chosen:
        if missing := instrument.needs - subject.offers:
            lacks = "; ".join(NEEDS.get(name, name) for name in sorted(missing))
            yield Examination(instrument, "unfit", reason=f"it needs {lacks}")
        else:
            fitting.append((unit * instrument.cost(subject), instrument))
    for estimate, instrument in sorted(fitting, key=lambda pair: (pair[0], pair[1].name)):
        left = seconds - (time.monotonic() - start)
        if estimate > left:
            yield Examination(
                instrument,
                "no time",
                reason=f"it takes about {_duration(estimate)}, and {_duration(max(left, 0))} of "
                f"{_duration(seconds)} were left; give more with --time",
            )
            continue
        say(f"{instrument.name}: about {_duration(estimate)}")
        found = _apply(instrument, subject)
        n = len(found.reading.symptoms)
        result = found.reason or (f"{n} finding{'s' if n != 1 else ''}" if n else "nothing found")
        say(f"{instrument.name}: {result} ({_duration(found.seconds)})")
        yield found


def seconds_of_a_pass(subject: Subject) -> float:
    """Return what a pass over the training data takes: as the run took, or by trying a batch."""
    batches = subject.problem.batches("train", 0, subject.device)
    points = subject.run.points if subject.run is not None else ()
    if points and points[-1].cost.per_step > 0:
        return points[-1].cost.per_step * max(len(batches), 1)
    batch = next(iter(batches))
    parameters = [p for p in subject.model.parameters() if p.requires_grad]
    times = []
    for _ in range(3):
        start = time.monotonic()
        loss = subject.loss(apply_model(subject.model, batch.input), batch.target)
        if parameters:
            torch.autograd.grad(loss, parameters, allow_unused=True)
        times.append(time.monotonic() - start)
    return min(times) * max(len(batches), 1)


def _apply(instrument: Instrument, subject: Subject) -> Examination:
    start = time.monotonic()
    try:
        with torch.random.fork_rng():
            reading = instrument.examine(subject)
        if not isinstance(reading, Reading):
            raise TypeError(f"it returned a {type(reading).__name__}, and should a Reading")
    except Exception as error:
        text = " ".join(str(error).split())
        return Examination(
            instrument,
            "failed",
            reason=f"it failed: {type(error).__name__}{': ' if text else ''}{text}",
            seconds=time.monotonic() - start,
            error=traceback.format_exc(),
        )
    return Examination(instrument, "done", reading, seconds=time.monotonic() - start)


def _duration(seconds: float) -> str:
    return f"{seconds:.2g} s" if seconds < 90 else f"{seconds / 60:.2g} min"
