"""What the difficulty of samples and neural collapse cost, next to traintools, in one run.

    python benchmarks/diagnostics.py [--rounds 5] [--threads 1] [--json]

traintools (its repository on PYTHONPATH) takes the outputs and features that a user has collected,
thalweg a model and its data: the peer's time therefore has a plain forward pass in it, of the same
batches. `apart` is the largest difference of a score from the peer's; the two measure collapse by
other formulas, so that there only costs compare. Nothing else of the two overlaps: its gradient
noise and confusion are of batches, not of samples, and it has no curvature and no kernel.
"""

import argparse
import importlib.util
import sys
from collections.abc import Callable
from statistics import median

import torch
from grand import BATCH, SAMPLES, conv_net, mlp
from side_by_side import ratio, show, take_turns
from torch import Tensor, nn

from thalweg.data import el2n_scores
from thalweg.diagnostics import neural_collapse


def contenders(
    model: nn.Sequential, inputs: Tensor, target: Tensor
) -> dict[str, dict[str, Callable[[], object]]]:
    from traintools.collapse import NeuralCollapseMonitor
    from traintools.importance import el2n_scores as their_scores

    @torch.no_grad()
    def difficulty() -> Tensor:
        return torch.cat(
            [
                their_scores(model(x), y)
                for x, y in zip(inputs.split(BATCH), target.split(BATCH), strict=True)
            ]
        )

    @torch.no_grad()
    def collapse() -> object:
        features = torch.cat([model[:-1](x) for x in inputs.split(BATCH)])
        return NeuralCollapseMonitor().measure(features, target, classifier_weight=model[-1].weight)

    data = inputs, target
    return {
        "difficulty (EL2N)": {
            "thalweg": lambda: el2n_scores(model, data, batch_size=BATCH),
            "traintools": difficulty,
        },
        "neural collapse": {
            "thalweg": lambda: neural_collapse(model, data, batch_size=BATCH),
            "traintools": collapse,
        },
    }


def measure(runs: dict[str, Callable[[], object]], rounds: int) -> dict[str, dict[str, float]]:
    seconds = take_turns(runs, rounds)
    found = {name: run() for name, run in runs.items()}
    scores = [value for value in found.values() if isinstance(value, Tensor)]
    apart = {"apart": float((scores[0].cpu() - scores[1]).abs().max())} if scores else {}
    return {
        name: {"ms": 1e3 * median(times), "to thalweg": ratio(times, seconds["thalweg"]), **apart}
        for name, times in seconds.items()
    }


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    if importlib.util.find_spec("traintools") is None:
        sys.exit("traintools is not installed; nothing to compare with")
    torch.set_num_threads(options.threads)
    results = {}
    for name, make in {"MLP": mlp, "conv net": conv_net}.items():
        torch.manual_seed(0)
        model, inputs = make().eval(), torch.randn(SAMPLES, 64)
        target = torch.arange(SAMPLES) % 10
        for what, runs in contenders(model, inputs, target).items():
            results[f"{what}, {name}, {SAMPLES} samples"] = measure(runs, options.rounds)
    show(results, options.json)


if __name__ == "__main__":
    main()
