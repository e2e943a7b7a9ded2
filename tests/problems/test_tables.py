import numpy as np
import pandas as pd
import pytest
import torch

from tests.problems.running import qualities, refusal
from thalweg.problems.loading import load_problem

N = 200


@pytest.fixture
def frame():
    draw = np.random.default_rng(0)
    size = draw.normal(size=N)
    colour = draw.choice(["red", "green", "blue"], N)
    return pd.DataFrame(
        {
            "size": size,
            "colour": colour,
            "old": draw.random(N) < 0.5,
            "day": pd.date_range("2023-01-01", periods=N, freq="17h"),
            "label": np.where(size + (colour == "red") > 0.3, "yes", "no"),
            "price": 100 + 30 * size + 20 * (colour == "red") + draw.normal(size=N),
        }
    )


def saved(frame, path, **options):
    if path.suffix == ".parquet":
        frame.to_parquet(path)
    else:
        frame.to_csv(path, index=False, **options)
    return str(path)


def inputs(problem):
    return torch.cat([part[0] for part in (problem.train, problem.validation, problem.test)])


@pytest.mark.parametrize("name", ["data.csv", "data.parquet"])
def test_texts_are_classified(name, frame, tmp_path):
    problem = load_problem(saved(frame, tmp_path / name), target="label")
    assert problem.name == name
    assert problem.metric.name == "accuracy"
    assert "2 classes" in problem.description
    assert qualities(problem)[-1] > 0.85
    assert torch.isfinite(inputs(problem)).all()


def test_numbers_are_predicted(frame, tmp_path):
    path = saved(frame.drop(columns="label"), tmp_path / "data.csv")
    problem = load_problem(path, target="price")
    assert problem.metric.name == "R2"
    assert problem.train[1].shape == (128, 1)
    assert problem.train[1].mean().abs() < 1e-5
    assert problem.train[1].std().item() == pytest.approx(1, abs=1e-4)
    assert qualities(problem)[-1] > 0.8


def test_csv_and_parquet_are_the_same_data(frame, tmp_path):
    first = load_problem(saved(frame, tmp_path / "data.csv"), target="label")
    second = load_problem(saved(frame, tmp_path / "data.parquet"), target="label")
    assert torch.allclose(inputs(first), inputs(second), atol=1e-5)


@pytest.mark.parametrize("delimiter", [";", "\t", "|"])
def test_the_delimiter_is_found(delimiter, frame, tmp_path):
    path = saved(frame, tmp_path / "data.csv", sep=delimiter)
    commas = load_problem(saved(frame, tmp_path / "commas.csv"), target="label")
    assert torch.equal(inputs(load_problem(path, target="label")), inputs(commas))


@pytest.mark.parametrize(
    ("values", "task", "metric"),
    [
        ([0, 1] * 50, None, "accuracy"),
        ([0.0, 1.0] * 50, None, "accuracy"),
        ([True, False] * 50, None, "accuracy"),
        ([1, 2, 3, 4] * 25, "regression", "R2"),
        (list(range(100)), None, "R2"),
        ([0.5, 1.5] * 50, None, "R2"),
        ([0.5, 1.5] * 50, "classification", "accuracy"),
        (["a"] * 90 + ["b"] * 10, None, "balanced accuracy"),
    ],
)
def test_the_target_decides_what_is_done(values, task, metric, tmp_path):
    table = pd.DataFrame({"x": np.sin(np.arange(100)), "y": values})
    problem = load_problem(saved(table, tmp_path / "t.csv"), target="y", task=task)
    assert problem.metric.name == metric
    assert len(qualities(problem, steps=3)) == 5


def test_every_class_is_in_every_part(tmp_path):
    table = pd.DataFrame({"x": np.sin(np.arange(100)), "y": ["a"] * 60 + ["b"] * 37 + ["c"] * 3})
    problem = load_problem(saved(table, tmp_path / "t.csv"), target="y")
    for part in (problem.train, problem.validation, problem.test):
        assert part[1].unique().tolist() == [0, 1, 2]
    assert problem.loss.weight[2] > problem.loss.weight[1] > problem.loss.weight[0]


def test_statistics_come_from_the_training_rows(frame, tmp_path):
    problem = load_problem(saved(frame[["size", "label"]], tmp_path / "t.csv"), target="label")
    train = problem.train[0].double()
    assert train.shape[1] == 1
    assert train.mean().abs() < 1e-6
    assert train.std().item() == pytest.approx(1, abs=1e-6)
    assert problem.test[0].mean().abs() > 1e-4


