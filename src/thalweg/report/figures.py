"""The charts of a race as files."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import altair as alt
import vl_convert

from thalweg.bench.results import Results
from thalweg.report.charts import problem_charts, profile_chart
from thalweg.report.encodings import Chart
from thalweg.report.theme import theme

VEGA_LITE = ".".join(alt.SCHEMA_VERSION.split(".")[:2])


def write_figures(results: Results, directory: Path) -> list[Path]:
    """Write every chart of a race as PNG, SVG and PDF.

    Args:
        results: The race.
        directory: Where to write them; made if it does not exist.

    Returns:
        The files, named after problem, lane and chart.

    Raises:
        OSError: Where the directory cannot be written to; the message says so in a sentence.
    """
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        for name, spec in _figures(results):
            svg = vl_convert.vegalite_to_svg(
                spec,
                vl_version=VEGA_LITE,
                config=theme("light", len(results.contenders), legend=True),
            )
            contents = {
                "png": vl_convert.svg_to_png(svg, scale=2),
                "svg": svg.encode(),
                "pdf": vl_convert.svg_to_pdf(svg),
            }
            for suffix, content in contents.items():
                path = directory / f"{name}.{suffix}"
                path.write_bytes(content)
                written.append(path)
    except OSError as error:
        raise OSError(
            f"cannot write figures to {directory}: {error.strerror or error}; "
            "name a folder that can be written to"
        ) from error
    return written


def _figures(results: Results) -> Iterator[tuple[str, dict[str, Any]]]:
    """Yield the name and the specification of each chart in its first variant, lane by lane."""
    several = len(results.problems) > 1
    overview = profile_chart(results)
    groups: list[tuple[str, str, list[Chart]]] = [
        (f"{i}-{_slug(item.problem.name)}", item.problem.name, problem_charts(results, item))
        for i, item in enumerate(results.analysis.problems, 1)
    ]
    groups.append(("race", "", [overview] if overview else []))
    for prefix, problem, charts in groups:
        for chart in charts:
            variant = next(iter(chart.variants.values()))
            lanes = dict.fromkeys(lane for sets in chart.data.values() for lane in sets)
            for lane in lanes:
                words = [problem if several else "", f"{lane} hyperparameters" if lane else ""]
                name = "-".join(word for word in (prefix, chart.name, lane) if word)
                datasets = {key: sets[lane] for key, sets in chart.data.items()}
                title = {"text": chart.title, "subtitle": ", ".join(filter(None, words))}
                spec = {**variant, "width": 640, "title": title}
                spec["datasets"] = {**variant.get("datasets", {}), **datasets}
                yield name, spec


def _slug(text: str) -> str:
    return re.sub(r"[^A-Za-z0-9]+", "-", text).strip("-").lower()[:40] or "problem"
