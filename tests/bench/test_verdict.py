import re
from dataclasses import asdict, replace

import pytest

from tests.bench.tiny import Tiny
from thalweg.bench import compare as comparing
from thalweg.bench import wording
from thalweg.bench.results import ProblemFacts, Results, Run
from thalweg.bench.statistics import SpeedRatio
from thalweg.core.trace import Cost, Point, Trace
from thalweg.problems.loading import load_problem

FACTS = ProblemFacts(
    name="toy",
    description="a toy",
    kind="training",
    metric="accuracy",
    better="higher",
    margin=0.005,
    percent=True,
    progress="validation/accuracy",
    judged="test/accuracy",
    target=0.9,
    steps=100,
    source="0",
)
SHAKE = [0.0, 0.002, -0.001, 0.003, -0.002, 0.001, 0.0015, -0.0015, 0.0025, -0.0025]


def race(finals, reached_at=None, *, outcome="finished", problem=FACTS, lane="tuned"):
    """Make results from each contender's final value and the step at which it met the target."""
    runs = []
    for contender, value in finals.items():
        reach = (reached_at or {}).get(contender, 50)
        for number in range(10):
            final = value + SHAKE[(number * (len(contender) + 2)) % 10]
            points = [
                Point(Cost(), {problem.progress: 0.1}),
                Point(Cost(reach, seconds=reach / 10, gradients=reach), {problem.progress: 0.95}),
                Point(
                    Cost(100, seconds=10.0, gradients=100),
                    {problem.progress: 0.95, problem.judged: final},
                ),
            ]
            ended = outcome if contender != "adamw" else "finished"
            trace = Trace(tuple(points), ended)
            place = {"problem": problem.name, "contender": contender, "lane": lane}
            runs.append(
                Run(
                    **place,
                    number=number,
                    parameters={},
                    recipe=contender,
                    seed=number,
                    steps=100,
                    trace=trace,
                    fingerprint="",
                    machine="",
                    key="",
                )
            )
    return Results((problem,), tuple(finals), tuple(runs), {})


def verdict(*arguments, **settings):
    return race(*arguments, **settings).verdict.splitlines()


def test_a_better_contender_is_called_so_with_its_uncertainty():
    headline, sentence = verdict({"adamw": 0.95, "sgd": 0.97}, {"sgd": 25})
    assert (
        headline
        == "On toy, tuned alike, in final accuracy (adamw: 95.0 %): better than adamw: sgd."
    )
    assert "sgd reaches 90.0 % in 0.50x (0.50 to 0.50) the steps and 0.50x" in sentence
    assert re.search(
        r"its final accuracy is better \(difference \+2\.0 points, "
        r"95 % interval \+1\.\d to \+2\.\d, "
        r"p = 0\.002 after Holm's correction\)\.$",
        sentence,
    )


def test_a_worse_one_too_and_for_a_metric_that_falls():
    assert "worse than adamw: sgd" in verdict({"adamw": 0.95, "sgd": 0.93})[0]
    falling = replace(FACTS, better="lower", percent=False, metric="loss", target=None)
    assert "better than adamw: sgd" in verdict({"adamw": 0.95, "sgd": 0.93}, problem=falling)[0]


def test_no_difference_is_a_verdict():
    _, sentence = verdict({"adamw": 0.95, "sgd": 0.9505})
    assert "is equivalent within 0.5 points" in sentence


def test_runs_that_fail_rank_worst_and_are_told():
    results = race({"adamw": 0.95, "sgd": 0.99}, outcome="diverged")
    assert "worse than adamw: sgd" in results.verdict
    assert "no interval where runs failed" in results.verdict
    (warning,) = results.analysis.problems[0].warnings
    assert warning == "10 of 10 runs of sgd (tuned) on toy ended with: diverged; they rank worst."
    row = results.table.set_index("contender").loc["sgd"]
    assert row["median"] == float("-inf")


def test_runs_that_miss_the_target_are_counted():
    missed = race({"adamw": 0.95, "sgd": 0.95}, {"adamw": 50, "sgd": 50})
    problem = replace(FACTS, target=0.99)
    results = Results((problem,), missed.contenders, missed.runs, {})
    assert "sgd reaches 99.0 % in 0 of 10 runs, adamw in 0 of 10" in results.verdict
    assert results.table["steps to target"].tolist() == [float("inf")] * 2


def test_without_a_target_the_baselines_median_is_it():
    problem = replace(FACTS, target=None)
    shown = race({"adamw": 0.95, "sgd": 0.95})
    results = Results((problem,), shown.contenders, shown.runs, {})
    analysis = results.analysis.problems[0]
    assert analysis.target == 0.95
    assert analysis.target_origin == "median final value of the tuned baseline"


def test_one_contender_or_none_has_a_verdict_still():
    assert verdict({"adamw": 0.95}) == [
        "On toy, tuned alike, adamw ends at 95.0 % accuracy (median)."
    ]
    nothing = Results((FACTS,), ("adamw",), (), {})
    assert "no final run of adamw, the baseline, has been made yet" in nothing.verdict


