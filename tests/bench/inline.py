"""An engine in this process, in place of the one that starts workers."""

import cloudpickle

from tests.bench.racing import Inline


class InThisProcess(Inline):
    """Pickles the problems as workers would get them, and spares the start of workers."""

    def __init__(self, problems, jobs):
        super().__init__(None)
        self.problems = cloudpickle.loads(cloudpickle.dumps(dict(problems)))

    def submit(self, job):
        super().submit(job)
        self.problem = self.problems[job.problem]
