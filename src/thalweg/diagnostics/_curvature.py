"""Products with the Hessian of a model's mean loss."""

from collections.abc import Iterator

import torch
from torch import Tensor, nn
from torch.func import grad, vmap

from thalweg.data._measure import (
    Batch,
    Data,
    Loss,
    apply,
    apply_at,
    averages,
    check_data,
    close,
    n_samples,
    on_tensors,
    read,
    refuse_noise,
    refuse_single_pass,
)

_HELD = 2**24  # numbers that the products of single samples take up at a time, at most


class MeanHessian:
    """The Hessian of the mean loss, which multiplies several vectors in one pass over the data.

    Args:
        model: In evaluation mode; its parameters that require a gradient are the variables.
        data: As in :func:`hessian_spectrum`.
        loss: The mean over a batch's samples.
        batch_size: Samples at a time of a pair of tensors.

    Raises:
        ValueError: Where a product would not be that of one fixed matrix.
    """

    def __init__(self, model: nn.Module, data: Data, loss: Loss, batch_size: int | None) -> None:
        check_data(data, batch_size)
        refuse_single_pass(data)
        self.model, self.data, self.loss, self.batch_size = model, data, loss, batch_size
        self.parameters = [p for p in model.parameters() if p.requires_grad]
        if not self.parameters:
            raise ValueError("no parameter of the model requires a gradient; unfreeze some")
        self.n = sum(p.numel() for p in self.parameters)
        self.device = self.parameters[0].device
        self.dtype = torch.promote_types(self.parameters[0].dtype, torch.float32)
        self.n_samples, n_batches, self.mean_loss = self._probe()
        # The graph of a single batch serves every product.
        self.graph = self._graph(next(self._batches())) if n_batches == 1 else None

    def __call__(self, vectors: Tensor) -> Tensor:
        """Multiply with each row of (count, n)."""
        if self.graph is not None:
            return self._product(self.graph, vectors)
        total = torch.zeros_like(vectors)
        for batch in self._batches():
            share = n_samples(batch) / self.n_samples
            total.add_(self._product(self._graph(batch), vectors), alpha=share)
        return total

    def refuse_sums(self) -> None:
        """Raise a ValueError where the loss of a batch is not the mean of its samples' losses."""
        if not averages(self.model, self.loss, next(self._batches())):
            raise ValueError(
                "the loss of a batch is not the mean of its samples' losses, so that samples "
                "cannot be told apart; give a loss with reduction='mean' and no weights"
            )

    def sample_variance(self, vector: Tensor) -> float:
        """Return the mean of |H_i v - H v|^2 over the samples' Hessians H_i."""
        sizes = [p.numel() for p in self.parameters]
        names = [name for name, p in self.model.named_parameters() if p.requires_grad]

        def named(flat: Tensor) -> dict[str, Tensor]:
            pieces = zip(names, torch.split(flat, sizes), self.parameters, strict=True)
            return {name: piece.view_as(p).to(p.dtype) for name, piece, p in pieces}

        def value(parameters: dict[str, Tensor], sample: Batch) -> Tensor:
            inputs, target = on_tensors(lambda tensor: tensor[None], sample)
            return self.loss(apply_at(self.model, parameters, inputs), target)

        def distance(sample: Batch) -> Tensor:
            def slope(parameters: dict[str, Tensor]) -> Tensor:
                parts = grad(value)(parameters, sample)
                return torch.stack([(parts[n] * along[n]).sum() for n in names]).sum()

            parts = grad(slope)(fixed)
            return torch.stack([(parts[n] - mean[n]).square().sum() for n in names]).sum()

        along, mean = named(vector), named(self(vector[None])[0])
        fixed = {name: p.detach() for name, p in self.model.named_parameters() if p.requires_grad}
        chunk = max(1, _HELD // self.n)
        each = vmap(distance, randomness="different", chunk_size=chunk)
        return sum(float(each(batch).double().sum()) for batch in self._batches()) / self.n_samples

    def _batches(self) -> Iterator[Batch]:
        return read(self.data, self.batch_size, self.device)

    def _value(self, batch: Batch) -> Tensor:
        value = self.loss(apply(self.model, batch[0]), batch[1])
        if value.numel() != 1:
            raise ValueError(
                f"the loss of a batch has the shape {tuple(value.shape)}; give a loss that returns "
                "the mean over the samples, such as one with reduction='mean'"
            )
        return value

    def _graph(self, batch: Batch) -> list[Tensor]:
        return list(
            torch.autograd.grad(
                self._value(batch), self.parameters, create_graph=True, materialize_grads=True
            )
        )

    def _product(self, gradients: list[Tensor], vectors: Tensor) -> Tensor:
        curved = [gradient.requires_grad for gradient in gradients]
        rows = []
        sizes = [p.numel() for p in self.parameters]
        for vector in vectors:
            pieces = [
                piece.view_as(p).to(p.dtype)
                for piece, p in zip(vector.split(sizes), self.parameters, strict=True)
            ]
            result = torch.autograd.grad(
                [g for g, keep in zip(gradients, curved, strict=True) if keep],
                self.parameters,
                [v for v, keep in zip(pieces, curved, strict=True) if keep],
                retain_graph=True,
                materialize_grads=True,
            )
            rows.append(torch.cat([part.reshape(-1) for part in result]))
        return torch.stack(rows).to(vectors.dtype)

    def _probe(self) -> tuple[int, int, float]:
        """Count samples and batches; refuse a model, data or loss that have no one Hessian."""
        with torch.no_grad():
            first = next(self._batches(), None)
            if first is None:
                raise ValueError("the data yields no batches; give at least one sample")
            (n, count, mean), (n_again, _, mean_again) = self._pass(), self._pass()
        if not torch.isfinite(mean):
            raise ValueError(f"the mean loss is {float(mean)}; the Hessian needs a finite one")
        refuse_noise(self.model, first[0])
        if n != n_again or not close(mean, mean_again, mean.abs()):
            raise ValueError(
                f"two passes over the data differ: {n} samples with mean loss {float(mean):.6g}, "
                f"then {n_again} with {float(mean_again):.6g}; switch off random augmentation "
                "and drop_last"
            )
        if count > 1:
            self.refuse_sums()
        return n, count, float(mean)

    def _pass(self) -> tuple[int, int, Tensor]:
        sizes, values = [], []
        for batch in self._batches():
            sizes.append(n_samples(batch))
            values.append(sizes[-1] * self._value(batch))
        return sum(sizes), len(sizes), torch.stack(values).sum() / sum(sizes)
