"""The coordinate check: how far training moves each layer, by width."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn
from torch.optim import Optimizer

if TYPE_CHECKING:
    import altair as alt


@dataclass(frozen=True, eq=False)
class CoordinateCheck:
    """What :func:`coordinate_check` found.

    Args:
        widths: As given.
        layers: Names of the layers with parameters, in their order.
        changes: Root mean square by which each layer's output changed, (layers, widths), float64
            and on the CPU.
    """

    widths: tuple[int, ...]
    layers: tuple[str, ...]
    changes: Tensor

    @property
    def slopes(self) -> dict[str, float]:
        """Exponent of the width in each layer's change: 0 where it is the same at all widths."""
        x = torch.tensor(self.widths, dtype=torch.float64).log()
        x = x - x.mean()
        found = self.changes.log() @ x / x.square().sum()
        return dict(zip(self.layers, found.tolist(), strict=True))

    def to_dict(self) -> dict[str, Any]:
        """Return everything as numbers and lists."""
        changes = dict(zip(self.layers, self.changes.tolist(), strict=True))
        return {"widths": list(self.widths), "changes": changes, "slopes": self.slopes}

    def chart(self) -> alt.Chart:
        """Draw the change of each layer against the width: level lines are what one wants."""
        import altair as alt

        points = [
            {"width": width, "change": change, "layer": layer}
            for layer, row in zip(self.layers, self.changes.tolist(), strict=True)
            for width, change in zip(self.widths, row, strict=True)
        ]
        chart: alt.Chart = (
            alt.Chart(alt.InlineData(values=points))
            .mark_line(point=True)
            .encode(
                alt.X("width:Q", scale=alt.Scale(type="log")),
                alt.Y("change:Q", title="change of outputs (RMS)", scale=alt.Scale(type="log")),
                alt.Color("layer:N", sort=list(self.layers)),
            )
            .properties(width=480, height=240)
        )
        return chart


def coordinate_check(
    make_model: Callable[[int], nn.Module],
    widths: Sequence[int],
    data: tuple[Tensor, Tensor],
    loss: Callable[[Tensor, Tensor], Tensor],
    make_optimizer: Callable[[nn.Module], Optimizer],
    *,
    steps: int = 1,
    seed: int = 0,
) -> CoordinateCheck:
    """Train models of growing width for a moment and measure how far each layer's output moved.

        for each width:  change_l = RMS over samples and units of (output_l after - output_l before)
        slope_l = least squares of log change_l on log width

    Under a maximal-update parametrisation all slopes are about 0; under the kernel's that of the
    hidden layers is about -1/2; where one is above 0 the wide models will diverge.

    Use it whenever a parametrisation was set up by hand: a wrong exponent passes every test of
    the loss and fails this one. Avoid it at widths too small to tell (from 64 on, over a factor
    of 16 or so), and with zeros as the output's weights and one step, where nothing inside moves.
    Cost: `steps + 2` passes over the data at each width.

    Args:
        make_model: Called with a width; returns a new model.
        widths: At least two.
        data: Inputs and targets, one batch.
        loss: Called with the model's output and the targets.
        make_optimizer: Called with the model, which it may rescale first, as
            :func:`abc_parametrize` does.
        steps: Of the optimizer, on the whole batch, >= 1.
        seed: Of the models.

    Returns:
        The changes; `slopes` and `chart()` show them.

    Raises:
        ValueError: If there are fewer than two widths, no steps, or models of different layers.

    Example:
        >>> import torch
        >>> from torch import nn
        >>> from thalweg.scaling import abc_parametrize, coordinate_check
        >>> def make_model(width):
        ...     return nn.Sequential(nn.Linear(8, width), nn.ReLU(), nn.Linear(width, 1))
        >>> x = torch.randn(32, 8, generator=torch.Generator().manual_seed(0))
        >>> found = coordinate_check(
        ...     make_model, (64, 256, 1024), (x, x[:, :1]), nn.functional.mse_loss,
        ...     lambda model: torch.optim.SGD(abc_parametrize(model, base_width=64, lr=0.1)))
        >>> abs(found.slopes["0"]) < 0.2
        True

    Paper: Feature Learning in Infinite-Width Neural Networks, 2020, arXiv 2011.14522. Differs:
        the check was proposed later, in Tensor Programs V, 2022, arXiv 2203.03466; what is
        measured here is the change, not the size, of the outputs.
    """
    widths = tuple(widths)
    if len(set(widths)) < 2:
        raise ValueError(f"widths are {widths}; give at least two that differ")
    if steps < 1:
        raise ValueError(f"steps is {steps}; give at least 1")
    inputs, target = data
    found = []
    for width in widths:
        with torch.random.fork_rng():
            torch.manual_seed(seed)
            model = make_model(width)
            optimizer = make_optimizer(model)
            before = _outputs(model, inputs)
            for _ in range(steps):
                optimizer.zero_grad()
                torch.autograd.backward(loss(model.train()(inputs), target))
                optimizer.step()
            after = _outputs(model, inputs)
        found.append({name: _rms(after[name] - before[name]) for name in before})
    layers = tuple(found[0])
    if any(tuple(row) != layers for row in found):
        raise ValueError("models of different widths have different layers; only widths may differ")
    changes = torch.tensor([[row[name] for row in found] for name in layers], dtype=torch.float64)
    return CoordinateCheck(widths, layers, changes)


def _rms(x: Tensor) -> float:
    return float(x.double().square().mean().sqrt())


def _outputs(model: nn.Module, inputs: Tensor) -> dict[str, Tensor]:
    """Return what the layers with parameters put out, in evaluation mode."""
    found: dict[str, Tensor] = {}
    layers = {x: name for name, x in model.named_modules() if list(x.parameters(recurse=False))}

    def keep(layer: nn.Module, given: Any, output: Any) -> None:
        if isinstance(output, Tensor):
            found[layers[layer]] = output.detach().clone()

    handles = [layer.register_forward_hook(keep) for layer in layers]
    with torch.no_grad():
        model.eval()(inputs)
    for handle in handles:
        handle.remove()
    return found
