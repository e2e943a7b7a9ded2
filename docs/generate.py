"""Pages that follow from the catalogue: one for each paper, and the reference of each room."""

import importlib
import inspect
import pkgutil
import re
import textwrap
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType

from jinja2 import Environment, FileSystemLoader, StrictUndefined
from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from sections import plain_roles
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler

import thalweg
from thalweg.bench.claims import read_claims
from thalweg.bench.listing import bounds_text, value_text
from thalweg.core.catalogue import catalogue
from thalweg.core.method import Choice, Method, Space, summary_of
from thalweg.core.paper import Paper
from thalweg.problems.loading import embedded, load_problem
from thalweg.training.problem import TrainingProblem

HERE = Path(__file__).parent


@dataclass(frozen=True)
class Provided:
    """What the docstring of a public object says, in its parts."""

    name: str
    summary: str
    body: str
    differs: str


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the generated pages where the navigation says ``papers`` and ``reference``."""
    places = {
        "papers": [
            "papers/index.md",
            *(
                {_title(room): [{paper.id: f"papers/{paper.id}.md"} for paper in papers]}
                for room, papers in _papers().items()
            ),
        ],
        "reference": ["reference/index.md", *(f"reference/{room}.md" for room in _packages())],
    }
    for item in config.nav or []:
        if isinstance(item, dict):
            for title, part in item.items():
                if isinstance(part, str):
                    item[title] = places.get(part, part)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the generated pages."""
    for path, content in _pages().items():
        files.append(File.generated(config, path, content=content))
    return files


def _pages() -> dict[str, str]:
    render = _templates()
    rooms = {room: (_title(room), papers) for room, papers in _papers().items()}
    stored = read_claims(HERE / "claims")
    pages = {
        f"papers/{paper.id}.md": render(
            "paper",
            paper=paper,
            room=title,
            stored=stored.get(paper.id, {}),
            objects=[_read(provided) for provided in paper.provides],
        )
        for title, papers in rooms.values()
        for paper in papers
    }
    pages["papers/index.md"] = render("papers", rooms=rooms, stored=stored)
    packages = _packages()
    pages["reference/index.md"] = render("reference", packages=packages)
    for name, title in packages.items():
        exported = {part: _has_plain_members(name, part) for part in _package(name).__all__}
        pages[f"reference/{name}.md"] = render("room", room=name, title=title, exported=exported)
    return pages


def _papers() -> dict[str, list[Paper]]:
    rooms: dict[str, list[Paper]] = {}
    for identity, room in catalogue().rooms.items():
        rooms.setdefault(room, []).append(catalogue().papers[identity])
    return rooms


def _title(room: str) -> str:
    about = inspect.getdoc(importlib.import_module(f"thalweg.papers.{room}")) or ""
    return about.removeprefix("Papers on ").removesuffix(".").capitalize()


def _packages() -> dict[str, str]:
    """Return the packages that export objects, with what their docstrings call them."""
    names = [item.name for item in pkgutil.iter_modules(thalweg.__path__) if item.ispkg]
    return {
        name: re.split(r"[:.]", inspect.getdoc(_package(name)) or "")[0]
        for name in names
        if hasattr(_package(name), "__all__")
    }


def _package(name: str) -> ModuleType:
    return importlib.import_module(f"thalweg.{name}")


def _read(provided: Callable[..., object]) -> Provided:
    text = inspect.getdoc(provided) or ""
    summary, _, rest = text.partition("\n\n")
    body = re.split(r"^(?:Args|Attributes|Returns|Raises|Example|Paper):", rest, flags=re.M)[0]
    differs = re.search(r"Differs:\s*(.*?)(?:\n\n|\Z)", text, re.S)
    return Provided(
        name=f"thalweg.{_room(provided)}.{provided.__name__}",
        summary=plain_roles(summary.replace("\n", " ")),
        body=plain_roles(re.sub(r"(?:^    .*\n|^\n(?=    ))+", _fence, body, flags=re.M)),
        differs=plain_roles(" ".join(differs[1].split()) if differs else ""),
    )


def _fence(block: re.Match[str]) -> str:
    return f"```text\n{textwrap.dedent(block[0]).strip()}\n```\n"


def _room(provided: Callable[..., object]) -> str:
    return provided.__module__.split(".")[1]


def _has_plain_members(room: str, name: str) -> bool:
    """Say whether the methods of an exported object are its own, and not those of its base."""
    exported = getattr(_package(room), name)
    return not (isinstance(exported, type) and issubclass(exported, Optimizer | LRScheduler))


def _race(method: Method) -> str:
    """Return the command of a race in which a method meets what it is made to beat."""
    if method.kind == TrainingProblem.kind:
        name = method.name if "optimizer" in method.fills else f"adamw+{method.name}"
        return f"thalweg compare task.py:problem --methods adamw,{name}"
    problems = (load_problem(name) for name in embedded())
    return f"thalweg compare {next(item.name for item in problems if item.kind == method.kind)}"


def _templates() -> Callable[..., str]:
    environment = Environment(
        loader=FileSystemLoader(HERE / "templates"),
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        autoescape=False,  # the pages are Markdown, and their text our own
    )
    environment.filters |= {
        "bounds": bounds_text,
        "figure": value_text,
        "space": _space,
        "first_line": summary_of,
        "cell": _cell,
        "race": _race,
    }
    return lambda name, **values: environment.get_template(f"{name}.md").render(values)


def _space(space: Space | None) -> str:
    if space is None:
        return "not tuned"
    if isinstance(space, Choice):
        return "one of " + ", ".join(f"{value}" for value in space.values)
    scale = ", logarithmic" if space.log else ""
    return f"{space.low:g} to {space.high:g}{scale}{', whole numbers' if space.integer else ''}"


def _cell(text: str) -> str:
    return text.replace("|", "\\|").replace("\n", " ")
