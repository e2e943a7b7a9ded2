import numpy as np
import pytest
import torch
from torch import nn

from tests.problems.running import qualities, refusal
from thalweg.problems.loading import load_problem

DRAW = np.random.default_rng(0)
N = 90
ROWS = DRAW.normal(size=(N, 5))
CLASSES = (ROWS[:, 0] > 0).astype(int)
NUMBERS = ROWS @ np.arange(5.0)
IMAGES = DRAW.integers(0, 100, (N, 12, 10), dtype=np.uint8)
IMAGES[CLASSES == 1, :6] += 100


def saved(tmp_path, **arrays):
    path = tmp_path / "a.npz"
    np.savez(path, **arrays)
    return str(path)


def test_rows_and_classes(tmp_path):
    problem = load_problem(saved(tmp_path, X=ROWS, y=CLASSES))
    assert problem.metric.name == "accuracy"
    assert len(problem.train[0]) == 58
    assert problem.train[0].mean(0).abs().max() < 1e-5
    assert qualities(problem, "adamw(lr=1e-2)")[-1] > 0.8


def test_rows_and_numbers(tmp_path):
    problem = load_problem(saved(tmp_path, X=ROWS, y=NUMBERS))
    assert problem.metric.name == "R2"
    assert qualities(problem, "adamw(lr=1e-2)")[-1] > 0.8


def test_several_numbers_at_once(tmp_path):
    problem = load_problem(saved(tmp_path, X=ROWS, y=np.stack([NUMBERS, -NUMBERS], 1)))
    assert problem.train[1].shape[1] == 2
    assert len(qualities(problem, steps=2)) == 4


@pytest.mark.parametrize(
    ("images", "shape"),
    [
        (IMAGES, (1, 12, 10)),
        (IMAGES[:, None], (1, 12, 10)),
        (np.stack([IMAGES] * 3, 1), (3, 12, 10)),
        (np.stack([IMAGES] * 3, 3), (3, 12, 10)),
        (IMAGES[..., None] / 255, (1, 12, 10)),
    ],
)
def test_images_meet_a_conv_net(images, shape, tmp_path):
    problem = load_problem(saved(tmp_path, X=images, y=CLASSES))
    assert problem.train[0].shape[1:] == shape
    assert any(isinstance(layer, nn.Conv2d) for layer in problem.model())
    assert len(qualities(problem, steps=2)) == 4


def test_a_conv_net_learns_the_images(tmp_path):
    assert qualities(load_problem(saved(tmp_path, X=IMAGES, y=CLASSES)), steps=60)[-1] > 0.9


@pytest.mark.parametrize(
    "names",
    [
        ("X_train", "y_train", "X_test", "y_test"),
        ("x_train", "Y_train", "x_test", "Y_test"),
        ("train_images", "train_labels", "test_images", "test_labels"),
    ],
)
def test_given_parts_are_kept(names, tmp_path):
    arrays = (ROWS[:60], CLASSES[:60, None], ROWS[60:], CLASSES[60:, None])
    problem = load_problem(saved(tmp_path, **dict(zip(names, arrays, strict=True))))
    assert [len(part[0]) for part in (problem.train, problem.validation, problem.test)] == [
        48,
        12,
        30,
    ]
    assert torch.equal(problem.test[1], torch.as_tensor(CLASSES[60:]))


def test_all_three_parts_may_be_given(tmp_path):
    parts = {"train": slice(0, 50), "val": slice(50, 60), "test": slice(60, 90)}
    arrays = {f"X_{name}": ROWS[part] for name, part in parts.items()}
    arrays |= {f"y_{name}": NUMBERS[part] for name, part in parts.items()}
    problem = load_problem(saved(tmp_path, **arrays))
    assert [len(part[0]) for part in (problem.train, problem.validation, problem.test)] == [
        50,
        10,
        30,
    ]


def test_the_task_can_be_set(tmp_path):
    path = saved(tmp_path, X=ROWS, y=CLASSES.astype(float))
    assert load_problem(path).metric.name == "R2"
    assert load_problem(path, task="classification").metric.name == "accuracy"
    names = saved(tmp_path, X=ROWS, y=np.where(CLASSES, "a", "b"))
    assert load_problem(names).metric.name == "accuracy"


