"""What every measurement of a model on data shares: batches, and leaving all as it was found."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.func import functional_call
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.data import BatchSampler, DataLoader, SequentialSampler

Data = tuple[Any, Any] | Iterable[tuple[Any, Any]]
Loss = Callable[[Any, Any], Tensor]
Batch = tuple[Any, Any]


def read(data: Data, batch_size: int | None, device: torch.device) -> Iterator[Batch]:
    """Yield the batches of inputs and targets, on the device, as often as it is called."""
    if is_pair(data):
        n = n_samples(data)
        size = batch_size or n
        parts: Iterable[Batch] = (rows(data, slice(i, i + size)) for i in range(0, n, size))
    else:
        parts = map(_pair, data)
    for batch in parts:
        yield on_tensors(lambda tensor: tensor.to(device), batch)


def check_data(data: Data, batch_size: int | None) -> None:
    """Refuse data that cannot be read."""
    if batch_size is not None and batch_size < 1:
        raise ValueError(f"batch_size is {batch_size}; give at least 1, or None for all at once")
    if is_pair(data):
        lengths = {len(tensor) for tensor in tensors(data)}
        if len(lengths) > 1:
            raise ValueError(
                f"inputs and targets have different lengths {sorted(lengths)}; give one row a "
                "sample"
            )
        if not lengths - {0}:
            raise ValueError("the data is empty; give at least one sample")
    elif not isinstance(data, Iterable):
        raise TypeError(
            f"the data is a {type(data).__name__}; give a pair of tensors (inputs, targets), a "
            "DataLoader or a list of batches"
        )


def refuse_single_pass(data: Data) -> None:
    """Refuse data that ends after one pass, where several are needed."""
    if isinstance(data, Iterator):
        raise TypeError("the data can be read only once; give a list of batches or a loader")


def refuse_disorder(data: Data) -> None:
    """Refuse a loader whose samples do not come in the order of the data."""
    if isinstance(data, DataLoader) and not (
        type(data.batch_sampler) is BatchSampler
        and isinstance(data.sampler, SequentialSampler)
        and not data.drop_last
    ):
        raise ValueError(
            "the loader shuffles, drops or draws samples, so a score could not be told whose it "
            "is; give one with shuffle=False and drop_last=False"
        )


def is_pair(data: Any) -> bool:
    """Tell a pair (inputs, targets) of all samples from a sequence of batches."""
    return isinstance(data, tuple) and len(data) == 2 and isinstance(data[1], Tensor)


def apply(model: nn.Module, inputs: Any) -> Any:
    """Call a model: a tuple or a dict of inputs becomes its arguments."""
    if isinstance(inputs, dict):
        return model(**inputs)
    if isinstance(inputs, tuple | list):
        return model(*inputs)
    return model(inputs)


def apply_at(model: nn.Module, weights: dict[str, Tensor], inputs: Any) -> Any:
    """Call a model as `apply` does, with other weights."""
    keywords = inputs if isinstance(inputs, dict) else {}
    arguments = inputs if isinstance(inputs, tuple | list) else (inputs,)
    return functional_call(model, weights, () if keywords else tuple(arguments), keywords)


def tensors(data: Any) -> list[Tensor]:
    """List the tensors of a nested tuple or dict."""
    if isinstance(data, dict):
        return [tensor for value in data.values() for tensor in tensors(value)]
    if isinstance(data, tuple | list):
        return [tensor for value in data for tensor in tensors(value)]
    return [data] if isinstance(data, Tensor) else []


def on_tensors(function: Callable[[Tensor], Tensor], data: Any) -> Any:
    """Apply a function to every tensor of a nested tuple or dict."""
    if isinstance(data, dict):
        return {name: on_tensors(function, value) for name, value in data.items()}
    if isinstance(data, tuple | list):
        return tuple(on_tensors(function, value) for value in data)
    return function(data) if isinstance(data, Tensor) else data


def rows(data: Any, chosen: Any) -> Any:
    """Take some rows of every tensor."""
    return on_tensors(lambda tensor: tensor[chosen], data)


def n_samples(data: Any) -> int:
    """Count the rows of a batch."""
    return len(tensors(data)[0])


def device_of(model: nn.Module) -> torch.device:
    """Return where the model's first parameter lives."""
    return next((p.device for p in model.parameters()), torch.device("cpu"))


def averages(model: nn.Module, loss: Loss, batch: Batch) -> bool:
    """Tell whether the loss of a batch is the mean of the losses of its samples."""
    n = n_samples(batch)
    if n == 1:
        return True
    cut = -(-n // 3)  # unequal parts, so that a mean of their means gives itself away
    parts = [on_tensors(lambda t: t[:cut], batch), on_tensors(lambda t: t[cut:], batch)]
    with torch.no_grad():
        whole = loss(apply(model, batch[0]), batch[1])
        terms = [n_samples(part) / n * loss(apply(model, part[0]), part[1]) for part in parts]
    return close(whole, sum(terms), sum(term.abs() for term in terms))


def close(one: Tensor | float, other: Tensor | float, scale: Tensor | float) -> bool:
    """Tell whether two results are the same but for rounding, next to what they are summed of."""
    one, other = torch.as_tensor(one), torch.as_tensor(other)
    tolerance = torch.finfo(one.dtype).eps ** 0.5
    return bool(((one - other).abs() <= tolerance * torch.as_tensor(scale)).all())


def refuse_noise(model: nn.Module, inputs: Any) -> None:
    """Refuse a model that is random even in evaluation mode."""
    with torch.no_grad():
        once, again = (
            torch.cat([tensor.flatten() for tensor in tensors(apply(model, inputs))])
            for _ in range(2)
        )
    if not close(once, again, once.abs().max()):
        raise ValueError(
            "the model's output for the same batch changes from call to call although it is in "
            "evaluation mode; take the randomness out of its forward"
        )


@contextmanager
def measured(parts: Sequence[Any]) -> Iterator[None]:
    """Put models in evaluation mode; on leaving restore their modes and the random generators.

    Parts that are no modules, such as a loss that is a function, are passed over.
    """
    models = [part for part in parts if isinstance(part, nn.Module)]
    modes = [(module, module.training) for model in models for module in model.modules()]
    devices = {device_of(model) for model in models}
    generators = torch.random.fork_rng([device for device in devices if device.type == "cuda"])
    # Of torch's kinds of attention this alone has second derivatives and per-sample gradients.
    with generators, sdpa_kernel(SDPBackend.MATH):
        try:
            for model in models:
                model.eval()
            yield
        finally:
            for module, mode in modes:
                module.training = mode


def _pair(batch: Any) -> Batch:
    if isinstance(batch, tuple | list) and len(batch) == 2:
        return batch[0], batch[1]
    raise TypeError(f"a batch is a {type(batch).__name__}; each has to be a pair (inputs, targets)")
