"""The store on a real PostgreSQL server, started for these tests where Debian's is installed."""

import os
import pwd
import shutil
import socket
import subprocess
import tempfile
from pathlib import Path

import pytest

from tests.bench import contention
from tests.bench.contention import PARAMETERS, SHELF, SPACE, record
from tests.bench.racing import Inline, answer, comparison, log_of, outcomes, race, start
from tests.bench.tiny import FAILS, FAIR, GOOD, Tiny
from thalweg.bench.comparison import Race
from thalweg.bench.store import Kept, Shelf, Store
from thalweg.core.errors import StoreError

pytest.importorskip("psycopg", reason="psycopg is not installed: pip install 'thalweg[postgres]'")


class Server:
    """A server of its own, in a folder of its own, on a free port of this machine alone."""

    def __init__(self, programs, folder):
        self.programs = programs
        self.folder = folder
        # The server refuses to run as root.
        self.user = "postgres" if os.getuid() == 0 else pwd.getpwuid(os.getuid()).pw_name
        if os.getuid() == 0:
            shutil.chown(folder, self.user, self.user)
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            self.port = free.getsockname()[1]
        self.call("initdb", "--auth=trust", "--username=thalweg", "--no-sync", "-D", "data")
        self.start()

    def call(self, program, *arguments):
        command = [str(self.programs / program), *arguments]
        if os.getuid() == 0:
            command = ["runuser", "-u", self.user, "--", *command]
        subprocess.run(command, cwd=self.folder, check=True, stdout=subprocess.DEVNULL)

    def start(self):
        options = f"-p {self.port} -k {self.folder} -c listen_addresses=127.0.0.1 -c fsync=off"
        self.call("pg_ctl", "start", "--wait", "-D", "data", "-l", "log", "-o", options)

    def stop(self):
        self.call("pg_ctl", "stop", "--wait", "-m", "immediate", "-D", "data")

    def database(self, name):
        address = ["-h", "127.0.0.1", "-p", str(self.port), "-U", "thalweg"]
        self.call("createdb", *address, name)
        return f"postgresql://thalweg@127.0.0.1:{self.port}/{name}"


@pytest.fixture(scope="module")
def server():
    found = sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))
    if not found:
        pytest.skip("no PostgreSQL server is installed: apt-get install postgresql")
    if os.getuid() == 0 and shutil.which("runuser") is None:
        pytest.skip("PostgreSQL refuses to run as root, and there is no runuser to leave it")
    with tempfile.TemporaryDirectory(prefix="thalweg-") as name:
        server = Server(found[-1].parent, Path(name))
        yield server
        server.stop()


@pytest.fixture
def url(server, request):
    return server.database(request.node.name.removeprefix("test_")[:60])


def test_rows(url):
    store, other = Store(url), Store(url)
    claim = store.claim(SHELF, "a", PARAMETERS, SPACE)
    assert other.claim(SHELF, "a", PARAMETERS, SPACE) is None
    strange = record(float("inf"), error="\x00 ü 🎉")
    assert store.finish(claim, strange, float("-inf"))
    assert repr(other.find(SHELF)) == repr({"a": strange})
    long = Shelf("x" * 2000, "lower")
    store.finish(store.claim(long, "b", {}, {}), record(), 1.0)
    assert list(other.find(long)) == ["b"]
    store.remember("race", {"started": 1.0})
    assert other.comparisons() == {"race": {"started": 1.0}}
    store.close()
    other.close()


def test_what_is_kept(url):
    one = Kept(url, of="rounds")
    one["first"] = "1" * 100_000
    other = Kept(url, of="rounds")
    assert (other.get("first"), other.get("second")) == ("1" * 100_000, None)
    assert Kept(url, of="others").get("first") is None


def test_a_race(url, path):
    problem = Tiny()
    plan = comparison(problem, [GOOD, FAIR, FAILS])
    carried = race(plan, url, Inline(problem))
    assert outcomes(carried.runs) == outcomes(race(plan, path, Inline(problem)).runs)
    again = Inline(problem)
    race(plan, url, again)
    assert {job.recipe.ingredients[0].method.name for job in again.begun} == {"fails"}
    store = Store(url)
    assert outcomes(Race(plan, store).read()) == outcomes(carried.runs)
    store.close()


def test_two_programs(url, folder):
    log = folder / "log"
    programs = [start(url, log, seconds=0.1, grace=600, whole=False) for _ in range(2)]
    first, second = map(answer, programs)
    assert first == second
    assert first["missing"] == 0
    assert set(log_of(log).values()) == {1}


def test_contention(url, folder):
    contention.contend(url, folder / "log")


def test_a_server_that_is_gone_for_a_while(url, server):
    store = Store(url)
    claim = store.claim(SHELF, "a", PARAMETERS, SPACE)
    server.stop()
    with pytest.raises(StoreError, match=r"no longer works .*the same call goes on from what"):
        store.find(SHELF)
    with pytest.raises(StoreError, match=r"the store postgresql.* cannot be opened .*refused"):
        Store(url)
    server.start()
    assert store.finish(claim, record(), 1.0)
    assert store.find(SHELF) == {"a": record()}
    store.close()
    with pytest.raises(StoreError, match=r'cannot be opened .*database "none" does not exist'):
        Store(url.rpartition("/")[0] + "/none")
