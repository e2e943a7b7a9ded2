"""The report in a real browser."""

import csv
import io
import re
from collections.abc import Callable
from typing import Any

import pytest

from tests.report import fake

CHARTS = ("curves", "differences", "finals", "target", "pareto", "tuning")

Open = Callable[..., Any]

CONTRAST = """() => {
  const channels = (color) => color.match(/[\\d.]+/g).map(Number);
  const light = (color) => {
    const [r, g, b] = channels(color).map((c) =>
      c / 255 <= 0.03928 ? c / 255 / 12.92 : ((c / 255 + 0.055) / 1.055) ** 2.4);
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const ground = (element) => {
    for (let at = element; at; at = at.parentElement) {
      const color = getComputedStyle(at).backgroundColor;
      if ((channels(color)[3] ?? 1) > 0) return color;
    }
    return "rgb(255, 255, 255)";
  };
  const weak = [];
  for (const element of document.querySelectorAll("body *")) {
    const own = [...element.childNodes].some((n) => n.nodeType === 3 && n.data.trim());
    if (!own || ["SCRIPT", "STYLE"].includes(element.tagName)) continue;
    const style = getComputedStyle(element);
    const ink = element.closest("svg") ? style.fill : style.color;
    const [a, b] = [light(ink), light(ground(element))].sort((x, y) => y - x);
    const ratio = (a + 0.05) / (b + 0.05);
    if (ratio < 4.5) weak.push(`${element.tagName}.${element.className}: ${ratio.toFixed(2)}`);
  }
  return weak;
}"""


def draw(page: Any, *names: str) -> None:
    """Scroll to charts, which draws them."""
    for name in names:
        figure = page.locator(f"#{name}")
        figure.scroll_into_view_if_needed()
        page.locator(f"#{name}[data-drawn] svg.marks").wait_for()


def draw_all(page: Any) -> list[str]:
    names = page.locator(".chart").evaluate_all("figures => figures.map(figure => figure.id)")
    draw(page, *names)
    return list(names)


def after_redraw(page: Any, name: str, act: Callable[[], Any]) -> None:
    before = int(page.locator(f"#{name}").get_attribute("data-drawn"))
    act()
    page.locator(f"#{name}[data-drawn='{before + 1}']").wait_for()


def pick(page: Any, name: str, value: str) -> None:
    page.locator(f"label:has(input[name='{name}'][value='{value}'])").click()


def column(page: Any, table: str, number: int, body: int = 0) -> list[str]:
    rows = page.locator(f"#{table} tbody:not(.heading)").nth(body).locator("tr")
    cells = rows.evaluate_all(f"rows => rows.map(row => row.cells[{number}].innerText)")
    return [cell.split("\n")[0].strip() for cell in cells]


def axis_titles(page: Any, name: str) -> str:
    return " ".join(page.locator(f"#{name} svg .role-axis-title text").all_text_contents())


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_all_charts_are_drawn_and_all_text_has_the_contrast_of_wcag_aa(
    open_report: Open, scheme: str
) -> None:
    page = open_report("digits", color_scheme=scheme)
    assert draw_all(page) == [f"problem-1-{name}" for name in CHARTS]
    for name in CHARTS:
        svg = page.locator(f"#problem-1-{name} svg.marks")
        box = svg.bounding_box()
        assert box["width"] > 300
        assert box["height"] > 150
        marks = svg.locator(
            ".mark-symbol path, .mark-line path, .mark-rule line, .mark-rect path"
        ).count()
        assert marks >= 5, name
    assert page.evaluate(CONTRAST) == []


@pytest.mark.parametrize("name", ["nothing", "failed", "alone"])
def test_races_with_little_to_show_are_shown(open_report: Open, name: str) -> None:
    page = open_report(name)
    draw_all(page)
    assert page.locator(".headline").count() == 1
    assert page.locator("#standings-1").count() == 1


def test_the_verdict_and_its_warnings_come_first(open_report: Open) -> None:
    page = open_report("nasty")
    results = fake.RACES["nasty"]()
    headlines = page.locator(".headline").all_text_contents()
    assert headlines == [problem.sentences[0] for problem in results.analysis.problems]
    first = page.locator("#verdict").inner_text()
    assert "quick race: no evidence" in first
    assert "3 of 91 runs are missing" in first
    assert "unfinished: 3 runs missing" in first


