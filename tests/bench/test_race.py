import json
import os
import signal
import time
from collections import Counter
from dataclasses import replace

import pytest
import torch
from torch import nn

import thalweg.bench.store
from tests.bench.racing import (
    Inline,
    answer,
    assert_gone,
    comparison,
    log_of,
    outcomes,
    race,
    recipe,
    start,
    wait_for,
    workers_of,
)
from tests.bench.tiny import DIVERGES, FAILS, FAIR, GOOD, HUNGRY, POOR, QUITS, Tiny
from thalweg.bench import comparison as comparison_module
from thalweg.bench.comparison import Race
from thalweg.bench.store import Store
from thalweg.core.catalogue import catalogue
from thalweg.core.method import Choice, Interval, Method
from thalweg.core.problem import Metric, Problem
from thalweg.training import TrainingProblem

TINY = Tiny()
PLAN = comparison(TINY, [GOOD, FAIR])
CONTENDER = PLAN.size // 2


def carry(plan, path, problem=TINY, **settings):
    """Carry out; return the runs, and how many had to be made."""
    engine = Inline(problem, **settings)
    carried = race(plan, path, engine)
    assert carried.missing == 0
    return outcomes(carried.runs), len(engine.begun)


def read(plan, path):
    store = Store(str(path))
    try:
        return Race(plan, store).read()
    finally:
        store.close()


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory):
    return carry(PLAN, tmp_path_factory.mktemp("undisturbed") / "runs.sqlite3")


def test_the_tiny_problem_is_one():
    assert isinstance(TINY, Problem)


def test_a_race_has_both_lanes_and_equal_trials(undisturbed):
    runs, made = undisturbed
    assert made == len(runs) == PLAN.size == 2 * (2 + 3 + 2)
    expected = Counter({"defaults": 2, "tuning": 3, "tuned": 2})
    for contender in ("good", "fair"):
        lanes = [place.split()[1] for place in runs if place.startswith(contender)]
        assert Counter(lanes) == expected
    assert all(outcome == "finished" for _, _, outcome, _ in runs.values())


# What a run is known by


def test_the_same_race_again_makes_no_run(path):
    first, made = carry(PLAN, path)
    assert made == PLAN.size
    assert carry(PLAN, path) == (first, 0)
    assert outcomes(read(PLAN, path)) == first


def test_more_seeds_contenders_or_trials_make_only_what_is_missing(path):
    carry(PLAN, path)
    _, made = carry(replace(PLAN, seeds=4), path)
    assert made == 2 * 2 * 2  # contenders x lanes x new seeds
    three = comparison(TINY, [GOOD, FAIR, POOR])
    _, made = carry(three, path)
    assert made == CONTENDER
    _, made = carry(replace(three, trials=5), path)
    assert 3 * 2 <= made <= 3 * (2 + 2)  # new trials, and new final runs where they found better
    assert carry(PLAN, path)[1] == 0


def test_whatever_changes_a_run_makes_a_new_one(path):
    seen = set()
    for problem, recipes, settings in (
        (TINY, [GOOD], {}),
        (Tiny(text="other"), [GOOD], {}),
        (Tiny(name="another"), [GOOD], {}),
        (TINY, [GOOD], {"seed": 1}),
        (TINY, [GOOD], {"budget": "20steps"}),
        (TINY, [FAIR], {}),
        (TINY, [recipe(GOOD, lr=0.5)], {}),
        (TINY, [recipe(GOOD, lr=0.5, betas=(0.5, 0.9))], {}),
    ):
        plan = comparison(problem, recipes, trials=2, seeds=1, **settings)
        _, made = carry(plan, path, problem)
        keys = {run.key for run in read(plan, path)}
        assert made == len(keys) >= 1
        assert keys.isdisjoint(seen)
        seen |= keys
    assert carry(comparison(TINY, [GOOD], trials=2, seeds=1), path)[1] == 0


