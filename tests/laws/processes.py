"""Laws that need processes of their own: one start of a pair of them serves all cases.

Run as ``python -m tests.laws.processes FOLDER RANK``, this does all the work with every example in
the folder, and leaves the outcomes there.
"""

import contextlib
import functools
import os
import pickle
import subprocess
import sys
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from datetime import timedelta
from pathlib import Path
from typing import Any
from unittest import mock

import torch
from filelock import FileLock
from torch import Tensor, distributed, nn
from torch.distributed.fsdp import fully_shard

from tests.laws import optimizing
from thalweg.core.example import Example

LAWS: set[Callable[..., None]] = set()  # those that call `elsewhere`
ROOT = Path(__file__).parents[2]
STEPS = 3  # before a run is saved, after it was resumed, and of two processes


@dataclass(frozen=True)
class Failed:
    """What a piece of work raised.

    Args:
        error: The name of its class.
        message: What it says.
    """

    error: str
    message: str


class _Shared:
    """Where the outcomes for all selected cases lie, and which examples they are of."""

    folder: Path | None = None
    examples: Sequence[Example] = ()


def share(folder: Path, cases: Sequence[Any]) -> None:
    """Say which cases will be asked about, so that one start of the processes serves them all."""
    _Shared.folder = folder
    _Shared.examples = []
    for case in cases:
        for example in optimizing.subjects(case.example):
            if example not in _Shared.examples:
                _Shared.examples.append(example)


def elsewhere(work: str, example: Example) -> Any:
    """Return the outcome of a piece of work on an example in another process, or in two."""
    if _Shared.folder is not None and example in _Shared.examples:
        with FileLock(_Shared.folder / "processes.lock"):
            outcomes = _Shared.folder / "processes"
            if not outcomes.exists():
                outcomes.mkdir()
                _start(outcomes, _Shared.examples)
        return _outcomes(outcomes)[_Shared.examples.index(example)][work]
    with tempfile.TemporaryDirectory() as folder:
        _start(Path(folder), [example])
        return _outcomes.__wrapped__(Path(folder))[0][work]


@functools.cache
def _outcomes(folder: Path) -> Any:
    first, second = (pickle.loads((folder / f"outcomes{rank}").read_bytes()) for rank in (0, 1))
    return [theirs | ours for ours, theirs in zip(first, second, strict=True)]


def _start(folder: Path, examples: Sequence[Example]) -> None:
    for number, example in enumerate(examples):
        params = optimizing.parameters(example)
        optimizer = optimizing.make(example, params)
        with contextlib.suppress(Exception):  # which other laws report
            optimizing.run(example, optimizer, params, STEPS)
            torch.save(
                [optimizer.state_dict(), [*map(Tensor.detach, params)]], folder / f"{number}"
            )
            whole = optimizing.run(example, optimizer, params, STEPS, start=STEPS)
            torch.save(whole, folder / f"{number}.whole")
    (folder / "examples").write_bytes(pickle.dumps(list(examples)))
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, "-m", "tests.laws.processes", str(folder)]
    logs = [folder / f"log{rank}" for rank in (0, 1)]
    pair = []
    for rank, log in enumerate(logs):
        with log.open("w") as out:
            pair.append(
                subprocess.Popen(
                    [*command, str(rank)], cwd=ROOT, env=environment, stdout=out, stderr=out
                )
            )
    codes = [process.wait() for process in pair]
    if any(codes):
        raise RuntimeError("\n".join(log.read_text() for log in logs))


def resume(example: Example, saved: Path) -> tuple[Tensor, Tensor]:
    """Go on where another process left a run; return where this and the other process end."""
    state, values = torch.load(saved, weights_only=True)
    params = [nn.Parameter(value) for value in values]
    optimizer = optimizing.make(example, params)
    optimizer.load_state_dict(state)
    resumed = optimizing.run(example, optimizer, params, STEPS, start=STEPS)
    return resumed, torch.load(saved.with_suffix(".whole"), weights_only=True)


