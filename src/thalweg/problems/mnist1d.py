"""MNIST-1D: ten pulse shapes as procedural signals of 40 samples, 4,000 to train on."""

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.seeds import derive_seed
from thalweg.training.metrics import METRICS
from thalweg.training.problem import TrainingProblem

LENGTH = 40
SIZES = {"train": 4000, "validation": 1000, "test": 1000}

# Height of the ten shapes at twelve equidistant times: the data of the published recipe.
SHAPES = (
    (5, 6, 6.5, 6.75, 7, 7, 7, 7, 6.75, 6.5, 6, 5),
    (5, 3, 3, 3.4, 3.8, 4.2, 4.6, 5, 5.4, 5.8, 5, 5),
    (5, 6, 6.5, 6.5, 6, 5.25, 4.75, 4, 3.5, 3.5, 4, 5),
    (5, 6, 6.5, 6.5, 6, 5, 5, 6, 6.5, 6.5, 6, 5),
    (5, 4.4, 3.8, 3.2, 2.6, 2.6, 5, 5, 5, 5, 5, 5),
    (5, 3, 3, 3, 3, 5, 6, 6.5, 6.5, 6, 4.5, 5),
    (5, 4, 3.5, 3.25, 3, 3, 3, 3, 3.25, 3.5, 4, 5),
    (5, 7, 7, 6.6, 6.2, 5.8, 5.4, 5, 4.6, 4.2, 5, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 4, 3.5, 3.5, 4, 5),
    (5, 4, 3.5, 3.5, 4, 5, 5, 5, 5, 4.7, 4.3, 5),
)
PADDING = (36, 60)  # zeros appended to a shape, which sets its width
SCALE = 0.4  # width of the range of relative heights
SHIFTS = 48  # how many shifts along the signal there are
SHEAR = 0.75  # width of the range of slopes
CORRELATED, INDEPENDENT = 0.25, 0.02  # standard deviation of the noises
CORRELATION = 2  # of the Gaussian that smooths the correlated noise, in samples


def signals(n: int, seed: int) -> tuple[Tensor, Tensor]:
    """Draw signals after the published recipe, as many of each shape.

    A shape, standardised and starting from 0, is padded with zeros, stretched to 72 samples, scaled
    and shifted around the end. Where it is zero comes correlated noise, everywhere independent
    noise and a slope; then it is thinned out to 40 samples.

    Args:
        n: How many, a multiple of 10.
        seed: Of all random choices.

    Returns:
        The signals, (n, 40), not yet standardised, and their shapes' numbers, (n,), in random
        order.

    Paper:
        Scaling down Deep Learning with MNIST-1D, 2020, arXiv 2011.14439. Differs: signals are drawn
        by another generator, so they have the published distribution but not the published values.
    """
    generator = torch.Generator().manual_seed(seed)

    def uniform(*shape: int) -> Tensor:
        return torch.rand(*shape, generator=generator, dtype=torch.float64)

    def normal(*shape: int) -> Tensor:
        return torch.randn(*shape, generator=generator, dtype=torch.float64)

    label = (torch.arange(n) % len(SHAPES))[torch.randperm(n, generator=generator)]
    shapes = torch.tensor(SHAPES, dtype=torch.float64)
    shapes = shapes / shapes.std(1, correction=0, keepdim=True)
    shape = (shapes - shapes[:, :1])[label] / 6

    fewest, most = PADDING
    points = shape.shape[1]
    length = points + most
    padding = torch.randint(fewest, most + 1, (n,), generator=generator)
    padded = F.pad(shape, (0, most))
    # Sample i of the stretched signal lies at this place of the padded one; beyond the shape's last
    # point but one the next is a zero of the padding.
    place = torch.linspace(0, 1, length, dtype=torch.float64) * (points + padding[:, None] - 1)
    signal = _interpolate(padded, place) * (1 + SCALE * (uniform(n, 1) - 0.5))
    is_shape = place < points

    shift = torch.randint(SHIFTS, (n, 1), generator=generator)
    source = (torch.arange(length) - shift) % length
    signal, is_shape = signal.gather(1, source), is_shape.gather(1, source)

    signal = torch.where(is_shape, signal, CORRELATED * _smooth(normal(n, length)))
    signal += INDEPENDENT * normal(n, length)
    signal -= SHEAR * (uniform(n, 1) - 0.5) * torch.linspace(-0.5, 0.5, length)
    thinned = torch.linspace(0, length - 1, LENGTH, dtype=torch.float64).expand(n, LENGTH)
    return _interpolate(signal, thinned).float(), label


def conv_net() -> nn.Module:
    """Build the recipe's convolutional net: three layers of 25 channels, about 5,000 parameters."""
    return nn.Sequential(
        nn.Unflatten(1, (1, LENGTH)),
        nn.Conv1d(1, 25, 5, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Conv1d(25, 25, 3, stride=2, padding=1),
        nn.ReLU(),
        nn.Flatten(),
        nn.Linear(125, 10),
    )


def problem() -> TrainingProblem:
    """Recognise the shape."""
    drawn = {part: signals(n, derive_seed("mnist1d", part)) for part, n in SIZES.items()}
    mean, std = drawn["train"][0].mean(), drawn["train"][0].std()
    train, validation, test = (((signal - mean) / std, label) for signal, label in drawn.values())
    return TrainingProblem(
        "mnist1d",
        model=conv_net,
        train=train,
        validation=validation,
        test=test,
        loss=nn.CrossEntropyLoss(),
        metric=METRICS["accuracy"],
        batch_size=100,
        steps=1000,
        target=0.88,
        description="MNIST-1D signals, small conv net",
    )


def _interpolate(signal: Tensor, place: Tensor) -> Tensor:
    """Return each row's values at fractional places, linear between its samples."""
    left = place.long().clamp(0, signal.shape[1] - 2)
    return torch.lerp(signal.gather(1, left), signal.gather(1, left + 1), place - left)


def _smooth(noise: Tensor) -> Tensor:
    """Smooth rows by a Gaussian cut off at four deviations, mirroring them at their ends."""
    radius = 4 * CORRELATION
    offset = torch.arange(-radius, radius + 1, dtype=noise.dtype)
    kernel = torch.exp(-(offset**2) / (2 * CORRELATION**2))
    mirrored = torch.cat([noise[:, :radius].flip(1), noise, noise[:, -radius:].flip(1)], 1)
    return F.conv1d(mirrored[:, None], (kernel / kernel.sum())[None, None]).squeeze(1)
