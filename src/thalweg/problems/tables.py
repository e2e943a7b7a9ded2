"""Tables of the user's: CSV and Parquet files with a column to predict."""

import hashlib
import re
import warnings
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import torch
from numpy.typing import NDArray
from torch import Tensor

from thalweg.core.errors import ProblemError
from thalweg.core.recipe import suggest
from thalweg.problems.nets import mlp
from thalweg.problems.splits import standardise
from thalweg.problems.supervised import Task, classify, refuse_rows, regress
from thalweg.training.problem import TrainingProblem

MOST_CATEGORIES = 32  # of a column; rarer ones are taken together
MOST_CLASSES = 20  # up to which whole numbers are taken for classes
DATES = ("ISO8601", "%d.%m.%Y", "%m/%d/%Y", "%d/%m/%Y")
PERIODS = (1.0, 7.0, 365.25)  # in days: what dates may have rhythms of


def table_problem(path: Path, target: str | None, task: Task | None) -> TrainingProblem:
    """Make a problem of a table: an MLP predicts a column from the others.

    Numbers are standardised, missing ones replaced by the median and marked; texts become one
    indicator per frequent value; dates become days and their rhythms. Everything is learnt from
    the training rows. Columns that cannot help are left out: constant ones, row numbers and other
    identifiers, and texts that hardly repeat.

    Args:
        path: A ``.csv``, ``.tsv`` or ``.parquet`` file.
        target: The column to predict.
        task: ``classification`` or ``regression``; where not given, texts, truth values and few
            whole numbers are classes, and all other numbers are predicted as such.

    Raises:
        ProblemError: Where the file cannot be read, or the column cannot be predicted.
    """
    frame = read_table(path)
    names = _listed(frame.columns)
    if target is None:
        raise ProblemError(
            f"{path.name}: which column is to be predicted? name it with target= "
            f"(--target on the command line), one of: {names}"
        )
    if target not in frame.columns:
        raise ProblemError(
            f"{path.name} has no column {target!r}{suggest(target, frame.columns)}; "
            f"its columns are: {names}"
        )
    goal = frame[target]
    what = f"column {target!r} of {path.name}"
    refuse_rows(
        goal.isna().to_numpy(),
        what,
        "has no value",
        "fill these in, or delete the rows",
    )
    given = {"train": torch.arange(len(frame))}
    if (task or _likely_task(goal, what)) == "classification":
        numeric = pd.api.types.is_numeric_dtype(goal)
        labels = goal.to_numpy() if numeric else goal.astype(str).to_numpy(dtype=object)
        aim = classify(labels, given, what)
    else:
        aim = regress(_as_numbers(goal, what), given, what)
    inputs, left_out = encode(frame.drop(columns=target), aim.parts["train"].numpy(), path.name)
    description = f"{path.name}: {len(frame)} rows, {inputs.shape[1]} inputs"
    if left_out:
        description += f" (left out: {_listed(left_out)})"
    return aim.problem(
        path.name,
        partial(mlp, inputs.shape[1], aim.n_outputs),
        lambda index: (inputs[index], aim.target[index]),
        description=description,
        source_text=f"{hashlib.sha256(path.read_bytes()).hexdigest()} {target} {task}",
    )


def read_table(path: Path) -> pd.DataFrame:
    """Read a table.

    The delimiter of a ``.csv`` is the one of comma, semicolon, tab and bar that its first line has
    most of.

    Raises:
        ProblemError: Where it cannot be read, is empty, or two of its columns share a name.
    """
    try:
        if path.suffix.lower() == ".parquet":
            frame = pd.read_parquet(path)
            header = [str(name) for name in frame.columns]
        else:
            frame, header = _read_text(path)
    except ProblemError:
        raise
    except pd.errors.ParserWarning:
        raise ProblemError(
            f"{path.name} cannot be read as a table: its rows have more cells than its first line "
            "has names; name every column"
        ) from None
    except UnicodeDecodeError:
        raise ProblemError(f"{path.name} is not UTF-8 text; save it in that encoding") from None
    except Exception as error:  # readers raise all sorts for a broken file
        reason = " ".join(str(error).split()) or type(error).__name__
        kind = path.suffix.lower().lstrip(".")
        raise ProblemError(
            f"{path.name} cannot be read as a {kind} table ({reason}); repair or re-export it"
        ) from None
    header = [name.strip() or f"unnamed {i}" for i, name in enumerate(header, 1)]
    for name in header:
        if header.count(name) > 1:
            raise ProblemError(
                f"{path.name} has {header.count(name)} columns named {name!r}; "
                "give each a name of its own"
            )
    frame.columns = pd.Index(header)
    if frame.empty:
        raise ProblemError(f"{path.name} has names of columns but no rows; give it some")
    return frame.reset_index(drop=True)


def encode(frame: pd.DataFrame, train: NDArray[np.int64], source: str) -> tuple[Tensor, list[str]]:
    """Turn columns into numbers that a network can learn from.

    Args:
        frame: The columns to predict from, n rows.
        train: The rows to learn medians, categories, means and deviations from.
        source: Where they come from, for error messages.

    Returns:
        Inputs of shape (n, k), and the names of the columns that are left out.

    Raises:
        ProblemError: Where a number is infinite, or no column can be used.
    """
    columns: list[NDArray[Any]] = []
    left_out = []
    for name in frame.columns:
        encoded = _encode_column(frame[name], train, f"column {name!r} of {source}")
        useful = [column for column in encoded if len(np.unique(column[train])) > 1]
        columns += useful
        if not useful:
            left_out.append(str(name))
    if not columns:
        raise ProblemError(
            f"{source} has no column to predict from: all but the target are constant, or "
            "identifiers; give at least one that varies and repeats"
        )
    # Indicators stay 0 and 1: scaled by their deviation, rare ones would drown all else.
    inputs = torch.tensor(np.stack(columns, 1), dtype=torch.float64)
    numbers = torch.tensor([column.dtype != bool for column in columns])
    if numbers.any():
        inputs[:, numbers] = standardise(inputs[:, numbers], torch.as_tensor(train)).double()
    return inputs.float(), left_out


