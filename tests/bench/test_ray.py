"""The Ray engine, on a cluster of two nodes that these tests start."""

import os
import subprocess
import sys
import time

import pytest

from tests.bench.racing import ROOT, Inline, comparison, log_of, outcomes, race, workers_of
from tests.bench.test_engines import Unloadable, first_answer, job
from tests.bench.tiny import DEADLY, FAIR, GOOD, Tiny
from thalweg.bench.engines import Died, RayEngine
from thalweg.core.errors import SettingError

pytest.importorskip("ray", reason="Ray is not installed: pip install 'thalweg[ray]'")

MEMORY = 80 * 2**20  # the least that Ray takes for its object store


@pytest.fixture(scope="module")
def cluster():
    os.environ["RAY_USAGE_STATS_ENABLED"] = "0"
    from ray.cluster_utils import Cluster

    cluster = Cluster(
        initialize_head=True,
        head_node_args={
            "num_cpus": 1,
            "object_store_memory": MEMORY,
            "include_dashboard": False,
            # Ray itself takes a quarter of a minute to believe that a node is dead.
            "_system_config": {
                "health_check_initial_delay_ms": 0,
                "health_check_period_ms": 1000,
                "health_check_failure_threshold": 3,
            },
        },
    )
    yield cluster
    cluster.shutdown()


def test_a_race_goes_on_when_a_node_is_killed(cluster, folder, path):
    node = cluster.add_node(num_cpus=1, object_store_memory=MEMORY)
    problem = Tiny(log=str(folder / "log"), seconds=0.4)
    plan = comparison(problem, [GOOD, FAIR])
    engine = RayEngine({problem.name: problem}, address=cluster.address)
    assert engine.free == 2
    died = []
    wait = engine.wait

    def wait_and_kill(seconds):
        running = log_of(problem.log, "begin").total() - log_of(problem.log).total()
        if node in cluster.worker_nodes and running == len(workers_of(problem.log)) == 2:
            cluster.remove_node(node, allow_graceful=False)
        ended = wait(seconds)
        died.extend(answer for _, answer in ended if isinstance(answer, Died))
        return ended

    engine.wait = wait_and_kill
    carried = race(plan, path, engine)
    assert node not in cluster.worker_nodes
    assert carried.missing == 0
    assert outcomes(carried.runs) == outcomes(race(plan, folder / "here", Inline(Tiny())).runs)
    assert len(died) == 1
    assert sorted(log_of(problem.log, "begin").values())[-2:] == [1, 2]


def test_what_goes_wrong_in_a_task(cluster):
    engine = RayEngine({"tiny": Unloadable()}, jobs=1, address=cluster.address)
    engine.submit(job(Tiny()))
    assert engine.free == 0
    answer = first_answer(engine)
    assert answer.trace.outcome == "failed"
    assert "ImportError: there is no module named 'nirvana' here" in answer.trace.error
    engine.close()
    engine = RayEngine({"tiny": Tiny()}, jobs=1, address=cluster.address)
    engine.submit(job(Tiny(), method=DEADLY))
    answer = first_answer(engine)
    assert isinstance(answer, Died)
    assert answer.reason.startswith("WorkerCrashedError: ")
    engine.submit(job(Tiny(seconds=60)))
    engine.close()


@pytest.mark.parametrize("address", ["127.0.0.1:1", "ray://127.0.0.1:1", "nonsense", "host:port"])
def test_a_cluster_that_is_not_there_is_a_sentence(address):
    began = time.monotonic()
    with pytest.raises(SettingError, match=f"no Ray cluster can be entered at {address} .*6379"):
        RayEngine({}, address=address)
    assert time.monotonic() - began < 15


def test_without_ray_there_is_a_sentence(monkeypatch):
    monkeypatch.setitem(sys.modules, "ray", None)
    with pytest.raises(SettingError, match=r"needs Ray: pip install 'thalweg\[ray\]', or use"):
        RayEngine({})


def test_a_cluster_of_its_own_is_silent(folder):
    code = (
        "from tests.bench.racing import *\n"
        "from thalweg.bench.engines import RayEngine\n"
        "engine = RayEngine({'tiny': Tiny()}, 1)\n"
        "import ray, os\n"
        "done = race(comparison(Tiny(), [GOOD], trials=0), sys.argv[1], engine)\n"
        "print(done.missing, os.environ['RAY_USAGE_STATS_ENABLED'], ray.is_initialized())\n"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    environment.pop("RAY_USAGE_STATS_ENABLED", None)
    said = subprocess.run(
        [sys.executable, "-c", code, str(folder / "runs")],
        cwd=ROOT,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert (said.stdout, said.stderr) == ("0 0 False\n", "")
