"""Count the checks: a run in which a paper was checked less than it should be fails."""

from collections import defaultdict
from dataclasses import dataclass

import pytest

NAME = "checks of the laws"


@dataclass
class Made:
    """What a law made of a case; travels from a worker to the summary.

    Args:
        owner: The paper's id.
        interface: Whose laws.
        law: Its name.
        count: Checks made.
        minimum: Of checks over all laws of the interface, for this paper.
        tests: How many tests all laws of the interface make for this paper.
    """

    owner: str
    interface: str
    law: str
    count: int
    minimum: int
    tests: int


def pytest_configure(config):
    """Register the count; called by a `conftest.py` that the controlling process loads."""
    if not config.pluginmanager.has_plugin(NAME):
        config.pluginmanager.register(Count(hasattr(config, "workerinput")), NAME)


class Count:
    """Collects what the laws report; under xdist, in the controlling process."""

    def __init__(self, is_worker):
        self.is_worker = is_worker
        self.made = []

    def pytest_runtest_logreport(self, report):
        if report.when == "call":
            self.made += [Made(**value) for key, value in report.user_properties if key == NAME]

    @pytest.hookimpl(tryfirst=True)
    def pytest_sessionfinish(self, session):
        if not self.is_worker and self.faults() and session.exitstatus == pytest.ExitCode.OK:
            session.exitstatus = pytest.ExitCode.TESTS_FAILED

    def pytest_terminal_summary(self, terminalreporter):
        if self.is_worker or not self.made:
            return
        terminalreporter.section(NAME)
        for owner, by_interface in sorted(self.counts().items()):
            parts = [f"{interface} {n}" for interface, n in sorted(by_interface.items())]
            terminalreporter.line(f"{owner:32} {', '.join(parts)}")
        for sentence in self.faults():
            terminalreporter.line(sentence, red=True)

    def counts(self):
        counts = defaultdict(lambda: defaultdict(int))
        for made in self.made:
            counts[made.owner][made.interface] += made.count
        return counts

    def faults(self):
        """Sentences on papers all of whose tests ran, yet were checked too little."""
        together = defaultdict(list)
        for made in self.made:
            together[made.owner, made.interface].append(made)
        sentences = []
        for (owner, interface), all_made in together.items():
            if len(all_made) < all_made[0].tests:
                continue  # a selection of the tests was run
            count, minimum = sum(made.count for made in all_made), all_made[0].minimum
            if count < minimum:
                sentences.append(f"{owner}: {count} checks as {interface}, at least {minimum} due")
            by_law = defaultdict(int)
            for made in all_made:
                by_law[made.law] += made.count
            sentences += [
                f"{owner}: no check of the law {law}" for law, n in by_law.items() if n == 0
            ]
        return sentences