def test_missing_values_are_filled_by_the_median_and_marked(tmp_path):
    x = np.arange(100.0)
    x[::4] = np.nan
    text = np.where(np.arange(100) % 3 == 0, None, "a")
    table = pd.DataFrame({"x": x, "text": text, "y": [0, 1] * 50})
    found = inputs(load_problem(saved(table, tmp_path / "t.csv"), target="y"))
    assert torch.isfinite(found).all()
    # x, whether it is missing, whether the text is "a", whether it is missing
    assert found.shape[1] == 4
    marks = found[:, 1]
    assert marks.unique().tolist() == [0, 1]
    assert int(marks.sum()) == 25
    assert len(found[marks == 1][:, 0].unique()) == 1
    assert torch.equal(found[:, 2] + found[:, 3], torch.ones(100))


def test_rare_and_unknown_categories_are_taken_together(tmp_path):
    draw = np.random.default_rng(0)
    names = np.array([f"c{i:02}" for i in range(60)])
    column = np.concatenate([np.repeat(names[:32], 10), np.repeat(names[32:], 2)])
    table = pd.DataFrame({"c": column, "y": draw.integers(0, 2, len(column))})
    found = inputs(load_problem(saved(table, tmp_path / "t.csv"), target="y"))
    assert found.shape[1] == 33
    assert torch.equal(found.sum(1), torch.ones(len(found)))


def test_dates_have_a_trend_and_rhythms(tmp_path):
    days = pd.date_range("2020-02-27", periods=400, freq="D")
    for written in (days.strftime("%Y-%m-%d"), days.strftime("%d.%m.%Y"), days.astype(str)):
        table = pd.DataFrame({"when": written, "y": (days.day_of_week < 5).astype(int)})
        problem = load_problem(saved(table, tmp_path / "t.csv"), target="y")
        # days, sine and cosine of the week and of the year: whole days have no time of day
        assert problem.train[0].shape[1] == 5
    assert qualities(problem, "adamw(lr=1e-2)")[-1] > 0.9


def test_columns_that_cannot_help_are_left_out(frame, tmp_path):
    frame.insert(0, "", range(N))
    frame["constant"] = 3
    frame["empty"] = np.nan
    frame["customer_id"] = np.random.default_rng(1).permutation(N) + 7000
    frame["name"] = [f"person {i}" for i in range(N)]
    problem = load_problem(saved(frame, tmp_path / "t.csv"), target="label")
    for name in ("unnamed 1", "constant", "empty", "customer_id", "name"):
        assert name in problem.description.split("left out: ")[1]
    clean = frame[["size", "colour", "old", "day", "label", "price"]]
    same = load_problem(saved(clean, tmp_path / "clean.csv"), target="label")
    assert torch.equal(inputs(problem), inputs(same))