def test_a_new_version_makes_new_runs(path, monkeypatch):
    plan = comparison(TINY, [GOOD], trials=0)
    carry(plan, path)
    monkeypatch.setattr(comparison_module, "versions", lambda: "thalweg 99, torch 99")
    assert carry(plan, path)[1] == plan.size


def test_a_run_on_another_device_is_another_but_the_gpus_number_does_not_matter():
    def keys(device):
        plan = replace(PLAN, device=device)
        return {wish.job.key for wish in next(plan.flow(plan.problems[0], "good"))}

    assert keys("cpu").isdisjoint(keys("cuda"))
    assert keys("cuda:0") == keys("cuda:1")


@pytest.mark.parametrize("order", [1, -1])
def test_equal_contenders_share_their_runs(path, order):
    written = [recipe(GOOD), recipe(GOOD, lr=0.1), recipe(GOOD, lr=0.1, betas=(0.9, 0.99))][::order]
    plan = comparison(TINY, written, trials=0)
    runs, made = carry(plan, path)
    assert (made, len(runs)) == (2, 6)
    assert carry(plan, path) == (runs, 0)
    assert outcomes(read(plan, path)) == runs
    assert carry(comparison(TINY, written[:1], trials=0), path)[1] == 0


def test_the_tuned_runs_are_the_default_ones_where_no_trial_was_better(path):
    runs, made = carry(comparison(TINY, [GOOD], trials=1), path)
    assert (made, len(runs)) == (2 + 1, 2 + 1 + 2)


def test_a_method_whose_search_space_was_changed_is_raced_on(path):
    def plan(**space):
        method = replace(GOOD, space={**GOOD.space, **space})
        return comparison(TINY, [method], trials=1, seeds=1)

    carry(plan(), path)
    for changed in (
        plan(lr=Interval(1e-3, 1.0)),
        plan(lr=Choice((0.1, 0.2))),
        plan(betas=Choice(((0.9, 0.99), (0.8, 0.9), (0.5, 0.9)))),
    ):
        _, made = carry(changed, path)
        assert made >= 1


def test_a_long_recipe_can_be_stored(path):
    long = Method("long", "Long.", lambda text: lambda noise, t: t, {"text": ""}, kind="tiny")
    plan = comparison(TINY, [recipe(long, text="x" * 3000)], seeds=1)
    assert carry(plan, path)[1] == 1
    assert carry(plan, path)[1] == 0


# The order in which runs end


@pytest.mark.parametrize("shuffle", range(2))
def test_results_do_not_depend_on_how_many_run_side_by_side(path, undisturbed, shuffle):
    assert carry(PLAN, path, jobs=2 + shuffle, shuffle=shuffle) == undisturbed


def test_contenders_take_turns(path):
    engine = Inline(TINY)
    race(comparison(TINY, [GOOD, FAIR, POOR], trials=0, seeds=4), path, engine)
    replicates = [job.seed for job in engine.begun]
    assert all(len(set(replicates[i : i + 3])) == 1 for i in range(0, 12, 3))
    orders = {
        tuple(job.recipe.ingredients[0].method.name for job in engine.begun[i : i + 3])
        for i in range(0, 12, 3)
    }
    assert len(orders) > 1


# Seeds and data


def test_replicates_share_their_seed_over_contenders_and_lanes_and_no_trial_has_it(undisturbed):
    runs, _ = undisturbed
    seeds = {}
    for place, (_, seed, _, _) in runs.items():
        _, lane, number = place.split()
        group = "trials" if lane == "tuning" else f"replicate {number}"
        seeds.setdefault(group, set()).add(seed)
    assert set(seeds) == {"trials", "replicate 0", "replicate 1"}
    assert all(len(found) == 1 for found in seeds.values())
    assert len(set.union(*seeds.values())) == 3


