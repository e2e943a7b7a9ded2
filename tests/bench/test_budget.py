import pytest

from tests.bench.racing import Inline, comparison, log_of, outcomes, race
from tests.bench.tiny import FAILS, FAIR, GOOD, Tiny
from thalweg.bench.budget import CALIBRATION_STEPS, Budget, affordable_steps
from thalweg.bench.work import Record
from thalweg.core.trace import Cost, Point, Trace


@pytest.mark.parametrize(
    ("text", "steps", "seconds", "written"),
    [
        (None, None, None, "the problem's own"),
        ("5000steps", 5000, None, "5000 steps"),
        ("5000 steps", 5000, None, "5000 steps"),
        ("1step", 1, None, "1 steps"),
        (" 90s ", None, 90.0, "90 seconds"),
        ("2m", None, 120.0, "120 seconds"),
        ("1.5h", None, 5400.0, "5400 seconds"),
        ("0.5 s", None, 0.5, "0.5 seconds"),
    ],
)
def test_a_budget_is_read(text, steps, seconds, written):
    budget = Budget.parse(text)
    assert budget == Budget(steps, seconds)
    assert str(budget) == written


@pytest.mark.parametrize(
    "text",
    [
        "",
        "5000",
        "0s",
        "0steps",
        "-1s",
        "1.5steps",
        "2 minutes",
        "1e3s",
        "nan s",
        "1h30m",
        "s",
    ],
)
def test_what_cannot_be_read_is_a_sentence(text):
    with pytest.raises(ValueError, match=r"cannot read the budget .*like 5000steps, or a time"):
        Budget.parse(text)


def calibration(*points, outcome="finished"):
    return Record(Trace(tuple(Point(cost, {}) for cost in points), outcome), "", "", 0.0, 0.0)


def test_steps_are_afforded_by_the_speed_after_the_first_step():
    measured = calibration(Cost(), Cost(steps=31, seconds=5.0, startup=2.0))  # 0.1 s a step
    assert affordable_steps(measured.trace, 12.0) == 101
    assert affordable_steps(measured.trace, 22.0) == 201
    assert affordable_steps(measured.trace, 2.5) == 6
    assert affordable_steps(measured.trace, 1.0) == 1  # a run has a step, however long it takes


@pytest.mark.parametrize(
    "measured",
    [
        calibration(),
        calibration(Cost()),
        calibration(Cost(steps=1, seconds=1.0, startup=1.0)),
        calibration(Cost(steps=30)),
        calibration(Cost(steps=30, seconds=3.0), outcome="failed"),
    ],
    ids=["no points", "no steps", "one step", "no seconds", "failed"],
)
def test_what_cannot_be_measured_is_judged_by_a_short_run(measured):
    assert affordable_steps(measured.trace, 60.0) == CALIBRATION_STEPS


def carry(path, log, budget, per_step=2**-7):
    problem = Tiny(log=str(log), per_step=per_step)
    plan = comparison(problem, [GOOD, FAIR], trials=1, seeds=1, budget=budget)
    engine = Inline(problem)
    carried = race(plan, path, engine)
    assert carried.missing == 0
    assert {run.lane for run in carried.runs} == {"tuned", "tuning", "defaults"}
    return carried, engine


def test_a_budget_in_seconds_becomes_steps_by_a_calibration_that_is_kept(path, folder):
    log = folder / "log"
    carried, engine = carry(path, log, "2s")
    short = [job for job in engine.begun if job.steps == CALIBRATION_STEPS]
    assert sorted(job.recipe.ingredients[0].method.name for job in short) == ["fair", "good"]
    assert not any(job.final for job in short)
    assert {job.steps for job in engine.begun} == {CALIBRATION_STEPS, 256}
    assert {run.trace.points[-1].cost.steps for run in carried.runs} == {256}
    # The machine may have become ten times slower: what was begun goes on as it began.
    again, engine = carry(path, log, "2s", per_step=2**-4)
    assert engine.begun == []
    assert outcomes(again.runs) == outcomes(carried.runs)
    assert set(log_of(log).values()) == {1}
    # Twice the time is twice the steps, without another calibration.
    carried, engine = carry(path, log, "4s")
    assert {job.steps for job in engine.begun} == {512}


def test_each_contender_has_steps_of_its_own_speed(path):
    class Uneven(Tiny):
        def run(self, recipe, *arguments, **settings):
            slowness = 2 if "fair" in str(recipe) else 1
            for point in super().run(recipe, *arguments, **settings):
                steps = point.cost.steps
                yield Point(Cost(steps=steps, seconds=slowness * 0.01 * steps), point.quality)

    problem = Uneven()
    plan = comparison(problem, [GOOD, FAIR], trials=0, seeds=1, budget="1s")
    steps = {run.contender: run.steps for run in race(plan, path, Inline(problem)).runs}
    assert steps == {"good": pytest.approx(100, abs=4), "fair": pytest.approx(50, abs=2)}


def test_a_contender_that_fails_at_once_is_raced_to_its_end(path):
    plan = comparison(Tiny(), [GOOD, FAILS], trials=1, seeds=1, budget="1s")
    carried = race(plan, path, Inline(Tiny()))
    assert carried.missing == 0
    failed = [run for run in carried.runs if run.contender == "fails"]
    assert {(run.steps, run.trace.outcome) for run in failed} == {(CALIBRATION_STEPS, "failed")}
