"""What an accurate transport plan costs, next to POT's log-domain Sinkhorn, in one run.

    python benchmarks/transport.py [--limit 1000] [--rounds 3] [--json]

On the CPU, in double precision, with as many threads as torch takes. Everyone stops at a marginal
error of 1e-9; POT's is the Euclidean norm of the columns' error alone, which is the weaker demand,
and it looks every ten steps. POT (pip install POT) gets torch tensors, with which it is faster than
with NumPy's. What takes it more than --limit steps is cut off: its seconds, and the ratio, are then
at least what is printed. Our solvers take turns over the rounds, POT has one of them; a cell is the
median, and the error that of the plan as returned, rows and columns together.
"""

import argparse
import importlib.util
import json
import time
import warnings
from collections.abc import Callable
from statistics import median

from rich.console import Console
from rich.table import Table
from torch import Tensor

from thalweg.problems.transport import assignment, clouds, digits
from thalweg.transport import sinkhorn, sinkhorn_newton_sparse

PROBLEMS = {
    "assignment, n=500, reg=1/1200": assignment(0, n=500, reg=1 / 1200),
    "assignment, n=500, reg=1/300": assignment(0, n=500, reg=1 / 300),
    "assignment, n=1000, reg=1/5000": assignment(0, n=1000, reg=1 / 5000),
    "clouds, n=500, reg=1/1200": clouds(0, n=500, reg=1 / 1200),
    "clouds, n=1000, reg=1/1200": clouds(0, n=1000, reg=1 / 1200),
    "digits, 64 pixels, reg=1/1200": digits(0, reg=1 / 1200, norm=2),
    "digits, L1, 64 pixels, reg=1/1200": digits(0, reg=1 / 1200, norm=1),
}
Solve = Callable[[], tuple[Tensor, int, bool]]


def solvers(given: tuple[Tensor, Tensor, Tensor, float], limit: int) -> dict[str, Solve]:
    def ours(solver: Callable, most: int) -> Solve:
        def solve() -> tuple[Tensor, int, bool]:
            solution = solver(*given, rtol=1e-9, max_steps=most, throw=False)
            return solution.value.matrix, solution.iterations, solution.converged

        return solve

    def pot() -> tuple[Tensor, int, bool]:
        import ot

        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            plan, log = ot.bregman.sinkhorn_log(*given, stopThr=1e-9, numItermax=limit, log=True)
        return plan, log["niter"] + 1, float(log["err"][-1]) < 1e-9

    made = {
        "sinkhorn-newton-sparse": ours(sinkhorn_newton_sparse, 1000),
        "sinkhorn": ours(sinkhorn, limit),
    }
    return {**made, "POT": pot} if importlib.util.find_spec("ot") else made


def measure(name: str, limit: int, rounds: int) -> list[dict[str, object]]:
    given = PROBLEMS[name]
    a, b = given[:2]
    rows = []
    for who, solve in solvers(given, limit).items():
        seconds = []
        for _ in range(rounds if who == "sinkhorn-newton-sparse" else 1):
            start = time.perf_counter()
            plan, steps, reached = solve()
            seconds.append(time.perf_counter() - start)
        error = float((plan.sum(1) - a).abs().sum() + (plan.sum(0) - b).abs().sum())
        rows.append(
            {
                "problem": name,
                "solver": who,
                "seconds": median(seconds),
                "steps": steps,
                "reached": reached,
                "error": error,
                "ratio": median(seconds) / float(rows[0]["seconds"]) if rows else 1.0,
            }
        )
    return rows


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--limit", type=int, default=1000)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    for solve in solvers(assignment(0, n=20, reg=0.01), 10).values():
        solve()  # what is put off until first use
    rows = [row for name in PROBLEMS for row in measure(name, options.limit, options.rounds)]
    if options.json:
        print(json.dumps(rows, indent=2))
        return
    table = Table("problem", "solver", "seconds", "of ours", "steps", "marginal error")
    for row in rows:
        least = "" if row["reached"] else ">= "
        table.add_row(
            str(row["problem"]),
            str(row["solver"]),
            f"{least}{row['seconds']:.3g}",
            f"{least}{row['ratio']:.1f}x",
            f"{least}{row['steps']}",
            f"{row['error']:.1e}",
        )
    Console().print(table)
    if not importlib.util.find_spec("ot"):
        print("POT is not installed and was left out; pip install POT to compare with it.")


if __name__ == "__main__":
    main()