def test_test_data_is_touched_once_by_a_final_run_and_by_no_other(path):
    touched = Counter()

    class Watched(torch.utils.data.Dataset):
        def __init__(self, name):
            self.name = name

        def __len__(self):
            return 4

        def __getitem__(self, index):
            touched[self.name] += 1
            return torch.tensor([float(index)]), torch.tensor([2.0 * index])

    problem = TrainingProblem(
        "line",
        model=lambda: nn.Linear(1, 1),
        train=Watched("train"),
        validation=Watched("validation"),
        test=Watched("test"),
        loss=nn.MSELoss(),
        metric=Metric("error", "lower", 0.1, lambda output, target: (output - target).abs().max()),
        batch_size=2,
        steps=4,
        evaluations=2,
    )
    adamw = catalogue().recipe("adamw")
    for method in problem.contenders[:2]:
        problem.check(catalogue().recipe(method))
    assert touched.pop("test", 0) == 0
    plan = comparison(problem, [adamw], trials=3, seeds=2)
    engine = Inline(problem)
    ends = []
    carried = race(plan, path, engine, lambda progress: ends.append(touched["test"]))
    finals = [run for run in carried.runs if run.lane != "tuning"]
    assert touched["test"] == 4 * len({run.key for run in finals})
    judged = ["test/error" in run.trace.points[-1].quality for run in carried.runs]
    assert judged == [run.lane != "tuning" for run in carried.runs]
    race(plan, path, Inline(problem))
    assert touched["test"] == ends[-1]


# Outcomes


def test_a_run_that_fails_is_an_outcome_and_is_tried_again(path):
    plan = comparison(TINY, [GOOD, FAILS], trials=2)
    for _ in range(2):
        engine = Inline(TINY)
        carried = race(plan, path, engine)
        failed = [run for run in carried.runs if run.contender == "fails"]
        assert {run.trace.outcome for run in failed} == {"failed"}
        assert all("RuntimeError: the paper was wrong" in run.trace.error for run in failed)
        assert all("Traceback" in run.trace.error for run in failed)
        assert [point.cost.steps for point in failed[0].trace.points] == [0, 3, 6]
        # No trial was better than the defaults, whose runs are then the tuned ones too.
        assert sum(job.recipe.ingredients[0].method is FAILS for job in engine.begun) == 2 + 2
    assert sum(job.recipe.ingredients[0].method is GOOD for job in engine.begun) == 0
    assert len(read(plan, path)) == plan.size


def test_a_mended_method_takes_the_place_of_its_failure(path):
    broken = replace(GOOD, build=FAILS.build)
    carry(comparison(TINY, [broken], trials=0), path)
    runs, made = carry(comparison(TINY, [GOOD], trials=0), path)
    assert made == 2
    assert {outcome for _, _, outcome, _ in runs.values()} == {"finished"}
    assert outcomes(read(comparison(TINY, [GOOD], trials=0), path)) == runs


def test_divergence_is_a_result_and_is_kept(path):
    plan = comparison(TINY, [GOOD, DIVERGES], trials=2)
    runs, _ = carry(plan, path)
    assert {runs[f"diverges defaults {i}"][2] for i in range(2)} == {"diverged"}
    assert carry(plan, path) == (runs, 0)


@pytest.mark.parametrize(
    ("method", "outcome", "error"),
    [
        (HUNGRY, "out of memory", "MemoryError"),
        (QUITS, "failed", "SystemExit: enough"),
        (
            replace(HUNGRY, build=lambda **_: lambda noise, t: torch.empty(2**60)),
            "out of memory",
            "can't allocate memory",
        ),
    ],
    ids=["python", "exit", "torch"],
)
def test_other_ways_to_end(path, method, outcome, error):
    plan = comparison(TINY, [method], trials=0, seeds=1)
    (run,) = race(plan, path, Inline(TINY)).runs
    assert run.trace.outcome == outcome
    assert error in run.trace.error
    assert carry(plan, path)[1] == 1


