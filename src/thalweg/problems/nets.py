"""Small networks shared by problems; of parts that can be differentiated twice."""

from itertools import pairwise

from torch import nn


def mlp(n_inputs: int, n_outputs: int, *, width: int = 64, depth: int = 2) -> nn.Sequential:
    """Build a multilayer perceptron on flattened inputs.

    Args:
        n_inputs: Numbers in a sample.
        n_outputs: Numbers in an output.
        width: Units of a hidden layer.
        depth: Hidden layers.

    Example:
        >>> sum(p.numel() for p in mlp(4, 3, width=8).parameters())
        139
    """
    widths = [n_inputs, *[width] * depth]
    hidden = [
        layer
        for before, after in pairwise(widths)
        for layer in (nn.Linear(before, after), nn.ReLU())
    ]
    return nn.Sequential(nn.Flatten(), *hidden, nn.Linear(widths[-1], n_outputs))


def conv_net(channels: int, side: int, n_outputs: int) -> nn.Sequential:
    """Build a convolutional net for images: halved down to about 8 x 8, then pooled to 4 x 4.

    Args:
        channels: Of the images.
        side: Their longer side in pixels.
        n_outputs: Numbers in an output.

    Example:
        >>> import torch
        >>> conv_net(3, 32, 10)(torch.zeros(2, 3, 32, 32)).shape
        torch.Size([2, 10])
    """
    width = 16
    first_stride = 2 if side > 32 else 1
    layers: list[nn.Module] = [
        nn.Conv2d(channels, width, 3, padding=1, stride=first_stride),
        nn.ReLU(),
    ]
    side //= first_stride
    while side > 8 or width == 16:
        wider = min(2 * width, 64)
        layers += [nn.Conv2d(width, wider, 3, padding=1, stride=2), nn.ReLU()]
        width, side = wider, -(-side // 2)
    return nn.Sequential(
        *layers,
        nn.AdaptiveAvgPool2d(4),
        nn.Flatten(),
        nn.Linear(16 * width, 64),
        nn.ReLU(),
        nn.Linear(64, n_outputs),
    )
