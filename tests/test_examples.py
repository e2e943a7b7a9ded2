"""Every example runs, and what it trains learns; those of a library need it installed."""

import csv
import importlib.util
import math
from pathlib import Path

import pytest

from examples import ddp, fsdp2, logging_run, mixed_precision, plain_pytorch
from thalweg import catalogue, load_problem

EXAMPLES = Path(__file__).parents[1] / "examples"


@pytest.mark.parametrize("example", [plain_pytorch, mixed_precision])
def test_a_loop_of_ones_own(example):
    assert example.main(epochs=3) > 0.6


def test_hugging_face_trainer(monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    pytest.importorskip("transformers", reason="needs pip install 'thalweg[hf]'")
    from examples import huggingface_trainer

    assert huggingface_trainer.main(steps=60) > 0.6  # 0.25 by chance


def test_lightning():
    pytest.importorskip("lightning", reason="needs pip install 'thalweg[lightning]'")
    from examples import lightning_module

    assert lightning_module.main(epochs=3) > 0.6


def test_two_processes():
    found = ddp.main(epochs=3)
    assert found.keys() == ddp.OPTIMIZERS.keys()
    assert min(found.values()) > 0.6


def test_sharded_parameters_and_the_method_that_refuses_them():
    found = fsdp2.main(epochs=3)
    assert found["accuracy"] > 0.6
    assert found["held"] == [32, 64]
    assert "train with DistributedDataParallel" in found["refusal"]


@pytest.mark.parametrize("with_board", [False, True])
def test_a_logged_run(with_board, tmp_path, monkeypatch):
    if with_board:
        pytest.importorskip("tensorboard", reason="needs pip install tensorboard")
    else:
        found = importlib.util.find_spec
        hidden = lambda name, *rest: None if name == "tensorboard" else found(name, *rest)  # noqa: E731
        monkeypatch.setattr(importlib.util, "find_spec", hidden)
    path = logging_run.main(tmp_path, steps=20)
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert [int(row["steps"]) for row in rows][:: len(rows) - 1] == [0, 20]
    watched, judged = list(rows[0])[-2:]
    assert float(rows[-1][watched]) > float(rows[0][watched])
    assert [bool(row[judged]) for row in rows] == [False] * (len(rows) - 1) + [True]
    assert bool(list(tmp_path.glob("events.out.tfevents.*"))) == with_board


@pytest.mark.parametrize("name", ["adamw", "adahessian"])
def test_a_task_of_ones_own_runs(name):
    problem = load_problem(f"{EXAMPLES / 'task.py'}:problem")
    points = list(problem.run(catalogue().recipe(name), 0, steps=20, device="cpu", final=True))
    assert points[-1].cost.steps == 20
    assert math.isfinite(points[-1].quality[problem.judged])
