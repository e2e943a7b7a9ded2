"""What the claims about MS-SSIM as a loss measure: autoencoders of textures and of digits."""

import math
from collections.abc import Mapping

import torch
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler
from torch import Tensor, nn
from torch.nn import functional as F

from thalweg.core.claim import Size
from thalweg.losses import MSSSIM
from thalweg.problems.digits import parts
from thalweg.problems.nets import mlp

SIDE = 32
LOSSES = {
    "MS-SSIM": MSSSIM(weights=(0.1356, 0.8644)),  # two of the five scales fit, made to sum to 1
    "squared error": nn.MSELoss(),
    "absolute error": nn.L1Loss(),
}


def textures(n: int, generator: torch.Generator) -> Tensor:
    """Draw gratings, edges and blobs of random contrast, (n, 1, 32, 32) in [0, 1]."""

    def draw(low: float, high: float) -> Tensor:
        return low + (high - low) * torch.rand(n, 1, 1, 1, generator=generator)

    axis = torch.linspace(-1, 1, SIDE)
    row, column = axis[:, None], axis

    def along(angle: Tensor) -> Tensor:
        return angle.cos() * row + angle.sin() * column

    grating = torch.sin(math.tau * (draw(1, 3) * along(draw(0, math.pi)) + draw(0, 1)))
    edge = torch.tanh(8 * (along(draw(0, math.tau)) - draw(-0.5, 0.5)))
    square = (row - draw(-0.6, 0.6)).square() + (column - draw(-0.6, 0.6)).square()
    blob = torch.exp(-square / (2 * draw(0.15, 0.4).square()))
    mixed = draw(0, 1) * grating + draw(0, 1) * edge + draw(-2, 2) * blob
    contrast = 10 ** draw(-1.5, -0.3)
    return (draw(0.3, 0.7) + contrast * mixed / 2).clamp(0, 1)


def reconstructions(seed: int, size: Size) -> Mapping[str, float]:
    """Train an autoencoder of textures by each loss; grade what it draws of unseen ones."""
    generator = torch.Generator().manual_seed(seed)
    train, test = textures(2048, generator), textures(512, generator)
    measured = {}
    for name, loss in LOSSES.items():
        encoder, decoder = _train(train, loss, seed, n_codes=16, steps=500 if size == "full" else 3)
        with torch.no_grad():
            drawn = decoder(encoder(test))
            measured[f"MS-SSIM, {name}"] = 1 - LOSSES["MS-SSIM"](drawn, test).item()
            kept = _local_deviation(drawn) / _local_deviation(test)
        measured[f"contrast kept, {name}"] = kept.mean().item()
        measured[f"PSNR, {name}"] = -10 * F.mse_loss(drawn, test).log10().item()
    return measured


def codes(seed: int, size: Size) -> Mapping[str, float]:
    """Train an autoencoder of digits by each loss; classify its few codes by a linear model."""
    (train, labels), _, (test, truth) = (
        (F.interpolate(images, SIDE, mode="bilinear"), label) for images, label in parts()
    )
    measured = {}
    for name, loss in LOSSES.items():
        encoder, _ = _train(train, loss, seed, n_codes=6, steps=500 if size == "full" else 3)
        with torch.no_grad():
            known, unseen = encoder(train).numpy(), encoder(test).numpy()
        model = make_pipeline(StandardScaler(), LogisticRegression(max_iter=1000))
        measured[name] = model.fit(known, labels.numpy()).score(unseen, truth.numpy())
    return measured


def _train(
    images: Tensor, loss: nn.Module, seed: int, *, n_codes: int, steps: int
) -> tuple[nn.Module, nn.Module]:
    """Train an encoder and a decoder; weights and batches depend on the seed alone."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        encoder = mlp(SIDE * SIDE, n_codes, width=256, depth=1)
        decoder = nn.Sequential(
            *mlp(n_codes, SIDE * SIDE, width=256, depth=1),
            nn.Sigmoid(),
            nn.Unflatten(1, (1, SIDE, SIDE)),
        )
    generator = torch.Generator().manual_seed(seed)
    optimizer = torch.optim.Adam([*encoder.parameters(), *decoder.parameters()], lr=1e-3)
    for _ in range(steps):
        batch = images[torch.randint(len(images), (64,), generator=generator)]
        optimizer.zero_grad()
        torch.autograd.backward(loss(decoder(encoder(batch)), batch))
        optimizer.step()
    return encoder, decoder


def _local_deviation(images: Tensor) -> Tensor:
    """Return the mean over an image of the standard deviation of 4 x 4 pixels."""
    patches = images.unfold(2, 4, 2).unfold(3, 4, 2).flatten(-2)
    return patches.std(-1).mean((1, 2, 3))
