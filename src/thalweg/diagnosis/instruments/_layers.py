"""What flows through the layers of a model."""

from collections.abc import Callable
from typing import Any

from torch import Tensor, nn
from torch.nn.modules.conv import _ConvNd

from thalweg.training.batches import Batch
from thalweg.training.subject import outputs_of

Look = Callable[[str, Tensor, Tensor], None]


def through_layers(model: nn.Module, rows: Batch, look: Look) -> None:
    """Run a model in evaluation mode and look at each linear layer and convolution on the way.

    Args:
        model: Left as it was.
        rows: What it is run on.
        look: Called in the order of the calls with the layer's name and what goes in and comes
            out, as (samples or positions, features).
    """
    handles = [
        layer.register_forward_hook(_hook(name, layer, look))
        for name, layer in model.named_modules()
        if isinstance(layer, nn.Linear | _ConvNd)
    ]
    try:
        outputs_of(model, rows)
    finally:
        for handle in handles:
            handle.remove()


def _hook(name: str, layer: nn.Module, look: Look) -> Callable[..., None]:
    axis = 1 if isinstance(layer, _ConvNd) else -1

    def flat(tensor: Tensor) -> Tensor:
        moved = tensor.movedim(axis, -1) if tensor.dim() > 1 else tensor[None]
        return moved.reshape(-1, moved.shape[-1])

    def hook(module: nn.Module, inputs: tuple[Any, ...], output: Any) -> None:
        if inputs and isinstance(inputs[0], Tensor) and isinstance(output, Tensor):
            look(name, flat(inputs[0]), flat(output))

    return hook


def root_mean_square(values: Tensor) -> float:
    """Return the root of the mean square, in double precision."""
    return float(values.double().square().mean().sqrt()) if values.numel() else 0.0
