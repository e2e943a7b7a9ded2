import math
import os
import subprocess
import sys
from dataclasses import replace

import cloudpickle
import pytest
import torch
from torch import nn

from tests.problems.running import qualities, refusal
from thalweg.core.problem import Problem
from thalweg.problems import blobs_overlap, code_lm, logistic
from thalweg.problems.digits import parts, scans
from thalweg.problems.digits_long_tail import long_tail
from thalweg.problems.digits_noisy import mislabelled
from thalweg.problems.loading import describe, embedded, load_problem
from thalweg.problems.quadratic import Quadratic
from thalweg.problems.rosenbrock import Rosenbrock
from thalweg.problems.splits import stratified
from thalweg.training.setup import apply_model

NAMES = [*embedded(), "logistic(separable=True)", "quadratic(condition=1000, dimension=20)"]


@pytest.fixture(scope="module", params=NAMES)
def problem(request):
    return load_problem(request.param)


@pytest.fixture
def training(problem):
    if problem.kind != "training":
        pytest.skip(f"a problem of {problem.kind}")
    return problem


def test_problems_are_found_by_walking_the_folder():
    assert {"digits", "digits-mlp", "code-lm", "mnist1d", "quadratic"} <= set(embedded())
    assert not {"loading", "tables", "nets", "splits", "objective"} & set(embedded())
    assert "quadratic(condition=100, dimension=50)" in describe()
    assert all(line and "\n" not in line for line in describe().values())


def test_it_says_what_it_is(problem):
    assert isinstance(problem, Problem)
    assert problem.description
    assert problem.target is not None or "(" in problem.name


def test_it_is_the_same_twice_and_differs_between_seeds(problem):
    again = load_problem(problem.name)
    assert again.source == problem.source
    assert again.fingerprint(1) == problem.fingerprint(1) != problem.fingerprint(2)


def test_it_travels_to_a_worker(problem):
    arrived = cloudpickle.loads(cloudpickle.dumps(problem))
    assert arrived.fingerprint(1) == problem.fingerprint(1)
    assert arrived.source == problem.source


def test_a_few_steps_improve_it(training):
    values = qualities(replace(training, evaluations=3), steps=12)
    assert all(map(math.isfinite, values))
    sign = 1 if training.metric.better == "higher" else -1
    assert max(sign * value for value in values[1:]) > sign * values[0]


def test_it_can_be_differentiated_twice(training):
    setup = training.setup(0)
    batch = next(iter(setup.batches))
    parameters = list(setup.model.parameters())
    loss = setup.loss(apply_model(setup.model, batch.input), batch.target)
    gradients = torch.autograd.grad(loss, parameters, create_graph=True)
    product = sum((gradient**2).sum() for gradient in gradients)
    curvatures = torch.autograd.grad(product, parameters, allow_unused=True)
    assert any(curvature is not None and curvature.abs().sum() > 0 for curvature in curvatures)


@pytest.mark.parametrize(
    ("name", "recipe"),
    [
        ("breast-cancer", "adamw(lr=7e-4)"),
        ("wine", "adamw(lr=2e-3)"),
        ("diabetes", "adamw(lr=7e-4)"),
        ("logistic", "adamw(lr=1e-2)"),
        ("digits-mlp", "adamw(lr=2e-2)"),
        ("digits", "adamw(lr=1e-2)"),
        ("digits-noisy", "adamw(lr=3e-3)"),
        ("digits-long-tail", "adamw(lr=3e-3)"),
        ("blobs-overlap", "adamw(lr=3e-3)"),
        ("quadratic", "adamw(lr=1e-1)"),
        ("rosenbrock", "adamw(lr=1e-1)"),
    ],
)
def test_adamw_reaches_the_target(name, recipe):
    problem = load_problem(name)
    sign = 1 if problem.metric.better == "higher" else -1
    assert max(sign * value for value in qualities(problem, recipe)[:-1]) >= sign * problem.target


