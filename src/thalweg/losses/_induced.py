"""Induced matching: which features of two images are one and the same, seen in a third."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.losses._barcodes import Bars, image_bars
from thalweg.losses._cubical import Filtration, Indices

Comparison = Literal["union", "intersection"]


class Matching(NamedTuple):
    """Pixels, of all images, at which features of one dimension are born and die, (bars, 2).

    Attributes:
        matched: Of the first image's features that have a partner.
        partners: Of their partners in the second image.
        first: Of the first image's other features.
        second: Of the second image's other features.
    """

    matched: Indices
    partners: Indices
    first: Indices
    second: Indices


class Matchings(NamedTuple):
    """How the features of two images, or of many pairs, match.

    Attributes:
        oldest: The first pixel of each pair's first and of its second image, (N, 2): each bears
            the component that never dies.
        dimensions: The other features, by dimension.
    """

    oldest: Indices
    dimensions: list[Matching]


def check_images(input: Tensor, target: Tensor) -> None:
    """Refuse what are not two images, or two volumes, of one shape."""
    if input.dim() not in (4, 5) or target.shape != input.shape:
        raise ValueError(
            f"input has shape {tuple(input.shape)} and target {tuple(target.shape)}; give images "
            "of one shape (N, C, H, W), or volumes (N, C, D, H, W)"
        )
    if not input.is_floating_point():
        raise ValueError(f"input is {input.dtype}; give real numbers")


def matchings(x: Tensor, y: Tensor, sign: int, comparison: Comparison) -> Matchings:
    """Match the features of superlevel sets (sign -1) or of sublevel sets (sign 1)."""
    # Not a decorator, with which the import would load torch's compiler.
    apart = torch.compiler.disable(_matchings)  # type: ignore[no-untyped-call]
    found: Matchings = apart(x, y, sign, comparison)
    return found


def _matchings(x: Tensor, y: Tensor, sign: int, comparison: Comparison) -> Matchings:
    first, second = (sign * image.detach().cpu().double().numpy() for image in (x, y))
    return _match(first, second, comparison)


def _match(
    first: NDArray[np.float64], second: NDArray[np.float64], comparison: Comparison
) -> Matchings:
    """Match the features of sublevel sets of images (N, *shape), pair by pair.

    A feature of the first image and one of the second match where both are, in the images' union
    (or intersection) of sublevel sets, the same feature: they are joined by two image barcodes.
    """
    pair = Filtration(first), Filtration(second)
    together = (np.minimum if comparison == "union" else np.maximum)(first, second)
    between = Filtration(together)
    matchings = []
    for dimension in range(first.ndim - 1):
        own = [_lasting(image_bars(image, image, dimension), image, dimension) for image in pair]
        common = _lasting(image_bars(between, between, dimension), between, dimension)
        if comparison == "union":
            through = [image_bars(image, between, dimension) for image in pair]
            found = [
                _at(bars.birth, _at(lives.death, common.death, lives.birth))
                for bars, lives in zip(own, through, strict=True)
            ]
        else:
            through = [image_bars(between, image, dimension) for image in pair]
            found = [
                _at(bars.death, _at(lives.birth, common.birth, lives.death))
                for bars, lives in zip(own, through, strict=True)
            ]
        both = (found[0] >= 0) & (found[1] >= 0)
        pixels = [
            np.stack(
                (image.owner(dimension)[bars.birth], image.owner(dimension + 1)[bars.death]), -1
            )
            for image, bars in zip(pair, own, strict=True)
        ]
        chosen = [each[both] for each in found]
        rest = [np.delete(p, c, axis=0) for p, c in zip(pixels, chosen, strict=True)]
        partners = [p[c] for p, c in zip(pixels, chosen, strict=True)]
        matchings.append(Matching(*partners, *rest))
    oldest = [
        image.rank.argmin(1) + np.arange(len(image.rank)) * image.rank.shape[1] for image in pair
    ]
    return Matchings(np.stack(oldest, -1), matchings)


def _lasting(bars: Bars, images: Filtration, dimension: int) -> Bars:
    """Leave out features that die as they are born."""
    values = images.values.ravel()
    born, dead = images.owner(dimension)[bars.birth], images.owner(dimension + 1)[bars.death]
    lasting = values[born] < values[dead]
    return Bars(bars.birth[lasting], bars.death[lasting])


def _at(keys: Indices, wanted: Indices, values: Indices | None = None) -> Indices:
    """Return the values, or the places, that belong to the wanted keys; -1 where there are none."""
    if not len(keys):
        return np.full(len(wanted), -1)
    by_key = np.argsort(keys)
    places = by_key[np.searchsorted(keys, wanted, sorter=by_key).clip(max=len(keys) - 1)]
    found = places if values is None else values[places]
    return np.where(keys[places] == wanted, found, -1)
