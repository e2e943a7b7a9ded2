"""Every finding that an instrument can make is made, by a small training or a canned measurement.

What the planted faults of `cases` bring about is found in `test_cases`.
"""

import math
import re
from dataclasses import replace
from itertools import pairwise
from pathlib import Path
from types import SimpleNamespace

import pytest
import torch
from torch import nn

from tests.diagnose.cases import FAULTY
from tests.diagnose.test_engine import INPUTS, toy
from thalweg.core.catalogue import catalogue
from thalweg.core.instrument import SEVERITIES, Reading
from thalweg.diagnosis.examine import instruments
from thalweg.diagnosis.instruments import gap, learning_rate
from thalweg.diagnosis.instruments._charts import bars
from thalweg.diagnostics import (
    GradientCoherence,
    Memorization,
    OpposingGroups,
    generalization_bounds,
)
from thalweg.papers.data import _data_diet_reading as labels
from thalweg.papers.diagnostics import (
    _bound_audit_reading,
    _coherence_reading,
    _memorization_reading,
    _opposing_reading,
)
from thalweg.training import watch
from thalweg.training.batches import Batch
from thalweg.training.subject import Subject

CLASSES = (INPUTS[:, 0] > 0).long()


def read(name, subject):
    return instruments()[name].examine(subject)


def watched(recipe="sgd(lr=0.1)", steps=1, **changes):
    return watch(toy(**changes), catalogue().recipe(recipe), steps=steps)


def untrained(model, inputs=INPUTS, target=CLASSES):
    problem = toy(model=lambda: model, train=(inputs, target), validation=(inputs, target))
    return Subject(problem, model, catalogue().recipe("sgd"), steps=1)


def deep(scale, width=8, layers=6):
    """Return a constructor of ReLU nets whose weights have a scale."""

    def model():
        made = nn.Sequential()
        for before, after in pairwise((3, *[width] * layers, 2)):
            made.extend([nn.Linear(before, after), nn.ReLU()])
            nn.init.normal_(made[-2].weight, std=scale / before**0.5)
            nn.init.zeros_(made[-2].bias)
        return made[:-1]

    return model


def traced(losses, **changes):
    steps = len(losses)
    run = SimpleNamespace(losses=losses, gradients=torch.ones(steps, 2), diverged=False)
    return read("trace", SimpleNamespace(steps=steps, run=SimpleNamespace(**vars(run) | changes)))


def at_rates(**losses):
    factors = {"third": 1 / 3, "same": 1.0, "tenfold": 10.0}
    ends = {factors[name]: loss for name, loss in losses.items()}
    return Reading(learning_rate._symptoms(ends, start=2.0, rate=0.1, steps=20))


class Forgotten(nn.Module):
    """Has a layer that its forward pass does not use."""

    def __init__(self):
        super().__init__()
        self.used, self.unused = nn.Linear(3, 2), nn.Linear(3, 2)

    def forward(self, x):
        return self.used(x)


def overfitted():
    seen = Batch(INPUTS, CLASSES, None)
    right = nn.functional.one_hot(CLASSES, 2).double() * 9
    unseen = torch.where((torch.arange(120) % 3 == 0)[:, None], 9 - right, right)
    outputs = {"train": right, "validation": unseen}
    return gap.examine(
        SimpleNamespace(
            run=None,
            n_classes=2,
            loss=nn.CrossEntropyLoss(),
            rows=lambda split: seen,
            outputs=lambda split: outputs[split],
        )
    )


def stale_statistics():
    still = nn.Sequential(nn.Linear(3, 8), nn.BatchNorm1d(8, momentum=1e-9), nn.Linear(8, 2))
    nn.init.constant_(still[0].bias, 20.0)
    return read("modes", watched("adam(lr=0.05)", 40, model=lambda: still))


def coinciding():
    corners = torch.tensor([[4.0, 0, 0], [0, 4, 0], [0, 0, 4], [0, 0.2, 4]])
    target = torch.arange(120) % 4
    model = nn.Sequential(nn.Identity(), nn.Linear(3, 4))
    return read("features", untrained(model, corners[target] + INPUTS / 10, target))