def test_only_common_replicates_are_compared():
    whole = race({"adamw": 0.95, "sgd": 0.97})
    kept = tuple(run for run in whole.runs if run.contender == "adamw" or run.number < 7)
    effect = (
        Results((FACTS,), whole.contenders, kept, {})
        .analysis.problems[0]
        .standings["tuned"][1]
        .effect
    )
    assert effect.n == 7


def test_several_problems_have_performance_profiles():
    first = race({"adamw": 0.95, "sgd": 0.95}, {"sgd": 25})
    other = replace(FACTS, name="other")
    second = race({"adamw": 0.95, "sgd": 0.95}, {"sgd": 100}, problem=other)
    results = Results((FACTS, other), first.contenders, first.runs + second.runs, {})
    profile = results.analysis.profiles["steps"]
    assert profile["sgd"].share[0] == 0.5
    assert profile["adamw"].area == pytest.approx((0.5 * 2 / 3) + 0.5)
    assert len(results.verdict.split("\n\n")) == 2


SOLVED = replace(FACTS, decides="seconds")


def test_where_the_cost_decides_it_leads_the_verdict():
    at = {"adamw": 100, "sgd": 25, "adagrad": 100}
    same = dict.fromkeys(at, 0.95)
    headline, cheap, _ = verdict(same, at, problem=SOLVED)
    assert headline == (
        "On toy, tuned alike, in seconds to reach 90.0 % (adamw: 10 s): cheaper than adamw: sgd at "
        "0.25x (0.25 to 0.25); as dear as adamw: adagrad at 1.00x (1.00 to 1.00)."
    )
    assert "of adamw (in seconds p = 0.004 after Holm's correction); its final acc" in cheap
    assert (
        "dearer than sgd: adamw at 4.00x"
        in verdict({"sgd": 0.95, "adamw": 0.95}, at, problem=SOLVED)[0]
    )
    table = race(same, at, problem=SOLVED).table.set_index("contender")
    assert table["verdict"].to_dict() == {
        "adamw": "baseline",
        "sgd": "better",
        "adagrad": "equivalent",
    }
    assert "in final accuracy" in verdict(same, at)[0]


def test_a_miss_costs_more_than_anything():
    at = {"adamw": 50, "sgd": 50}
    shown = race({"adamw": 0.95, "sgd": 0.95}, at, problem=SOLVED)
    runs = [
        replace(run, trace=Trace((run.trace.points[0],))) if run.contender == "sgd" else run
        for run in shown.runs
    ]
    results = Results((SOLVED,), shown.contenders, tuple(runs), {})
    assert "dearer than adamw: sgd." in results.verdict
    assert "sgd reaches 90.0 % in 0 of 10 runs, adamw in 10 of 10 (in seconds p" in results.verdict


def test_where_nobody_reaches_the_target_quality_decides():
    problem = replace(SOLVED, target=0.99)
    headline = verdict({"adamw": 0.95, "sgd": 0.97}, problem=problem)[0]
    assert "in final accuracy (adamw: 95.0 %): better than adamw: sgd." in headline


def test_costs_that_were_not_spent_are_not_compared():
    shown = race({"adamw": 0.95, "sgd": 0.95})

    def without_gradients(run):
        points = [
            Point(replace(point.cost, gradients=0, functions=7), point.quality)
            for point in run.trace.points
        ]
        return replace(run, trace=Trace(tuple(points)))

    for spared in ({"sgd"}, {"adamw", "sgd"}):
        runs = [without_gradients(run) if run.contender in spared else run for run in shown.runs]
        (analysis,) = Results((FACTS,), shown.contenders, tuple(runs), {}).analysis.problems
        both = ("functions",) if len(spared) == 2 else ()
        assert analysis.costs == ("steps", "seconds", *both)
        assert set(analysis.standings["tuned"][1].ratios) == set(analysis.costs)


def test_who_has_nothing_to_tune_stands_in_the_tuned_lane_as_it_is():
    plain = race({"adamw": 0.95}, lane="defaults")
    tuned = race({"sgd": 0.97})
    settings = {"spaces": {"adamw": {}, "sgd": {"lr": [1, 2]}}}
    results = Results((FACTS,), ("adamw", "sgd"), plain.runs + tuned.runs, settings)
    assert "tuned alike, in final accuracy (adamw: 95.0 %): better than adamw: sgd" in (
        results.verdict
    )


def test_a_problem_says_what_decides():
    def decides(problem):
        return comparing._facts(problem).decides

    assert decides(load_problem("transport")) == "seconds"
    assert decides(load_problem("quadratic")) == "quality"
    assert decides(Tiny()) == "quality"


def test_facts_from_before_there_was_a_choice_are_read():
    old = {name: value for name, value in asdict(FACTS).items() if name != "decides"}
    assert ProblemFacts(**old) == FACTS


def test_small_ratios_keep_their_digits():
    assert wording.speed(SpeedRatio(0.00141, 0.000731, 0.0317)) == "0.0014x (0.00073 to 0.032)"
    assert wording.speed(SpeedRatio(0.61, 0.52, 12.34)) == "0.61x (0.52 to 12.3)"
    assert wording.speed(SpeedRatio(0.05, 0.0, 0.1)) == "0.050x (at most 0.10)"