def _read_text(path: Path) -> tuple[pd.DataFrame, list[str]]:
    """Read a table and its names as they stand there; pandas makes double ones differ."""
    with path.open(encoding="utf-8-sig") as file:
        first = next((line for line in file if line.strip()), "")
    if not first:
        raise ProblemError(f"{path.name} is empty; give a line of names and rows below it")
    form: Any = {
        "sep": max(",;\t|", key=first.count),
        "encoding": "utf-8-sig",
        "skipinitialspace": True,
        "index_col": False,
    }
    names = pd.read_csv(path, header=None, nrows=1, dtype=str, keep_default_na=False, **form)
    with warnings.catch_warnings():
        warnings.simplefilter("error", pd.errors.ParserWarning)
        frame = pd.read_csv(path, na_values="?", low_memory=False, **form)
    return frame, [str(name) for name in names.iloc[0]]


def _encode_column(
    series: "pd.Series[Any]", train: NDArray[np.int64], what: str
) -> list[NDArray[Any]]:
    if pd.api.types.is_timedelta64_dtype(series):
        series = series.dt.total_seconds()
    if pd.api.types.is_numeric_dtype(series):
        return [] if _is_identifier(series) else _encode_numbers(_as_numbers(series, what), train)
    days = _as_days(series)
    if days is not None:
        angles = [2 * np.pi * (days % period) / period for period in PERIODS]
        rhythms = [wave(angle) for angle in angles for wave in (np.sin, np.cos)]
        return [
            column for values in (days, *rhythms) for column in _encode_numbers(values, train)[:1]
        ]
    return _encode_texts(series, train)


def _encode_numbers(values: NDArray[np.float64], train: NDArray[np.int64]) -> list[NDArray[Any]]:
    missing = np.isnan(values)
    known = values[train][~missing[train]]
    return [np.where(missing, np.median(known), values), missing] if known.size else []


def _encode_texts(series: "pd.Series[Any]", train: NDArray[np.int64]) -> list[NDArray[Any]]:
    missing = series.isna().to_numpy()
    texts = np.where(missing, "", series.astype(str).to_numpy(dtype=object))
    values, counts = np.unique(texts[train][~missing[train]], return_counts=True)
    if len(values) > len(train) / 2:
        return []
    frequent = values[np.argsort(-counts, kind="stable")[:MOST_CATEGORIES]]
    indicators = [(texts == value) & ~missing for value in frequent]
    return [*indicators, ~np.isin(texts, frequent) & ~missing, missing]


def _as_numbers(series: "pd.Series[Any]", what: str) -> NDArray[np.float64]:
    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_complex_dtype(series):
        raise ProblemError(
            f"{what} holds {series.dtype} values, but regression predicts real numbers; "
            "convert them, or give task=classification"
        )
    values: NDArray[np.float64] = series.to_numpy(dtype="float64", na_value=np.nan)
    refuse_rows(
        np.abs(values) > np.finfo(np.float32).max,
        what,
        "is infinite or too large for single precision",
        "replace these values, or leave the cells empty",
    )
    return values


def _as_days(series: "pd.Series[Any]") -> NDArray[np.float64] | None:
    """Return days since 1970 where all values are dates, NaN where missing; else None."""
    if not isinstance(series.dtype, pd.CategoricalDtype):
        is_date = pd.api.types.is_datetime64_any_dtype(series)
        values = series if is_date else series.astype("string")
        for form in DATES:
            try:
                dates = pd.to_datetime(values, format=form, utc=True)
            except (ValueError, TypeError, OverflowError):
                continue
            days = (dates - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(days=1)
            return np.asarray(days, dtype=np.float64)
    return None


def _is_identifier(series: "pd.Series[Any]") -> bool:
    """Whether a column numbers its rows: from 0 or 1 on, or by its name."""
    if not pd.api.types.is_integer_dtype(series) or not series.is_unique:
        return False
    counted = series.iloc[0] in (0, 1) and bool((series.diff().iloc[1:] == 1).all())
    return counted or re.search(r"(^|[\W_])(id|Id|ID)$|[a-z](Id|ID)$", str(series.name)) is not None


def _likely_task(series: "pd.Series[Any]", what: str) -> Task:
    if pd.api.types.is_datetime64_any_dtype(series):
        raise ProblemError(f"{what} holds dates; turn them into numbers or classes to predict")
    if not pd.api.types.is_numeric_dtype(series) or pd.api.types.is_bool_dtype(series):
        return "classification"
    values = _as_numbers(series, what)
    n_values = len(np.unique(values))
    whole = bool((values == np.round(values)).all())
    few = n_values <= max(2, min(MOST_CLASSES, len(values) // 5))
    return "classification" if whole and few else "regression"


def _listed(names: Any, most: int = 12) -> str:
    listed = [str(name) for name in names]
    return ", ".join(listed[:most]) + (f" and {len(listed) - most} more" if listed[most:] else "")