def saddle():
    model = nn.Sequential(nn.Linear(3, 4, bias=False), nn.Linear(4, 2, bias=False))
    for p in model.parameters():
        nn.init.constant_(p, 1e-3)
    return read("curvature", untrained(model))


def at_the_edge():
    subject = watched(model=lambda: nn.Linear(3, 2))
    (table,) = read("curvature", subject).tables.values()
    rates = torch.tensor([2 * (1 + subject.run.settings["momentum"]) / table[0]["value"]])
    return read("curvature", replace(subject, run=replace(subject.run, lrs=rates)))


def above_curvature():
    subject = watched(model=lambda: nn.Linear(3, 2))
    rates = torch.tensor([1e6])
    return read("largest-rate", replace(subject, run=replace(subject.run, lrs=rates)))


def far_below():
    subject = watched("sgd(lr=0.0001)", 9)
    learned = replace(subject.run, losses=torch.linspace(1, 0.1, 9))
    return read("sharpness", replace(subject, run=learned))


def lost_label():
    model = nn.Sequential(nn.Linear(3, 4), nn.ReLU(), nn.Linear(4, 4), nn.ReLU(), nn.Linear(4, 2))
    nn.init.constant_(model[2].bias, -99.0)
    reading = read("information", watched(steps=3, model=lambda: model))
    assert reading.symptoms[0].title == "layer 3 loses 100% of what tells the label"
    return reading


def incoherent(monkeypatch):
    measured = GradientCoherence(1 / 120, 120, ("0",), torch.ones(1) / 120, torch.ones(1))
    monkeypatch.setattr(_coherence_reading, "gradient_coherence", lambda *given: measured)
    subject = untrained(nn.Linear(3, 2))
    run = SimpleNamespace(losses=torch.linspace(1, 0.1, 50))
    return _coherence_reading.read_coherence(
        SimpleNamespace(
            run=run,
            rows=subject.rows,
            loss=subject.loss,
            replay=lambda: [subject.model] * 20,
        )
    )


def opposing(monkeypatch):
    changes = torch.zeros(120).double()
    changes[:4] = torch.tensor([3.0, 2, -2, -1])
    up, down = torch.tensor([0, 1]), torch.tensor([3, 2])
    losses = torch.tensor([1.0, 1.5, 1.2]).double()
    group = torch.stack([losses, losses.flip(0)])
    measured = OpposingGroups(up, down, 1, 0.5, -0.9, group, losses, changes, torch.zeros(0))
    monkeypatch.setattr(_opposing_reading, "opposing_groups", lambda *given, **settings: measured)
    return read("spikes", watched())


def memorised(monkeypatch):
    scores = torch.linspace(1, -0.2, 120).double()
    right = torch.ones(40, 120, dtype=torch.bool)
    measured = Memorization(scores, scores - 0.5, scores + 0.5, right, right)
    made = "memorization_scores"
    monkeypatch.setattr(_memorization_reading, made, lambda *given, **settings: measured)
    reading = read("memorization", untrained(nn.Linear(3, 2)))
    (listed,) = reading.tables.values()
    assert [row["row"] for row in listed] == list(range(40))
    return reading


def guaranteed(monkeypatch):
    def tight(*given, **settings):
        found = generalization_bounds(*given, **settings)
        return replace(found, bounds=dict.fromkeys(found.bounds, 1.0) | {"PAC-Bayes": 0.2})

    monkeypatch.setattr(_bound_audit_reading, "generalization_bounds", tight)
    return read("bounds", watched())


