"""What the report's files hold, without a browser."""

import csv
import io
import json
import math
import os
import re
import struct
from collections.abc import Callable
from pathlib import Path

import pytest

from tests.report import fake
from thalweg.bench import wording
from thalweg.bench.results import LANES
from thalweg.core.trace import Trace
from thalweg.report.charts import problem_charts
from thalweg.report.page import write_figures, write_report
from thalweg.report.tables import to_csv
from thalweg.report.theme import INKS, PAPER


def test_the_same_results_give_the_same_bytes(
    reports: Callable[[str], Path], tmp_path: Path
) -> None:
    again = write_report(fake.race(), tmp_path / "again.html")
    assert again.read_bytes() == reports("digits").read_bytes()


def test_a_large_race_stays_below_five_megabytes(tmp_path: Path) -> None:
    path = write_report(fake.RACES["large"](), tmp_path / "large.html")
    assert path.stat().st_size < 5e6


def test_the_file_names_no_place_to_load_from(reports: Callable[[str], Path]) -> None:
    text = reports("nasty").read_text()
    assert re.findall(r"<(?:link|img|iframe|script\s+src)\b", text.split('id="data"')[0]) == []
    policy = re.search(r'Content-Security-Policy" content="([^"]+)"', text)
    assert policy is not None
    assert "default-src &#39;none&#39;" in policy[1]
    assert "unsafe-eval" not in policy[1]


def test_data_cannot_end_the_script_that_holds_it(reports: Callable[[str], Path]) -> None:
    text = reports("nasty").read_text()
    data = text.split('id="data">')[1].split("</script>")[0]
    assert not set("<>&\u2028\u2029") & set(data)
    assert json.loads(data)["contenders"] == ["adamw", *fake.NASTY]


def test_a_report_that_cannot_be_written_says_so_and_leaves_nothing(tmp_path: Path) -> None:
    results = fake.RACES["alone"]()
    with pytest.raises(OSError, match=r"cannot write the report to .*missing.*; name a file"):
        write_report(results, tmp_path / "missing" / "report.html")
    (tmp_path / "folder").mkdir()
    with pytest.raises(OSError, match="cannot write the report to"):
        write_report(results, tmp_path / "folder")
    assert os.listdir(tmp_path) == ["folder"]
    with pytest.raises(OSError, match="cannot write figures to"):
        write_figures(results, write_report(results, tmp_path / "report.html"))


def test_an_old_report_is_replaced_as_a_whole(tmp_path: Path) -> None:
    path = tmp_path / "report.html"
    path.write_text("old")
    assert write_report(fake.RACES["alone"](), path) == path
    assert path.read_text().rstrip().endswith("</html>")
    assert os.listdir(tmp_path) == ["report.html"]


def test_figures_are_written_in_three_formats(tmp_path: Path) -> None:
    results = fake.race([fake.accuracy(fake.NASTY[0])], ("adamw", fake.NASTY[1]), lanes=("tuned",))
    paths = write_figures(results, tmp_path / "figures")
    assert sorted(paths) == sorted((tmp_path / "figures").iterdir())
    names = ("curves-tuned", "differences-tuned", "finals-tuned", "target-tuned", "pareto-tuned")
    for name in (*names, "tuning"):
        stem = tmp_path / "figures" / f"1-script-alert-1-script-{name}"
        png = stem.with_suffix(".png").read_bytes()
        width, height = struct.unpack(">II", png[16:24])
        assert width >= 1000
        assert height >= 300
        assert stem.with_suffix(".pdf").read_bytes().startswith(b"%PDF")
        svg = stem.with_suffix(".svg").read_text()
        assert svg.startswith("<svg")
        assert "<img" not in svg


def test_curves_count_failed_replicates_as_worst() -> None:
    failures = {(1, i): "diverged" for i in range(6)}
    results = fake.race(failures=failures)
    charts = problem_charts(results, results.analysis.problems[0])
    rows = [
        row
        for row in charts[0].data["bands"]["tuned"]
        if row["contender"] == fake.CONTENDERS[1] and row["kind"] == "steps"
    ]
    assert rows[0]["median"] is not None
    assert rows[-1]["median"] is None
    assert rows[-1]["low"] < 0.2


def test_misses_are_shown_beyond_the_largest_cost() -> None:
    results = fake.race([fake.accuracy(target=0.999)])
    charts = {c.name: c for c in problem_charts(results, results.analysis.problems[0])}
    rows = [row for row in charts["target"].data["times"]["tuned"] if row["kind"] == "steps"]
    assert len(rows) == 50
    assert {round(row["x"], 6) for row in rows if row["missed"]} == {480}


def test_every_variant_of_a_chart_has_a_specification() -> None:
    results = fake.race([fake.accuracy(), fake.loss()])
    for analysis in results.analysis.problems:
        for chart in problem_charts(results, analysis):
            n_variants = math.prod(
                len(switch.options) for switch in chart.switches if not switch.parameter
            )
            assert len(chart.variants) == n_variants


def test_csv_is_safe_for_spreadsheets_and_keeps_numbers() -> None:
    text = to_csv([{"a": "=1+1", "b": 0.1 + 0.2}, {"a": 'x,"y"\n', "b": math.inf, "c": (1, 2)}])
    assert list(csv.DictReader(io.StringIO(text, newline=""))) == [
        {"a": "'=1+1", "b": "0.30000000000000004", "c": ""},
        {"a": 'x,"y"\n', "b": "inf", "c": "[1, 2]"},
    ]


