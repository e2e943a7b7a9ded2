"""A run logged as it goes: to a CSV file, and to TensorBoard where that is installed.

A run of thalweg is an iterator of points, what was spent and how good the model is, so that logging
is a loop over them.
"""

import csv
import importlib.util
import sys
from dataclasses import asdict
from pathlib import Path

from thalweg import catalogue, load_problem


def main(folder: str | Path, steps: int = 100) -> Path:
    problem = load_problem("digits-mlp")
    recipe = catalogue().recipe("diffgrad(lr=3e-3)+uba")
    run = problem.run(recipe, seed=0, steps=steps, device="cpu", final=True)
    path = Path(folder) / "run.csv"
    board = None
    if importlib.util.find_spec("tensorboard"):
        from torch.utils.tensorboard import SummaryWriter

        board = SummaryWriter(str(folder))
    with path.open("w", newline="") as file:
        table = None
        for point in run:
            row = {**asdict(point.cost), **point.quality}
            if table is None:
                judged = [problem.judged]  # graded on the test data, at the end alone
                table = csv.DictWriter(file, [*row, *judged], extrasaction="ignore")
                table.writeheader()
            table.writerow(row)
            for name, value in point.quality.items():
                if board is not None:
                    board.add_scalar(name, value, point.cost.steps)
    if board is not None:
        board.close()
    return path


if __name__ == "__main__":
    print(main(*sys.argv[1:2] or ["."]).read_text())
