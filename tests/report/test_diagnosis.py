"""The report of a diagnosis, in a real browser."""

import math
from collections.abc import Callable
from pathlib import Path
from typing import Any

import altair as alt
import pytest

from tests.report.fake import NASTY
from tests.report.test_browser import CONTRAST
from thalweg.core.catalogue import catalogue
from thalweg.core.instrument import Instrument, Reading, Symptom
from thalweg.diagnosis import Diagnosis, Examination
from thalweg.report.diagnosis import write_diagnosis

ROWS = [{"x": float(i), "y": math.nan if i == 3 else i * i, "kind": "ab"[i % 2]} for i in range(9)]


def instrument(name: str) -> Instrument:
    return Instrument(name, "Looks.", lambda subject: Reading(), lambda subject: 1, "Anything.")


def diagnosis() -> Diagnosis:
    base = alt.Chart(alt.InlineData(values=ROWS)).encode(x="x:Q", y="y:Q", color="kind:N")
    charts = {
        NASTY[0]: base.mark_line(),
        "Layers": alt.layer(base.mark_line(), base.mark_point()).properties(
            title=alt.TitleParams("how to read it", subtitle=["What it does not tell."])
        ),
        "Bars": base.mark_bar(),
    }
    symptoms = (
        Symptom("a", "note", "worth knowing", "Seen.", "Likely.", "Little."),
        Symptom("b", "fault", NASTY[1], NASTY[2], "Certain.", "Much.", ("sgd+uba", "patience")),
    )
    reading = Reading(symptoms, charts, {"Rows": [*ROWS, {"x": 1e9, "note": NASTY[0]}]})
    known = catalogue().papers["hessian-spectrum"].instruments[0]
    return Diagnosis(
        NASTY[0],
        "a toy",
        {"Model": "none"},
        (
            Examination(known, "done", reading, seconds=0.2),
            Examination(instrument("slow"), "no time", reason="it takes long"),
            Examination(instrument("bad"), "failed", reason="it failed", error=NASTY[1]),
            Examination(instrument("late"), "interrupted", reason="stopped"),
        ),
        {"recipe": "sgd", "command": f"thalweg diagnose '{NASTY[1]}'", "seed": 0},
    )


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_findings_come_first_and_everything_is_drawn(
    tmp_path: Path, open_report: Callable[..., Any], scheme: str
) -> None:
    page = open_report(write_diagnosis(diagnosis(), tmp_path / "a.html"), color_scheme=scheme)
    assert (
        "How to read it. What it does not tell."
        in page.locator("figcaption").all_text_contents()[1]
    )
    severities = page.locator(".finding .badge").all_text_contents()
    assert severities == ["fault", "note"]
    assert NASTY[1][1:] in page.locator(".finding").first.inner_text()
    assert page.locator(".finding a[href='#paper-uba-schedule']").count() == 1
    assert page.locator("#paper-uba-schedule, #paper-hessian-spectrum").count() == 2
    assert page.locator("body script").count() == 3
    assert page.locator("#examinations tbody tr").count() == 4
    figures = page.locator("figure.chart")
    assert figures.count() == 3
    for figure in figures.all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.marks").wait_for()
        assert figure.locator("svg .mark-line path, svg .mark-rect path").count() >= 1
        assert figure.locator("svg .role-legend").count() == 1
    assert page.evaluate(CONTRAST) == []


def test_a_phone_shows_it_without_scrolling_sideways(
    tmp_path: Path, open_report: Callable[..., Any]
) -> None:
    path = write_diagnosis(diagnosis(), tmp_path / "a.html")
    page = open_report(path, viewport={"width": 390, "height": 844})
    for figure in page.locator("figure.chart").all():
        figure.scroll_into_view_if_needed()
        figure.locator("svg.marks").wait_for()
    assert page.evaluate("document.documentElement.scrollWidth") == 390


def test_the_same_diagnosis_gives_the_same_bytes(tmp_path: Path) -> None:
    one, other = (write_diagnosis(diagnosis(), tmp_path / name) for name in ("a.html", "b.html"))
    assert one.read_bytes() == other.read_bytes()


def test_nothing_found_is_said_so(tmp_path: Path) -> None:
    healthy = Diagnosis("toy", "", {}, (Examination(instrument("a"), "done"),), {})
    text = write_diagnosis(healthy, tmp_path / "a.html").read_text()
    assert "No fault found by 1 instrument." in text