def test_numbers_are_written_for_people() -> None:
    digits, valley = fake.accuracy(), fake.loss()
    assert wording.quality(0.97512, digits) == "97.5\u00a0%"
    assert wording.quality(math.nan, digits) == "failed"
    assert wording.quality(0.0012345, valley) == "0.001234"
    assert wording.difference(0.0041, digits) == "+0.4"
    assert wording.difference(-0.0001, digits) == "+0.0"
    assert wording.interval(-math.inf, 0.005, digits) == "\u2212∞ to +0.5"
    assert wording.size(0.005, digits) == "0.5\u00a0points"
    assert wording.cost(math.inf, "steps") == "not reached"
    assert wording.cost(1234, "steps") == "1,234"
    assert wording.cost(412e6, "memory") == "412\u00a0MB"
    assert wording.cost(0, "memory") == "not measured"
    assert [wording.seconds(value) for value in (0.0123, 3.214, 75, 3900)] == [
        "12.3\u00a0ms",
        "3.21\u00a0s",
        "1\u00a0min\u00a015\u00a0s",
        "1\u00a0h\u00a005\u00a0min",
    ]
    assert wording.p_value(1e-5) == "< 0.001"
    assert (
        wording.parameters({"adamw.betas": (0.9, 0.999)}) == "adamw.betas\u00a0=\u00a0(0.9, 0.999)"
    )
    assert wording.space({"low": 1e-4, "high": 0.1, "log": True}) == "0.0001 to 0.1, logarithmic"
    assert wording.space([[0.9, 0.99], [0.8, 0.9]]) == "one of (0.9, 0.99), (0.8, 0.9)"


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_inks_stand_out_from_the_paper(scheme: str) -> None:
    def luminance(color: str) -> float:
        channels = (int(color[i : i + 2], 16) / 255 for i in (1, 3, 5))
        linear = (c / 12.92 if c <= 0.03928 else ((c + 0.055) / 1.055) ** 2.4 for c in channels)
        return sum(w * c for w, c in zip((0.2126, 0.7152, 0.0722), linear, strict=True))

    paper = luminance(PAPER[scheme])
    for ink in INKS[scheme]:
        low, high = sorted((paper, luminance(ink)))
        assert (high + 0.05) / (low + 0.05) >= 3


def test_runs_without_points_are_outcomes_too(tmp_path: Path) -> None:
    results = fake.race(replicates=2, trials=0)
    broken = [
        fake.replace(run, trace=Trace((), "out of memory", "MemoryError")) for run in results.runs
    ]
    path = write_report(fake.replace(results, runs=tuple(broken)), tmp_path / "report.html")
    assert "MemoryError" in path.read_text()


def test_costs_are_offered_where_all_contenders_spend_them() -> None:
    def spending(**costs: int) -> list[list[str]]:
        results = fake.race(contenders=("adamw", "sgd"), replicates=3, trials=2)
        changed = [
            fake.replace(
                run,
                trace=Trace(
                    [
                        fake.Point(
                            fake.replace(
                                point.cost,
                                **{k: n * point.cost.steps for k, n in costs.items()},
                            ),
                            point.quality,
                        )
                        for point in run.trace.points
                    ]
                ),
            )
            if run.contender == "sgd" or costs.get("functions")
            else run
            for run in results.runs
        ]
        results = fake.replace(results, runs=tuple(changed))
        charts = problem_charts(results, results.analysis.problems[0])
        return [
            [value for value, _ in switch.options]
            for chart in charts
            for switch in chart.switches
            if chart.name in ("curves", "target") and switch.name == "cost"
        ]

    assert spending(gradients=0) == [["steps", "seconds"]] * 2
    assert spending(gradients=0, functions=3) == [["steps", "seconds", "functions"]] * 2


def test_where_the_cost_decides_it_comes_first(tmp_path: Path) -> None:
    results = fake.race([fake.accuracy(decides="seconds", target=0.9)], trials=0, lanes=LANES[1:])
    charts = problem_charts(results, results.analysis.problems[0])
    assert [chart.name for chart in charts[:3]] == ["curves", "target", "differences"]
    assert [charts[i].switches[0].options[0][0] for i in (0, 1)] == ["seconds"] * 2
    text = write_report(results, tmp_path / "report.html").read_text()
    assert "▲ cheaper" in text
    assert "in seconds, p" in text
    assert text.index("Seconds to target") < text.index("Final accuracy")


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"trials": 2, "spaces": {"adamw": {}}}, "nothing to tune"),
        (
            {"trials": 2, "spaces": {"adamw": {}, "sgd": {"sgd.lr": [1, 2]}}},
            "2 trials each; nothing to tune in adamw",
        ),
    ],
)
def test_tuning_is_told_where_there_was_any(
    tmp_path: Path, settings: dict[str, object], words: str
) -> None:
    results = fake.race(contenders=("adamw",), replicates=2, trials=0, settings=settings)
    text = write_report(results, tmp_path / "report.html").read_text()
    assert f"<dt>Tuning</dt><dd>{words}</dd>" in text
