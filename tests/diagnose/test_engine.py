"""The engine: what is done with instruments, whatever they are."""

import json
from dataclasses import replace

import pytest
import torch
from torch import nn

from thalweg import TrainingProblem, UserError, diagnose
from thalweg.bench.budget import Budget
from thalweg.core.catalogue import catalogue
from thalweg.core.instrument import Instrument, Reading, Symptom
from thalweg.diagnosis import Interrupted, examine
from thalweg.diagnosis.diagnose import _length
from thalweg.papers.diagnostics import _memorization_reading
from thalweg.training import Subject, watch

INPUTS = torch.randn(120, 3, generator=torch.Generator().manual_seed(0))
FAULT = Symptom("x", "fault", "it is broken", "Seen.", "Certain.", "Much.", ("adamw",))


def toy(**changes):
    problem = TrainingProblem(
        "toy",
        model=lambda: nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4), nn.Linear(4, 2)),
        train=(INPUTS, (INPUTS[:, 0] > 0).long()),
        loss=nn.CrossEntropyLoss(),
        metric="accuracy",
        steps=20,
    )
    return replace(problem, **changes)


def instrument(name, read=lambda subject: Reading((FAULT,)), cost=0.0, needs=frozenset()):
    return Instrument(name, "Looks.", read, lambda subject: cost, "Anything.", frozenset(needs))


def stop(subject):
    raise KeyboardInterrupt


def fail(subject):
    raise RuntimeError("no\nluck")


@pytest.fixture
def known(monkeypatch):
    """Make the instruments that there are a dictionary of ours."""
    mine = {}

    def add(*several):
        mine.update({item.name: item for item in several})

    monkeypatch.setattr(examine, "instruments", lambda: mine)
    return add


def test_an_instrument_that_fails_leaves_the_rest_standing(known):
    known(instrument("bad", fail), instrument("good", cost=1e-9))
    found = diagnose(toy())
    bad, good = found.examinations
    assert (bad.outcome, good.outcome) == ("failed", "done")
    assert bad.reason == "it failed: RuntimeError: no luck"
    assert "Traceback" in bad.error
    assert found.verdict == "It is broken."


def test_the_cheapest_comes_first_and_what_does_not_fit_the_time_is_left_out(known):
    known(instrument("dear", cost=1e9), instrument("second", cost=1e-6), instrument("first"))
    lines = []
    found = diagnose(toy(), time="20s", say=lines.append)
    assert [item.instrument.name for item in found.examinations] == ["first", "second", "dear"]
    assert found.examinations[2].outcome == "no time"
    assert "give more with --time" in found.examinations[2].reason
    assert any(line.startswith("second: 1 finding") for line in lines)


def test_what_does_not_fit_the_subject_is_not_used(known):
    known(instrument("stepwise", needs={"steps", "gradient-descent"}))
    (item,) = diagnose(toy()).examinations
    assert (item.outcome, item.reason) == ("unfit", "it needs a run by plain gradient descent")


def test_what_was_found_before_an_interruption_is_kept(known):
    known(instrument("a"), instrument("b", stop, cost=1e-9), instrument("c", cost=1e-6))
    with pytest.raises(Interrupted) as stopped:
        diagnose(toy())
    found = stopped.value.diagnosis
    assert [item.outcome for item in found.examinations] == ["done", "interrupted", "interrupted"]
    assert found.interrupted
    assert found.symptoms == (FAULT,)
    assert json.loads(json.dumps(found.to_dict()))["counts"]["fault"] == 1