def test_tables_sort_by_number_and_by_text_in_both_directions(open_report: Open) -> None:
    page = open_report("digits")
    heading = page.locator("#standings-1 thead th").nth(2)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "ascending"
    for body in (0, 1):
        up = [float(text.removesuffix("\u00a0%")) for text in column(page, "standings-1", 2, body)]
        assert up == sorted(up)
    heading.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "descending"
    down = [float(text.removesuffix("\u00a0%")) for text in column(page, "standings-1", 2)]
    assert down == sorted(down, reverse=True)

    name = page.locator("#standings-1 thead th").nth(0)
    name.get_by_role("button").click()
    assert heading.get_attribute("aria-sort") == "none"
    assert column(page, "standings-1", 0) == sorted(fake.CONTENDERS)
    name.get_by_role("button").click()
    assert column(page, "standings-1", 0) == sorted(fake.CONTENDERS, reverse=True)


def test_what_has_no_value_is_sorted_last_either_way(open_report: Open) -> None:
    page = open_report("digits")
    page.locator("#details summary", has_text="Final runs").click()
    button = page.locator("#runs thead button", has_text="Judged")
    for _ in range(2):
        button.click()
        assert column(page, "runs", 4)[-2:] == ["failed", "failed"]


def test_csv_holds_the_numbers_in_full(open_report: Open) -> None:
    page = open_report("digits")
    with page.expect_download() as download:
        page.locator("button[data-csv='standings-1']").click()
    assert download.value.suggested_filename == "thalweg-standings-1.csv"
    rows = list(csv.DictReader(io.StringIO(download.value.path().read_text(encoding="utf-8"))))
    (problem,) = fake.RACES["digits"]().analysis.problems
    standings = [item for lane in problem.standings.values() for item in lane]
    assert [(row["lane"], row["contender"]) for row in rows] == [
        (item.lane, item.contender) for item in standings
    ]
    assert [float(row["median"]) for row in rows] == [item.median for item in standings]
    assert [float(row["steps_to_target"]) for row in rows] == [
        item.to_target["steps"].median for item in standings
    ]
    assert {row["verdict"] for row in rows} >= {"baseline", "worse"}


def test_downloaded_pictures_are_whole(open_report: Open) -> None:
    page = open_report("digits")
    draw(page, "problem-1-curves")
    for form, start in (("png", b"\x89PNG"), ("svg", b"<svg")):
        with page.expect_download() as download:
            page.locator(f"#problem-1-curves button[data-picture='{form}']").click()
        content = download.value.path().read_bytes()
        assert content.startswith(start)
        assert len(content) > 5000
    assert b"adahessian" in content, "a picture needs its own legend"


def test_theme_follows_the_system_until_the_reader_chooses(open_report: Open) -> None:
    page = open_report("digits", color_scheme="dark")
    draw(page, "problem-1-curves")
    button = page.locator("#theme")
    background = "getComputedStyle(document.body).backgroundColor"
    label = page.locator("#problem-1-curves svg .role-axis-label text").first
    dark = page.evaluate(background), label.get_attribute("fill")
    assert button.get_attribute("aria-pressed") == "true"
    after_redraw(page, "problem-1-curves", button.click)
    assert button.get_attribute("aria-pressed") == "false"
    light = page.evaluate(background), label.get_attribute("fill")
    assert dark == ("rgb(16, 18, 23)", "#c5cad3")
    assert light == ("rgb(247, 248, 250)", "#3d434b")


def test_switches_change_the_axes(open_report: Open) -> None:
    page = open_report("digits")
    name = "problem-1-curves"
    draw(page, name)
    assert "steps" in axis_titles(page, name)
    after_redraw(page, name, lambda: pick(page, f"{name}-cost", "seconds"))
    assert "seconds" in axis_titles(page, name)
    after_redraw(page, name, lambda: pick(page, f"{name}-cost", "gradients"))
    assert "gradient evaluations" in axis_titles(page, name)

    labels = page.locator(f"#{name} svg .role-axis-label").first
    linear = labels.text_content()
    after_redraw(page, name, lambda: pick(page, f"{name}-x", "log"))
    assert labels.text_content() != linear
    lines = page.locator(f"#{name} svg .mark-line path")
    medians = lines.count()
    after_redraw(page, name, lambda: pick(page, f"{name}-show", "runs"))
    assert lines.count() > 5 * medians