def test_unusual_columns_of_parquet_are_read(frame, tmp_path):
    frame["count"] = pd.array([1, 2, None, 4] * (N // 4), dtype="Int64")
    frame["flag"] = pd.array([True, None] * (N // 2), dtype="boolean")
    frame["kind"] = pd.Categorical(["u", "v"] * (N // 2))
    frame["wait"] = pd.to_timedelta(np.arange(N) % 9, unit="h")
    problem = load_problem(saved(frame, tmp_path / "t.parquet"), target="label")
    assert "left out" not in problem.description
    assert torch.isfinite(inputs(problem)).all()


def test_question_marks_and_blanks_are_missing(tmp_path):
    path = tmp_path / "t.csv"
    rows = "".join(f"{i if i % 5 else ' ?'}, {'u' if i % 3 else ''}, {i % 2}\n" for i in range(60))
    path.write_text("x, kind, y\n" + rows)
    problem = load_problem(str(path), target="y")
    assert problem.train[0].shape[1] == 4


def test_the_source_changes_with_contents_target_and_task(frame, tmp_path):
    path = saved(frame, tmp_path / "t.csv")
    first = load_problem(path, target="old").source
    assert load_problem(path, target="old").source == first
    assert load_problem(path, target="old", task="regression").source != first
    frame.loc[N - 1, "size"] += 1e-6
    assert load_problem(saved(frame, tmp_path / "t.csv"), target="old").source != first


@pytest.mark.parametrize(("n", "steps"), [(20, 200), (2000, 400), (20_000, 2000)])
def test_the_run_is_about_twenty_epochs(n, steps, tmp_path):
    table = pd.DataFrame({"x": np.sin(np.arange(n)), "y": np.arange(n) % 2})
    assert load_problem(saved(table, tmp_path / "t.csv"), target="y").steps == steps


def test_the_column_must_be_named_and_there(frame, tmp_path):
    path = saved(frame, tmp_path / "t.csv")
    said = refusal(path)
    assert "name it with target=" in said
    assert "one of: size, colour, old, day, label, price" in said
    said = refusal(path, target="prise")
    assert "has no column 'prise'; did you mean 'price'" in said
    assert "its columns are: size" in said


X = [str(np.sin(i)) for i in range(40)]


def table_of(target, inputs=X):
    return "x,y\n" + "".join(f"{a},{b}\n" for a, b in zip(inputs, target, strict=False))


@pytest.mark.parametrize(
    ("text", "task", "said"),
    [
        ("", None, "t.csv is empty; give a line of names"),
        ("\n\n", None, "t.csv is empty; give a line of names"),
        ("x,y\n", None, "names of columns but no rows; give it some"),
        ("x,y,x\n1,2,3\n", None, "2 columns named 'x'; give each a name of its own"),
        ("x,y\n1,2\n1,2,3\n", None, "cannot be read as a csv table"),
        ("x,y\n1,2,3\n1,2,3\n", None, "than its first line has names; name every column"),
        (table_of(["a"] * 40), None, "holds one class only, 'a'; give samples of at least two"),
        (table_of([1] * 40), None, "holds one class only, 1; give"),
        (table_of([1] * 40), "regression", "is 1 in every sample of the train part"),
        (
            table_of(["a"] * 20 + ["b"] * 19 + ["c"]),
            None,
            "class 'c' of column 'y' of t.csv has 1 ",
        ),
        (
            table_of(["a"] * 20 + ["b"] * 18 + ["c"] * 2),
            None,
            "give it at least 3, or leave it out",
        ),
        (
            table_of(["a", ""] * 20),
            None,
            "has no value in 20 of 40 rows (the first is row 2); fill",
        ),
        (table_of([0.5, "nan", 1.7, 2.5] * 10), None, "has no value in 10 of 40 rows"),
        (table_of([0.5, 1.5, "inf", 2.5] * 10), None, "infinite or too large"),
        (table_of(["a", "b"] * 4), None, "8 samples are too few to train, validate and test on"),
        (table_of([f"t{i}" for i in range(40)]), None, "holds 40 different values in 40 samples"),
        (table_of(["a", "b"] * 20), "regression", "or give task=classification"),
        (table_of([f"2020-01-{i % 28 + 1:02}" for i in range(40)]), "regression", "convert them"),
        (table_of(["a", "b"] * 20, ["inf", *X[1:]]), None, "column 'x' of t.csv is infinite"),
        (table_of(["a", "b"] * 20, ["1e300", *X[1:]]), None, "(the first is row 1); replace"),
        (table_of(["a", "b"] * 20, ["7"] * 40), None, "no column to predict from"),
        (table_of(["a", "b"] * 20, range(40)), None, "identifiers; give at least one that varies"),
        (table_of(["a", "b"] * 20), "clustering", "write classification or regression"),
    ],
)
def test_bad_tables_are_refused_with_a_sentence(text, task, said, tmp_path):
    path = tmp_path / "t.csv"
    path.write_text(text)
    assert said in refusal(str(path), target="y", task=task)
    assert [entry.name for entry in tmp_path.iterdir()] == ["t.csv"]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("t.parquet", b"no parquet", "cannot be read as a parquet table"),
        ("t.parquet", b"", "repair or re-export it"),
        ("t.csv", "gr\u00f6\u00dfe,y\n1,2\n".encode("latin-1"), "is not UTF-8 text; save it in"),
        ("t.csv", b"\x00\x01\x02\x03", "t.csv"),
    ],
)
def test_broken_files_are_refused_with_a_sentence(name, content, said, tmp_path):
    (tmp_path / name).write_bytes(content)
    assert said in refusal(str(tmp_path / name), target="y")


def test_dates_are_no_target(frame, tmp_path):
    path = saved(frame, tmp_path / "t.parquet")
    assert "turn them into numbers or classes" in refusal(path, target="day")