def test_the_source_changes_with_the_contents(tmp_path):
    first = load_problem(saved(tmp_path, X=ROWS, y=CLASSES)).source
    assert load_problem(saved(tmp_path, X=ROWS, y=CLASSES)).source == first
    changed = ROWS.copy()
    changed[-1, -1] += 1e-9
    assert load_problem(saved(tmp_path, X=changed, y=CLASSES)).source != first


def spoilt(array, value):
    array = np.array(array, dtype=float)
    array[3] = value
    return array


OBJECTS = np.array([[1], [2, 3]] * 45, dtype=object)


@pytest.mark.parametrize(
    ("arrays", "said"),
    [
        ({"X": ROWS}, "holds no y for its train data; save it with numpy.savez"),
        ({"y": CLASSES}, "holds no X for its train data"),
        ({"a": ROWS, "b": CLASSES}, "holds a, b, but no X and y to train on"),
        ({"X_test": ROWS, "y_test": CLASSES}, "but no X and y to train on"),
        ({"X": ROWS, "y": CLASSES, "X_test": ROWS}, "holds no y for its test data"),
        ({"X": ROWS, "images": IMAGES, "y": CLASSES}, "holds X twice, again as 'images'"),
        ({"X": ROWS[:-1], "y": CLASSES}, "X has shape (89, 5) and y (90,); give them the same"),
        ({"X": np.float64(3), "y": CLASSES}, "give them the same number of samples"),
        ({"X": ROWS[:0], "y": CLASSES[:0]}, "is empty; give samples"),
        ({"X": ROWS[:, :0], "y": CLASSES}, "give samples that hold numbers"),
        ({"X": ROWS.reshape(N, 5, 1, 1, 1), "y": CLASSES}, "give rows (n, k), or images"),
        ({"X": np.zeros((N, 2, 5, 5)), "y": CLASSES}, "1, 3 or 4 channels"),
        (
            {"X": ROWS, "y": CLASSES, "X_test": ROWS[:, :4], "y_test": CLASSES},
            "may differ in the number of samples only",
        ),
        ({"X": ROWS.astype(str), "y": CLASSES}, "give numbers"),
        ({"X": ROWS, "y": OBJECTS}, "array 'y' in a.npz holds Python objects"),
        ({"X": spoilt(ROWS, np.nan), "y": CLASSES}, "X in a.npz is missing or infinite in 1 of 90"),
        ({"X": spoilt(ROWS, np.inf), "y": CLASSES}, "(the first is row 4); replace"),
        ({"X": ROWS, "y": spoilt(NUMBERS, np.nan)}, "y in a.npz is missing or infinite"),
        ({"X": ROWS, "y": CLASSES * 0}, "holds one class only, 0; give samples of at least two"),
        ({"X": ROWS, "y": NUMBERS * 0}, "so there is nothing to predict"),
        ({"X": ROWS, "y": np.arange(N)}, "too many to be classes"),
        ({"X": ROWS, "y": np.stack([CLASSES] * 2, 1)}, "give one class a sample, shape (n,)"),
        ({"X": ROWS[:10], "y": CLASSES[:10]}, "10 samples are too few"),
        (
            {"X": ROWS, "y": CLASSES, "X_test": ROWS, "y_test": CLASSES + 1},
            "class 2 of y in a.npz has no training samples",
        ),
    ],
)
def test_arrays_that_do_not_fit_are_refused_with_a_sentence(arrays, said, tmp_path):
    assert said in refusal(saved(tmp_path, **arrays))


def test_a_text_target_is_no_regression(tmp_path):
    path = saved(tmp_path, X=ROWS, y=np.where(CLASSES, "a", "b"))
    assert "for a regression give numbers" in refusal(path, task="regression")


@pytest.mark.parametrize("content", [b"", b"nonsense", b"PK\x03\x04 broken"])
def test_broken_archives_are_refused_with_a_sentence(content, tmp_path):
    path = tmp_path / "a.npz"
    path.write_bytes(content)
    assert "cannot be read as a NumPy archive; save it with" in refusal(str(path))


def test_a_single_array_is_refused_with_a_sentence(tmp_path):
    path = tmp_path / "a.npz"
    with path.open("wb") as file:
        np.save(file, ROWS)
    assert "is a single array; save it with" in refusal(str(path))