FINDINGS = {
    "diverged": ("fault", lambda: traced(torch.ones(9), diverged=True)),
    "no-learning": ("fault", lambda: traced(torch.ones(50))),
    "still-falling": ("note", lambda: traced(torch.linspace(2, 1, 50))),
    "rate-too-low": ("fault", lambda: at_rates(third=1.9, same=1.5, tenfold=0.1)),
    "rate-too-high": ("warning", lambda: at_rates(third=0.1, same=1.5, tenfold=9.0)),
    "wrong-labels": ("fault", lambda: Reading((labels._symptom(9, 100, 0.99, 0.9),))),
    "hard-samples": ("note", lambda: Reading((labels._symptom(2, 100, 0.99, 0.9),))),
    "unmoved-parameters": ("warning", lambda: read("layers", watched(model=Forgotten))),
    "overfitting": ("warning", overfitted),
    "modes-disagree": ("fault", stale_statistics),
    "exploding-activations": ("fault", lambda: read("depth", watched(model=deep(9)))),
    "vanishing-activations": ("fault", lambda: read("depth", watched(model=deep(0.1)))),
    "exploding-gradients": ("warning", lambda: read("start", watched(model=deep(9)))),
    "vanishing-gradients": ("warning", lambda: read("start", watched(model=deep(0.1)))),
    "deep-for-width": ("note", lambda: read("start", watched(model=deep(1, width=3)))),
    "coinciding-classes": ("note", coinciding),
    "saddle": ("note", saddle),
    "edge-of-stability": ("note", at_the_edge),
    "rate-above-curvature": ("note", above_curvature),
    "far-below-the-edge": ("note", far_below),
    "lazy-training": ("note", lambda: read("kernel", watched("sgd(lr=0.0001)"))),
    "lost-label": ("note", lost_label),
}
MEASURED = {
    "incoherent-gradients": ("fault", incoherent),
    "opposing-signals": ("note", opposing),
    "memorised-samples": ("note", memorised),
    "guaranteed-error": ("note", guaranteed),
}


def check(reading, name, severity):
    found = {symptom.name: symptom for symptom in reading.symptoms}
    assert name in found
    assert found[name].severity == severity
    for part in (found[name].title, found[name].evidence, found[name].sure, found[name].meaning):
        assert part
        assert "nan" not in part
    for chart in reading.charts.values():
        chart.to_dict()


@pytest.mark.parametrize("name", FINDINGS)
def test_it_is_found(name):
    severity, make = FINDINGS[name]
    check(make(), name, severity)


@pytest.mark.parametrize("name", MEASURED)
def test_it_is_found_where_it_was_measured(name, monkeypatch):
    severity, make = MEASURED[name]
    check(make(monkeypatch), name, severity)


def test_the_documentation_names_every_finding_and_a_test_makes_it():
    text = (Path(__file__).parents[2] / "docs" / "diagnose.md").read_text()
    table = re.findall(r"^\| `([a-z-]+)` \| .* \| (.*?) ?\|$", text, re.MULTILINE)
    assert {name for name, _ in table} == set(instruments())
    named = {name for _, names in table for name in re.findall(r"`([a-z-]+)`", names)}
    assert named == {*FINDINGS, *MEASURED, *(case.expected for case in FAULTY)}
    assert all(severity in SEVERITIES for severity, _ in (*FINDINGS.values(), *MEASURED.values()))


def test_the_worst_mistakes_are_shown():
    torch.manual_seed(0)
    images = INPUTS[:60].reshape(20, 1, 3, 3)
    model = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1), nn.Flatten(), nn.Linear(18, 2))
    subject = untrained(model, images, torch.arange(20) % 2)
    assert "images" in subject.offers
    reading = read("mistakes", subject)
    (rows,) = reading.tables.values()
    assert all(row["label"] != row["taken for"] for row in rows)
    assert [row["loss"] for row in rows] == sorted((row["loss"] for row in rows), reverse=True)
    assert math.isfinite(rows[0]["loss"])
    (chart,) = reading.charts.values()
    chart.to_dict()


def test_bars_over_decades_begin_at_zero():
    rows = [{"layer": "a", "moved": 0.0}, {"layer": "b", "moved": 0.02}]
    near, far = ([*rows, {"layer": "c", "moved": value}] for value in (1.5, 300.0))
    assert "scale" not in bars(near, "layer", "moved", log=True).to_dict()["encoding"]["x"]
    axis = bars(far, "layer", "moved", log=True).to_dict()["encoding"]["x"]
    assert axis["scale"] == {"type": "symlog", "constant": 0.01}
    assert axis["axis"]["values"] == pytest.approx([0, 0.01, 0.1, 1, 10, 100])