def compiled(example: Example, saved: Path) -> Tensor:
    """Make steps with `compile=True`, traced but not translated to machine code."""
    compile_ = torch.compile

    def traced(function: Callable[..., None], **_: Any) -> Callable[..., None]:
        return compile_(function, dynamic=True, backend="aot_eager")

    with mock.patch("torch.compile", side_effect=traced) as called:
        params = optimizing.parameters(example)
        optimizer = optimizing.make(example, params, compile=True)
        result = optimizing.run(example, optimizer, params, STEPS)
        assert called.called, "compile=True compiles nothing"
    return result


def replicated(example: Example, saved: Path) -> Tensor:
    """Train with `DistributedDataParallel`, each process on its half of the batch."""
    model = network(example)
    net = nn.parallel.DistributedDataParallel(model)
    local = net.no_sync if "graph" in example.needs else contextlib.nullcontext
    return train(example, model, net, halved=True, local=local)


def sharded(example: Example, saved: Path) -> Tensor:
    """Train with `fully_shard`, each process on its half of the batch."""
    model = network(example)
    for layer in model:
        if list(layer.parameters()):
            fully_shard(layer)
    fully_shard(model)
    return train(example, model, model, halved=True)


ALONE, TOGETHER = (resume, compiled), (replicated, sharded)


def network(example: Example) -> nn.Sequential:
    """Return a small network; of matrices alone for a method that is for these."""
    torch.manual_seed(0)
    bias = example.inputs is None
    return nn.Sequential(nn.Linear(6, 4, bias=bias), nn.Tanh(), nn.Linear(4, 2, bias=bias)).double()


def train(
    example: Example,
    model: nn.Module,
    net: nn.Module,
    halved: bool = False,
    local: Callable[[], Any] = contextlib.nullcontext,
) -> Tensor:
    """Make steps on one batch, or on this process's half of it, and return the parameters."""
    generator = torch.Generator().manual_seed(1)
    inputs = torch.randn(8, 6, generator=generator, dtype=torch.float64)
    targets = torch.randn(8, 2, generator=generator, dtype=torch.float64)
    if halved:
        rank = distributed.get_rank()
        inputs, targets = inputs[rank::2], targets[rank::2]
    params = list(model.parameters())
    optimizer = optimizing.make(example, params)

    def loss() -> Tensor:
        return nn.functional.mse_loss(net(inputs), targets)

    def of(values: Sequence[Tensor]) -> Tensor:
        named = dict(zip(dict(model.named_parameters()), values, strict=True))
        outputs = torch.func.functional_call(model, named, (inputs,))
        return nn.functional.mse_loss(outputs, targets)

    def closure() -> Tensor:
        optimizer.zero_grad()
        with local():
            value = loss()
            value.backward(create_graph="graph" in example.needs)
        return value

    for _ in range(STEPS):
        if example.step is not None:
            example.step(optimizer, params, of)
        elif "closure" in example.needs:
            optimizer.step(closure)
        else:
            closure()
            optimizer.step()
    whole = [p.full_tensor() if hasattr(p, "full_tensor") else p for p in params]
    return optimizing.flat(whole)


def _main(folder: Path, rank: int) -> None:
    torch.set_num_threads(1)
    examples = pickle.loads((folder / "examples").read_bytes())
    outcomes = [
        {work.__name__: _attempt(work, example, folder / str(number)) for work in ALONE}
        if number % 2 == rank
        else {}
        for number, example in enumerate(examples)
    ]
    distributed.init_process_group(
        "gloo",
        init_method=f"file://{folder}/meeting",
        rank=rank,
        world_size=2,
        timeout=timedelta(minutes=5),
    )
    for example, outcome in zip(examples, outcomes, strict=True):
        outcome |= {work.__name__: _attempt(work, example, folder) for work in TOGETHER}
    (folder / f"outcomes{rank}").write_bytes(pickle.dumps(outcomes))
    distributed.barrier()
    distributed.destroy_process_group()


def _attempt(work: Callable[[Example, Path], Any], example: Example, saved: Path) -> Any:
    try:
        return work(example, saved)
    except Exception as error:
        return Failed(type(error).__name__, str(error))


if __name__ == "__main__":
    from tests.laws import processes  # whose classes, unlike those of `__main__`, can be pickled

    processes._main(Path(sys.argv[1]), int(sys.argv[2]))