@pytest.mark.parametrize("better", ["higher", "lower"])
def test_what_did_not_finish_ranks_worst(path, better):
    class Directed(Tiny):
        metric = replace(Tiny.metric, better=better)

    problem = Directed()
    plan = comparison(problem, [GOOD, FAILS], trials=0, seeds=1)
    race(plan, path, Inline(problem))
    store = Store(str(path))
    (fails,) = [
        study for study in store._storage.get_all_studies() if " / fails " in study.study_name
    ]
    (row,) = store._storage.get_all_trials(fails._study_id)
    assert row.state.name == "FAIL"
    plan = comparison(problem, [DIVERGES], trials=0, seeds=1)
    store.close()
    race(plan, path, Inline(problem))
    store = Store(str(path))
    values = [
        row.value
        for study in store._storage.get_all_studies()
        if " / diverges " in study.study_name
        for row in store._storage.get_all_trials(study._study_id)
    ]
    assert values == [float("-inf") if better == "higher" else float("inf")]
    store.close()


# A race that is stopped


def test_what_is_done_is_known_at_every_moment(path):
    class Stop(Exception):
        pass

    known = []

    def observe(progress):
        known.append((progress.done, len(carried[0].runs)))
        if progress.done == 5:
            raise Stop

    store = Store(str(path))
    carried = [Race(PLAN, store, observe)]
    with pytest.raises(Stop):
        carried[0].carry_out(Inline(TINY, jobs=3, shuffle=0))
    store.close()
    assert known == [(i, i) for i in range(6)]
    assert carried[0].missing == PLAN.size - 5
    again = read(PLAN, path)
    assert len(again) == 5
    runs, made = carry(PLAN, path)
    assert made == PLAN.size - 5
    assert outcomes(again).items() <= runs.items()


def complete_runs(store):
    """The runs whose records are in a store, as the problem's log writes them."""
    return {
        f"{run.recipe} {run.seed} {run.steps} {run.lane != 'tuning'}" for run in read(PLAN, store)
    }


def as_plain(runs):
    return json.loads(json.dumps(runs))


def test_a_race_goes_on_after_its_program_was_killed(
    folder, path, undisturbed, impatient, torchless
):
    log = folder / "log"
    for n in (2, 7):
        program = start(path, log, seconds=0.2)
        wait_for(program, log, n, "begin")
        program.kill()
        program.communicate()
        assert_gone(workers_of(log))
        done, begun = complete_runs(path), log_of(log, "begin")
        assert len(done) >= n - 2  # one was being made at each of the kills
    results = thalweg.compare(
        Tiny(log=str(log)), [GOOD, FAIR], trials=3, seeds=2, jobs=1, store=path
    )
    assert results.missing == 0
    assert outcomes(results.runs) == undisturbed[0]
    after = log_of(log, "begin")
    assert {run: after[run] - begun[run] for run in done} == dict.fromkeys(done, 0)
    assert set(log_of(log)) == complete_runs(path)
    assert outcomes(read(PLAN, path)) == undisturbed[0]


def test_ctrl_c_stops_a_race_in_good_order(folder, path, undisturbed):
    log = folder / "log"
    program = start(path, log, seconds=0.2, jobs=2)
    wait_for(program, log, 4)
    stopped = time.monotonic()
    os.killpg(program.pid, signal.SIGINT)
    first = answer(program)
    assert time.monotonic() - stopped < 30
    assert_gone(workers_of(log))
    done = complete_runs(path)
    assert len(first["runs"]) == PLAN.size - first["missing"] >= len(done) >= 3
    # Nobody waits for its claims to die.
    resumed = time.monotonic()
    last, made = carry(PLAN, path)
    assert time.monotonic() - resumed < thalweg.bench.store.GRACE / 2
    assert last == undisturbed[0]
    assert made == len(complete_runs(path)) - len(done)
    assert first["runs"].items() <= as_plain(last).items()


def test_two_programs_share_a_race(folder, path, undisturbed):
    log = folder / "log"
    programs = [start(path, log, seconds=0.3, grace=600, whole=False) for _ in range(2)]
    expected = {"missing": 0, "runs": as_plain(undisturbed[0])}
    assert [answer(program) for program in programs] == [expected, expected]
    assert set(log_of(log).values()) == {1}
    assert set(log_of(log)) == set(log_of(log, "begin")) == complete_runs(path)
    assert len(workers_of(log)) == 2