def test_another_process_finds_the_same():
    names = ("digits-noisy", "code-lm")
    code = f"from thalweg import load_problem; print(*(load_problem(x).source for x in {names}))"
    environment = {**os.environ, "PYTHONHASHSEED": "7"}
    found = subprocess.run(
        [sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True
    )
    assert found.stdout.split() == [load_problem(name).source for name in names]


def test_the_digits_keep_every_class_in_every_part_and_share_no_image():
    chosen = parts()
    assert [len(images) for images, _ in chosen] == [1151, 287, 359]
    for _, labels in chosen:
        shares = labels.bincount().double() / len(labels)
        assert shares.min() > 0.09
        assert shares.max() < 0.11
    images = torch.cat([images for images, _ in chosen]).flatten(1)
    everything = scans()[0].flatten(1)
    assert torch.equal(images.sum(0), everything.sum(0))
    assert len(images.unique(dim=0)) == len(everything.unique(dim=0))


def test_two_fifths_of_the_labels_are_wrong_and_the_wrong_ones_even():
    labels = torch.arange(10_000) % 10
    noisy = mislabelled(labels)
    wrong = noisy != labels
    assert int(wrong.sum()) == 4000
    moved = ((noisy - labels) % 10)[wrong].bincount(minlength=10)
    assert moved[0] == 0
    # 4000 labels on 9 values: mean 444, standard deviation 20.
    assert moved[1:].min() > 444 - 80
    assert moved[1:].max() < 444 + 80


def test_only_the_training_labels_are_noisy():
    noisy, clean = load_problem("digits-noisy"), load_problem("digits")
    assert torch.equal(noisy.train[0], clean.train[0])
    share = (noisy.train[1] != clean.train[1]).double().mean().item()
    assert share == pytest.approx(0.4, abs=1e-3)
    assert torch.equal(noisy.validation[1], clean.validation[1])
    assert torch.equal(noisy.test[1], clean.test[1])


def test_the_long_tail_falls_by_one_factor_from_class_to_class():
    labels = torch.arange(10_000) % 10
    sizes = labels[long_tail(labels, imbalance=100.0)].bincount()
    assert sizes[[0, -1]].tolist() == [1000, 10]
    ratios = sizes[:-1].double() / sizes[1:]
    assert (ratios / 100 ** (1 / 9) - 1).abs().max() < 0.06  # sizes are whole numbers
    assert len(long_tail(labels, imbalance=1.0)) == 10_000


def test_only_the_training_digits_have_a_long_tail():
    tailed, all_digits = load_problem("digits-long-tail"), parts()
    sizes = tailed.train[1].bincount()
    assert sizes[0] / sizes[-1] == pytest.approx(20, rel=0.1)
    assert (sizes.diff() < 0).all()
    for part, whole in zip((tailed.train, tailed.validation, tailed.test), all_digits, strict=True):
        # A sample of the tail is one of the same part of the digits, with the same label.
        distance = torch.cdist(part[0].flatten(1), whole[0].flatten(1))
        assert (distance.min(1).values < 1e-4).all()
        assert torch.equal(whole[1][distance.argmin(1)], part[1])
    for _, labels in (tailed.validation, tailed.test):
        assert len(set(labels.bincount().tolist())) == 1


def test_nothing_is_right_more_often_on_the_blobs_than_the_bayes_rule():
    # The rule's accuracy is the integral of the largest density, here along the cube's axes alone.
    bump = torch.distributions.Normal(
        *torch.tensor([1.0, blobs_overlap.SPREAD], dtype=torch.float64)
    )
    x = torch.linspace(-8, 8, 100_001, dtype=torch.float64)
    larger = 0.5 * torch.maximum(bump.log_prob(x).exp(), bump.log_prob(-x).exp())
    accuracy = torch.trapezoid(larger, x).item() ** 3
    assert 1 - accuracy == pytest.approx(blobs_overlap.BAYES_ERROR, abs=1e-8)
    assert f"{100 * accuracy:.1f} %" in load_problem("blobs-overlap").description

    centres = blobs_overlap.centres().double()
    distances = torch.pdist(centres)
    assert torch.allclose(distances.unique().min(), torch.tensor(2.0).double(), atol=1e-5)
    assert torch.allclose(centres.norm(dim=1), torch.tensor(3.0).double().sqrt(), atol=1e-5)
    points, label = blobs_overlap.samples(50_000, 1)
    hit = (torch.cdist(points.double(), centres).argmin(1) == label).double().mean().item()
    assert hit == pytest.approx(accuracy, abs=4 * math.sqrt(accuracy * (1 - accuracy) / 50_000))


@pytest.mark.parametrize("name", ["breast-cancer", "wine", "diabetes"])
def test_tables_are_standardised_by_the_training_rows(name):
    problem = load_problem(name)
    inputs = problem.train[0].double()
    assert inputs.mean(0).abs().max() < 1e-6
    assert (inputs.std(0) - 1).abs().max() < 1e-6
    assert problem.test[0].double().mean(0).abs().max() > 1e-3


def test_a_class_of_two_gives_one_to_each_side():
    labels = torch.tensor([0] * 18 + [1] * 2)
    kept, held = stratified(labels, "test")
    assert labels[kept].sum() == labels[held].sum() == 1
    assert sorted([*kept.tolist(), *held.tolist()]) == list(range(20))


def test_code_lm_parts_share_no_file_and_are_bounded():
    texts = code_lm.texts()
    assert sum(map(len, texts.values())) <= code_lm.MOST_BYTES
    assert len(texts["train"]) > 4 * len(texts["validation"])
    assert texts["test"][:500] not in texts["train"]
    assert code_lm.library_files() == code_lm.library_files()


def test_code_lm_cannot_see_the_future():
    model = code_lm.ByteTransformer(16, 1, 2)
    codes = torch.randint(0, 256, (1, 9))
    changed = codes.clone()
    changed[0, 5] = (codes[0, 5] + 1) % 256
    before, after = model(codes), model(changed)
    assert before.shape == (1, 256, 9)
    assert torch.equal(before[..., :5], after[..., :5])
    assert not torch.allclose(before[..., 5:], after[..., 5:])


def test_code_lm_starts_at_eight_bits_and_has_a_fifth_of_a_million_parameters():
    problem = load_problem("code-lm")
    model = problem.model()
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(2e5, rel=0.15)
    torch.manual_seed(0)
    bits = problem.evaluate(problem.model(), "validation")["validation/bits per byte"]
    assert bits == pytest.approx(8, abs=0.2)


def test_code_lm_windows_are_one_byte_apart():
    inputs, target = code_lm.windows(bytes(range(200)))
    assert inputs.shape == target.shape == (3, 64)
    assert torch.equal(inputs + 1, target)
    assert inputs[1, 0] == 64


def test_code_lm_changes_with_the_text(monkeypatch):
    before = load_problem("code-lm").source
    texts = {**code_lm.texts()}
    texts["test"] = texts["test"][:-1] + b"#"
    monkeypatch.setattr(code_lm, "texts", lambda: texts)
    assert load_problem("code-lm").source != before


def test_code_lm_without_sources_is_a_sentence(monkeypatch, tmp_path):
    monkeypatch.setattr(code_lm.sysconfig, "get_paths", lambda: {"stdlib": str(tmp_path)})
    assert "use a Python that is installed with its .py files" in refusal("code-lm")


@pytest.mark.parametrize("condition", [1, 100, 1e5])
def test_the_quadratic_has_its_condition_number_and_turned_axes(condition):
    function = Quadratic(condition, 12)
    hessian = torch.autograd.functional.hessian(
        lambda point: torch.func.functional_call(function, {"point": point}, (None,)),
        function.point.detach(),
    ).double()
    eigenvalues = torch.linalg.eigvalsh(hessian)
    assert eigenvalues[-1].item() == pytest.approx(1, rel=1e-4)
    assert eigenvalues[0].item() == pytest.approx(1 / condition, rel=1e-3, abs=2e-7)
    if condition > 1:
        assert (hessian - hessian.diag().diag()).abs().max() > 0.05


def test_quadratics_differ_in_start_and_share_the_minimum():
    torch.manual_seed(0)
    first, second = Quadratic(100, 5), Quadratic(100, 5)
    assert torch.equal(first.minimiser, second.minimiser)
    assert not torch.equal(first.point, second.point)
    assert first.minimiser.abs().min() > 0  # weight decay is no help


def test_rosenbrock_is_the_textbook_function():
    function = Rosenbrock(3)
    with torch.no_grad():
        function.point.copy_(torch.tensor([0.5, -1.0, 2.0]))
    assert function().item() == pytest.approx(
        100 * (-1 - 0.25) ** 2 + 0.5**2 + 100 * (2 - 1) ** 2 + 2**2
    )


def test_the_logarithm_of_an_objective_stops_at_minus_twelve():
    problem = load_problem("rosenbrock")
    model = problem.model()
    nn.init.ones_(model.point)
    assert problem.evaluate(model, "test") == {"test/log10 value": -12.0}


def test_a_plane_separates_the_separable_data_only():
    plane = 1 - 2 * (torch.arange(logistic.DIMENSION) % 2).float()
    unscale = torch.logspace(0, -1, logistic.DIMENSION)
    hits = {}
    for separable in (False, True):
        features, label = logistic.samples(separable, "train")
        assert features.shape == (2000, 20)
        hits[separable] = (((features / unscale) @ plane > 0) == label.bool()).double().mean()
    assert hits[True] == 1
    assert 0.7 < hits[False] < 0.85


@pytest.mark.parametrize(
    ("reference", "said"),
    [
        ("digit", "did you mean 'digits'"),
        ("digits_mlp", "did you mean 'digits-mlp'"),
        ("nothing-like-it", "give one of blobs-overlap, breast-cancer, code-lm"),
        ("loading", "there is no problem 'loading'"),
        ("", "there is no problem ''"),
        ("quadratic(cond=3)", "no option 'cond'; did you mean 'condition'?"),
        ("digits(size=3)", "it takes: none at all"),
        ("quadratic(condition=x)", "write quadratic, or quadratic(option=value)"),
        ("quadratic(100)", "write quadratic, or quadratic(option=value)"),
        ("quadratic(condition=0.5)", "give a number from 1 to 1e6"),
        ("quadratic(condition='big')", "give a number from 1 to 1e6"),
        ("quadratic(dimension=1)", "give an integer of at least 2"),
        ("rosenbrock(dimension=2.5)", "give an integer of at least 2"),
        ("logistic(separable=1)", "write True or False"),
        ("missing.csv", "there is no 'missing.csv' in"),
        ("nowhere/data.csv", "there is no folder nowhere"),
    ],
)
def test_what_cannot_be_found_is_a_sentence(reference, said, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert said in refusal(reference)


def test_options_that_do_not_apply_are_refused(tmp_path):
    assert "leave target out" in refusal("digits", target="y")
    assert "leave task out" in refusal("digits", task="regression")
    assert "write classification or regression" in refusal("digits", task="regresion")
    (tmp_path / "a.npz").write_bytes(b"")
    assert "leave target out" in refusal(str(tmp_path / "a.npz"), target="y")


def test_a_name_with_options_is_its_own_problem():
    problem = load_problem("quadratic( dimension=20,condition=1000 )")
    assert problem.name == "quadratic(condition=1000, dimension=20)"
    assert problem.target is None
    assert problem.source != load_problem("quadratic(condition=1000, dimension=21)").source


def test_the_nearest_file_is_suggested(tmp_path):
    (tmp_path / "houses.csv").write_text("a,b\n1,2\n")
    assert "did you mean 'houses.csv'?" in refusal(str(tmp_path / "house.csv"), target="a")
    (tmp_path / "houses.xlsx").write_text("")
    assert ".parquet or .npz file" in refusal(str(tmp_path / "houses.xlsx"), target="a")