def test_lanes_and_contenders_are_chosen_for_all_charts(open_report: Open) -> None:
    page = open_report("digits")
    names = draw_all(page)
    points = page.locator("#problem-1-finals svg .mark-symbol path")
    assert points.count() == 50
    assert "diverged" in " ".join(points.evaluate_all("p => p.map(p => p.ariaLabel)"))
    after_redraw(page, names[2], lambda: pick(page, "lane", "defaults"))
    assert "diverged" not in " ".join(points.evaluate_all("p => p.map(p => p.ariaLabel)"))
    chip = page.locator(".chip", has_text="sgd")
    chip.click()
    assert chip.get_attribute("aria-pressed") == "false"
    page.wait_for_timeout(200)
    assert points.count() == 40
    assert page.locator("#problem-1-differences svg .mark-symbol path").count() == 3


def test_everything_works_by_keyboard(open_report: Open) -> None:
    page = open_report("digits")
    name = "problem-1-curves"
    draw(page, name)

    page.evaluate("scrollTo(0, 0)")
    page.locator("body").press("Tab")
    assert page.evaluate("document.activeElement.textContent") == "Skip to the verdict"
    for _ in range(6):
        page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.id") == "theme"
    assert page.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
    after_redraw(page, name, lambda: page.keyboard.press("Enter"))

    heading = page.locator("#standings-1 thead th").nth(3)
    heading.get_by_role("button").focus()
    page.keyboard.press("Enter")
    assert heading.get_attribute("aria-sort") == "ascending"
    page.keyboard.press("Space")
    assert heading.get_attribute("aria-sort") == "descending"

    page.locator(f"input[name='{name}-cost'][value='steps']").focus()
    after_redraw(page, name, lambda: page.keyboard.press("ArrowRight"))
    assert "seconds" in axis_titles(page, name)
    ring = "getComputedStyle(document.activeElement.nextElementSibling).outlineStyle"
    assert page.evaluate(ring) == "solid"

    page.locator(".chip").nth(1).focus()
    page.keyboard.press("Space")
    assert page.locator(".chip").nth(1).get_attribute("aria-pressed") == "false"

    page.locator("#details summary").first.focus()
    page.keyboard.press("Enter")
    assert page.locator("#details details").first.get_attribute("open") is not None


def test_what_users_write_is_shown_and_never_run(open_report: Open) -> None:
    page = open_report("nasty")
    draw_all(page)
    assert page.locator("body script").count() == 3
    assert page.locator("body img").count() == 0
    headings = page.locator("section.problem > h2").all_text_contents()
    assert headings == [fake.NASTY[0], fake.NASTY[2]]
    assert page.locator(".chip").all_inner_texts()[1:3] == [fake.NASTY[0], fake.NASTY[1]]
    assert "{{ 7*7 }}" in page.locator(".chip").nth(3).inner_text()
    page.locator("details.failure summary").first.click()
    shown = page.locator("details.failure pre").first.text_content()
    assert "</pre><script>alert('traceback')</script> \\udcff" in shown
    assert fake.NASTY[1] in page.locator("#command").text_content()

    labels = page.locator("#problem-1-finals svg .role-axis-label text").all_text_contents()
    assert fake.NASTY[0] in labels
    page.locator("#problem-1-finals").scroll_into_view_if_needed()
    page.locator("#problem-1-finals svg .mark-symbol path").nth(5).hover(force=True)
    tooltip = page.locator("#vg-tooltip-element.visible")
    tooltip.wait_for()
    assert re.search(r"contender\s+<script>alert\(1\)</script>", tooltip.inner_text())


def test_the_command_can_be_copied(open_report: Open) -> None:
    page = open_report("digits", permissions=["clipboard-read", "clipboard-write"])
    page.bring_to_front()
    page.locator("button[data-copy='command']").click()
    page.locator("#status", has_text="Copied").wait_for(state="attached")
    assert page.evaluate("navigator.clipboard.readText()").startswith("thalweg compare digits")


def test_a_phone_shows_everything_without_scrolling_sideways(open_report: Open) -> None:
    page = open_report("nasty", viewport={"width": 390, "height": 844})
    names = draw_all(page)
    for summary in page.locator("details summary").all():
        summary.click()
    assert page.evaluate("document.documentElement.scrollWidth") == 390
    for chart in names:
        box = page.locator(f"#{chart} svg.marks").bounding_box()
        assert box["x"] >= 0
        assert box["x"] + box["width"] <= 390
    scroll = page.locator("#standings-1 .scroll")
    assert scroll.evaluate("box => box.scrollWidth > box.clientWidth")