def test_a_diverged_run_is_read_by_those_who_need_no_weights(known):
    seen = []
    known(instrument("weights", needs={"model"}), instrument("any", lambda s: seen.append(s)))
    problem = toy(loss=lambda output, target: output.sum() * torch.inf)
    unfit, read = diagnose(problem).examinations
    assert (unfit.reason, read.outcome) == ("it needs finite weights", "failed")
    assert read.reason == "it failed: TypeError: it returned a NoneType, and should a Reading"
    assert seen[0].run.diverged


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        ({"only": "unitz"}, "did you mean 'units'"),
        ({"time": "soon"}, "write one like 90s"),
        ({"time": "30steps"}, "write one like 90s"),
        ({"budget": "soon"}, "write a number of steps"),
        ({"budget": "9steps", "checkpoint": "x.pt"}, "leave the budget out"),
        ({"recipe": "adamq"}, "did you mean 'adam'"),
        ({"device": "gpu"}, "write cpu, cuda or auto"),
        ({"checkpoint": "no.pt"}, "there is no checkpoint no.pt"),
        ({"problem": "transport"}, "is no training"),
    ],
)
def test_what_cannot_be_used_is_a_sentence(arguments, sentence):
    arguments = {"problem": toy()} | arguments
    with pytest.raises(UserError, match=sentence):
        diagnose(arguments.pop("problem"), **arguments)


def test_a_run_is_watched_step_by_step_and_can_be_replayed():
    subject = watch(toy(), catalogue().recipe("sgd(lr=0.1)+cosine"), seed=3)
    run = subject.run
    assert run.losses.shape == run.lrs.shape == (20,)
    assert run.gradients.shape == (20, len(run.names))
    assert run.lrs[0] > run.lrs[-1]
    *_, again = subject.replay()
    for name, tensor in subject.model.state_dict().items():
        torch.testing.assert_close(again.state_dict()[name], tensor, rtol=0, atol=0)
    start = next(subject.replay())
    assert all(torch.equal(run.initial[k], v) for k, v in start.state_dict().items())
    assert sum(1 for _ in subject.replay(steps=5)) == 6


def test_instruments_leave_the_model_and_the_random_numbers_as_they_were():
    subject = watch(toy(), catalogue().recipe("sgd"))
    before = {name: tensor.clone() for name, tensor in subject.model.state_dict().items()}
    state = torch.get_rng_state()
    done = list(examine.examine(subject, examine.choose(None), seconds=60))
    assert {item.outcome for item in done} <= {"done", "unfit"}
    assert torch.equal(torch.get_rng_state(), state)
    for name, tensor in subject.model.state_dict().items():
        assert torch.equal(before[name], tensor), name


def test_rows_of_a_data_set_come_with_their_positions():
    data = torch.utils.data.TensorDataset(INPUTS, (INPUTS[:, 0] > 0).long())
    subject = watch(toy(train=data, validation=data, test=data), catalogue().recipe("sgd"), steps=1)
    rows = subject.rows("train", 10)
    assert len(rows.index) == 10
    assert torch.equal(rows.input, INPUTS[rows.index])
    assert subject.n_classes == 2


def test_a_budget_of_seconds_becomes_steps():
    recipe = catalogue().recipe("sgd")
    assert _length(toy(), recipe, Budget(seconds=5.0), "cpu") > 30
    assert _length(toy(), recipe, Budget(steps=7), "cpu") == 7
    assert _length(toy(), recipe, Budget(), "cpu") == 20


def test_memorization_goes_on_from_a_store(monkeypatch, tmp_path):
    trained, train_on = [], Subject.train_on

    def counted(*given, **settings):
        trained.append(1)
        if len(trained) == 4:
            raise KeyboardInterrupt
        return train_on(*given, **settings)

    monkeypatch.setattr(Subject, "train_on", counted)
    monkeypatch.setattr(_memorization_reading, "ROUNDS", 25)
    settings = {"only": "memorization", "budget": "2steps", "store": str(tmp_path / "kept.sqlite3")}
    with pytest.raises(Interrupted):
        diagnose(toy(), **settings)
    (item,) = diagnose(toy(), **settings).examinations
    assert (item.outcome, len(trained)) == ("done", 4 + 22)
    diagnose(toy(), **settings | {"recipe": "sgd(lr=0.3)"})
    assert len(trained) == 4 + 22 + 25
