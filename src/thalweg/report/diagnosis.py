"""The report of a diagnosis: findings in words, then what each instrument read."""

import math
import re
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from thalweg.bench import wording
from thalweg.core.catalogue import catalogue
from thalweg.core.instrument import Instrument, Symptom
from thalweg.core.paper import Paper
from thalweg.diagnosis.results import Diagnosis, Examination
from thalweg.report.encodings import Chart, capital
from thalweg.report.page import fill, write_page
from thalweg.report.tables import Cell, Column, Table

BADGES = {"fault": "trouble", "warning": "undecided", "note": "equivalent"}
OUTCOMES = {"done": "", "failed": "trouble", "interrupted": "undecided", "no time": "undecided"}
TICKS = 8  # about, on an axis whose chart leaves it open
SINGLE = ("mark", "layer")  # a specification with one of these fills the width it is given


@dataclass(frozen=True)
class Finding:
    """A symptom as the page shows it; remedies with the place they link to, if any."""

    symptom: Symptom
    instrument: Instrument
    remedies: Sequence[tuple[str, str]]

    @property
    def title(self) -> str:
        """The title as a sentence begins."""
        return capital(self.symptom.title)

    @property
    def badge(self) -> str:
        """The colour of its severity."""
        return BADGES[self.symptom.severity]

    @property
    def anchor(self) -> str:
        """Where its instrument's section stands."""
        return _anchor(self.instrument)


@dataclass(frozen=True)
class Section:
    """What an instrument read, and the paper it is from."""

    instrument: Instrument
    paper: Paper | None
    charts: Mapping[str, Chart]
    tables: Sequence[Table]

    @property
    def anchor(self) -> str:
        """Its place in the page."""
        return _anchor(self.instrument)


def write_diagnosis(diagnosis: Diagnosis, path: Path) -> Path:
    """Write the report of a diagnosis as one self-contained HTML file.

    Args:
        diagnosis: Finished or not.
        path: Where to write it; the folder must exist.

    Returns:
        The path.

    Raises:
        OSError: Where the file cannot be written; the message says why in a sentence.
    """
    known = catalogue()
    sections = [
        _section(item)
        for item in diagnosis.examinations
        if item.reading.charts or item.reading.tables
    ]
    findings, named = [], []
    for symptom in diagnosis.symptoms:
        remedies = []
        for text in symptom.remedies:
            paper = _paper_of(text)
            named += [paper] if paper else []
            remedies.append((text, f"paper-{paper.id}" if paper else ""))
        findings.append(Finding(symptom, diagnosis.source_of(symptom), remedies))
    named += [section.paper for section in sections if section.paper]
    overview = _overview(diagnosis.examinations)
    charts = {anchor: chart for section in sections for anchor, chart in section.charts.items()}
    text = fill(
        "diagnosis.html",
        charts,
        [overview, *(table for section in sections for table in section.tables)],
        legend=True,
        diagnosis=diagnosis,
        findings=findings,
        sections=sections,
        overview=overview,
        failures=[item for item in diagnosis.examinations if item.outcome == "failed"],
        papers=[paper for id, paper in known.papers.items() if paper in named],
    )
    return write_page(text, path)


def _section(item: Examination) -> Section:
    anchor = _anchor(item.instrument)
    return Section(
        item.instrument,
        _home(item.instrument),
        {
            f"{anchor}-chart-{i}": _chart(f"{anchor}-chart-{i}", caption, chart)
            for i, (caption, chart) in enumerate(item.reading.charts.items(), 1)
        },
        [
            _table(f"{item.instrument.name}-{i}", caption, rows)
            for i, (caption, rows) in enumerate(item.reading.tables.items(), 1)
            if rows
        ],
    )


def _anchor(instrument: Instrument) -> str:
    return f"instrument-{instrument.name}"


def _home(instrument: Instrument) -> Paper | None:
    """Return the paper that an instrument is from."""
    papers = catalogue().papers.values()
    return next((paper for paper in papers if instrument in paper.instruments), None)


def _paper_of(remedy: str) -> Paper | None:
    """Return the paper that a remedy names, by its id or by one of its methods in a recipe."""
    words = set(re.split(r"[+\s,]+", remedy))
    for paper in catalogue().papers.values():
        if words & {paper.id, *(method.name for method in paper.methods)}:
            return paper
    return None


def _chart(name: str, title: str, chart: Any) -> Chart:
    spec = _finite(chart.to_dict(validate=False))
    for part in ("config", "$schema"):
        spec.pop(part, None)
    note = _note(spec.pop("title", ""))
    if any(part in spec for part in SINGLE):
        spec |= {"width": "container", "autosize": {"type": "fit-x", "contains": "padding"}}
    spec |= {"params": spec.get("params", []), "config": {"axis": {"tickCount": TICKS}}}
    return Chart(name, title, note, {"": spec}, {})


def _note(title: Any) -> str:
    """Return a chart's title, and its subtitle's lines, as sentences."""
    if isinstance(title, str):
        return title
    below = title.get("subtitle", [])
    parts = [title.get("text", ""), *([below] if isinstance(below, str) else below)]
    return " ".join(f"{capital(part).rstrip('.')}." for part in parts if part)


def _finite(value: Any) -> Any:
    """Replace what JSON has no word for."""
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def _table(name: str, caption: str, rows: Sequence[Mapping[str, Any]]) -> Table:
    columns = list(dict.fromkeys(key for row in rows for key in row))
    numeric = {key: all(_is_number(row.get(key)) for row in rows) for key in columns}
    return Table(
        name,
        caption,
        [Column(capital(key), numeric[key]) for key in columns],
        {"": [[_cell(row.get(key)) for key in columns] for row in rows]},
        [dict(row) for row in rows],
    )


def _is_number(value: Any) -> bool:
    return value is None or (isinstance(value, int | float) and not isinstance(value, bool))


def _cell(value: Any) -> Cell:
    if value is None:
        return Cell("", math.nan)
    if _is_number(value):
        return Cell(wording.number(value), float(value))
    return Cell(str(value))


def _overview(examinations: Iterable[Examination]) -> Table:
    rows, records = [], []
    for item in examinations:
        found = [symptom.title for symptom in item.reading.symptoms]
        result = item.reason or "; ".join(found) or "nothing found"
        rows.append(
            [
                Cell(item.instrument.name, note=item.instrument.summary),
                Cell(item.outcome, badge=OUTCOMES.get(item.outcome, "")),
                Cell(wording.seconds(item.seconds) if item.seconds else "", item.seconds),
                Cell(capital(result)),
            ]
        )
        records.append(
            {
                "instrument": item.instrument.name,
                "outcome": item.outcome,
                "seconds": item.seconds,
                "result": result,
            }
        )
    columns = [
        Column("Instrument", numeric=False),
        Column("Outcome", numeric=False),
        Column("Time"),
        Column("Result", numeric=False),
    ]
    return Table("examinations", "What became of each instrument", columns, {"": rows}, records)
