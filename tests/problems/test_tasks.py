import subprocess
import sys
from pathlib import Path

import cloudpickle
import numpy as np
import pytest
import torch

from tests.problems.running import qualities, refusal
from thalweg.problems.loading import load_problem

TASK = """\
import torch
from torch import nn

from thalweg import TrainingProblem

OFFSET = 1.0


class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.layer = nn.Linear(4, 2)

    def forward(self, x):
        return self.layer(x + OFFSET)


def loss(output, target):
    return nn.functional.cross_entropy(output, target)


def problem():
    x = torch.randn(64, 4, generator=torch.Generator().manual_seed(0))
    return TrainingProblem(
        "mine", model=Net, train=(x, (x[:, 0] > 0).long()), loss=loss, metric="accuracy", steps=20
    )
"""


@pytest.fixture(autouse=True)
def _folder(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setattr(sys, "modules", dict(sys.modules))


def write(text, name="task.py"):
    path = Path(name)
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text)
    return name


@pytest.mark.parametrize("reference", ["task.py", "task.py:problem", "./task.py:", "task:problem"])
def test_a_function_of_a_file_or_module_is_called(reference):
    write(TASK)
    problem = load_problem(reference)
    assert problem.name == "mine"
    assert len(qualities(problem)) == problem.evaluations + 2


def test_a_module_in_a_package_is_found_from_the_working_directory():
    write("", "pack/__init__.py")
    write(TASK, "pack/age.py")
    assert load_problem("pack.age:problem").name == "mine"


def test_nothing_is_written():
    write(TASK)
    load_problem("task.py")
    assert [path.name for path in Path().iterdir()] == ["task.py"]


def test_its_objects_travel_to_a_process_that_does_not_know_the_file(tmp_path):
    write(TASK)
    problem = load_problem("task.py")
    Path("problem.pickle").write_bytes(cloudpickle.dumps(problem))
    Path("task.py").unlink()
    code = (
        "import cloudpickle, pathlib; "
        f"p = cloudpickle.loads(pathlib.Path({str(tmp_path / 'problem.pickle')!r}).read_bytes()); "
        "print(p.fingerprint(3))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd="/"
    )
    assert done.stdout.strip() == problem.fingerprint(3)


def test_the_source_changes_with_the_file():
    write(TASK)
    first = load_problem("task.py").source
    assert load_problem("task.py").source == first
    write(TASK + "\n# changed\n")
    assert load_problem("task.py").source != first


def test_the_source_follows_sibling_modules():
    write("import helper\n" + TASK.replace("x + OFFSET", "helper.shift(x)"))
    write("def shift(x):\n    return x + 1\n", "helper.py")
    first = load_problem("task.py").source
    assert load_problem("task.py").source == first
    write("def shift(x):\n    return x - 1\n", "helper.py")
    assert load_problem("task.py").source != first


def test_data_drawn_without_a_seed_are_the_same_each_time():
    draws = "generator=torch.Generator().manual_seed(0)"
    write("import numpy, random\n" + TASK.replace(f", {draws})", ") + numpy.random.rand()"))
    torch.manual_seed(5)
    before = torch.get_rng_state(), np.random.get_state()[1].sum()  # noqa: NPY002
    first = load_problem("task.py").source
    assert torch.equal(torch.get_rng_state(), before[0])
    assert np.random.get_state()[1].sum() == before[1]  # noqa: NPY002
    torch.manual_seed(6)
    np.random.seed(6)  # noqa: NPY002
    assert load_problem("task.py").source == first


def test_the_file_is_read_anew():
    write(TASK)
    load_problem("task.py")
    write(TASK.replace('"mine"', '"ours"'))
    assert load_problem("task.py").name == "ours"


def test_another_kind_of_problem_is_taken_as_it_is():
    write(
        """
from thalweg import Metric


class Own:
    name, kind, progress, judged = "own", "solving", "p", "j"
    metric = Metric("m", "lower", 1.0)
    target, steps, offers, source = None, 1, frozenset(), "abc"
    description, contenders = "", ("own",)

    def check(self, recipe): ...
    def fingerprint(self, seed): return ""
    def run(self, recipe, seed, *, steps, device, final): yield


def problem():
    return Own()
"""
    )
    assert load_problem("task.py").source == "abc"


@pytest.mark.parametrize(
    ("text", "reference", "said"),
    [
        ("def problem():\n    return 3\n", "task.py", "returned a int, which is no problem"),
        ("def problem():\n    pass\n", "task.py", "return a thalweg.TrainingProblem"),
        ("def problem(x):\n    pass\n", "task.py", "give each a default"),
        ("problem = 3\n", "task.py", "is a int, not a function; write def problem():"),
        (
            "def problen():\n    pass\n",
            "task.py",
            "there is no function 'problem'; did you mean 'problen'?; it defines problen",
        ),
        ("x = 1\n", "task.py:race", "it defines no function; write def race()"),
        (
            "\ndef problem():\n    return 1 / 0\n",
            "task.py",
            "task.py:problem raised ZeroDivisionError: division by zero (line 3 of task.py)",
        ),
        ("import os\nos.nothing\n", "task.py", "(line 2 of task.py); correct it and run again"),
        ("def problem(:\n", "task.py", "raised SyntaxError: invalid syntax (line 1 of task.py)"),
        ("import not_there_at_all\n", "task.py", "install it in this environment"),
        ("import sys\nsys.exit('stop')\n", "task.py", "raised SystemExit: stop (line 2"),
        ("raise ValueError\n", "task.py", "task.py raised ValueError (line 1 of task.py)"),
        (
            "def problem():\n    raise ValueError('a\\nb')\n",
            "task:problem",
            "ValueError: a b (line 2",
        ),
        ("import no_such_thing\n", "task:problem", "'no_such_thing' (line 1 of task.py); install"),
        ("", "missing.module:problem", "there is no module 'missing' in"),
        ("", "other.py", "there is no 'other.py' in"),
        ("", "taks.py", "did you mean 'task.py'?"),
        (
            TASK.replace("nn.Linear(4, 2)", "nn.Linear(4)"),
            "task.py",
            "TypeError: Linear.__init__() missing 1 required positional argument: 'out_features' "
            "(line 12 of task.py)",
        ),
        (TASK.replace('"accuracy"', '"acuracy"'), "task.py", "did you mean 'accuracy'"),
        (TASK.replace("(x, (x[:, 0]", "(x[:9], (x[:, 0]"), "task.py", "different lengths [9, 64]"),
        (TASK.replace("train=(x,", "train=(x, x,"), "task.py", "is a tuple of 3"),
    ],
)
def test_what_goes_wrong_is_a_sentence(text, reference, said):
    write(text)
    assert said in refusal(reference)
    assert [path.name for path in Path().iterdir() if path.name != "__pycache__"] == ["task.py"]


def test_python_files_take_no_target():
    write(TASK)
    assert "leave target out" in refusal("task.py", target="y")
