"""The command ``thalweg``."""

import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from thalweg.bench.results import Results

T = TypeVar("T")

app = typer.Typer(
    help="Research papers on training and solving as objects, executable claims and fair races.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

_SETTINGS = (
    "methods",
    "trials",
    "seeds",
    "budget",
    "device",
    "jobs",
    "engine",
    "address",
    "store",
    "seed",
    "quick",
)
_PARAMETERS = {"json": "as_json", "problem": "problems"}  # where option and parameter differ


def _configure(context: typer.Context, path: Path | None) -> Path | None:
    """Take the options of a configuration file as defaults of the command line."""
    context.default_map = _guard(lambda: _read_config(context, path))
    return path


def _read_config(context: typer.Context, path: Path | None) -> dict[str, Any]:
    from thalweg.core.errors import SettingError
    from thalweg.core.recipe import suggest

    if path is None:
        return {}
    known = {parameter.name or "" for parameter in context.command.params} - {"config", "help"}
    try:
        read = tomllib.loads(path.read_text())
    except (OSError, tomllib.TOMLDecodeError) as error:
        raise SettingError(f"cannot read the configuration {path}: {error}") from None
    settings = {_PARAMETERS.get(name, name.replace("-", "_")): read[name] for name in read}
    for name in settings:
        if name not in known:
            raise SettingError(
                f"{path} sets {name!r}, which is no option{suggest(name, known)}; "
                f"there are: {', '.join(sorted(known))}"
            )
    if isinstance(settings.get("methods"), list):
        settings["methods"] = ",".join(settings["methods"])
    if isinstance(settings.get("problems"), str):
        settings["problems"] = [settings["problems"]]
    return settings


@app.command()
def compare(
    context: typer.Context,
    problems: Annotated[
        list[str] | None,
        typer.Argument(
            help="What to solve: an embedded problem (see 'thalweg problems'), task.py:function, "
            "package.module:function, data.csv, data.parquet, arrays.npz, or a folder of images.",
            show_default=False,
        ),
    ] = None,
    methods: Annotated[
        str | None,
        typer.Option(
            "--methods",
            "-m",
            help="Recipes with commas between them; the first is the baseline. "
            "E.g. 'adamw,sgd(lr=0.1)+cosine'. The problem's own choice if not given.",
        ),
    ] = None,
    target: Annotated[
        str | None, typer.Option(help="Column to predict, for a CSV or Parquet file.")
    ] = None,
    task: Annotated[
        str | None,
        typer.Option(help="classification or regression, where a file leaves it open."),
    ] = None,
    trials: Annotated[
        int, typer.Option("--trials", "-n", help="Tuning runs a method; 0 for none.")
    ] = 10,
    seeds: Annotated[int, typer.Option(help="Paired replicates of each final run.")] = 10,
    budget: Annotated[
        str | None,
        typer.Option(
            help="Length of every run: 5000steps, 90s, 2m, 1h. The problem's own if not given."
        ),
    ] = None,
    device: Annotated[str, typer.Option(help="cpu, cuda, or auto.")] = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", help="Runs side by side; one per core if not given."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    store: Annotated[
        str, typer.Option(help="Where runs are kept: a SQLite file or the URL of a database.")
    ] = "thalweg-runs.sqlite3",
    seed: Annotated[int, typer.Option(help="Changes all random numbers of the race.")] = 0,
    report: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("thalweg-report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder to write the charts to, as PNG, SVG and PDF.")
    ] = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with these options by name; the command line wins.",
            callback=_configure,
            is_eager=True,
        ),
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
    quick: Annotated[
        bool, typer.Option("--quick", help="A first look in under a minute; no evidence.")
    ] = False,
) -> None:
    """Race methods on a problem: equal tuning budgets, equal seeds, statistics and a report.

    Interrupt it at any time: the same command goes on where it stopped.

    [bold]Examples[/bold]

      thalweg compare digits

      thalweg compare task.py:problem --methods adamw,adahessian,sgd+uba

      thalweg compare data.csv --target price --trials 20 --budget 2m
    """
    _run_compare(context.params)


@app.command("report")
def rebuild(
    store: Annotated[str, typer.Option(help="SQLite file or URL.")] = "thalweg-runs.sqlite3",
    race: Annotated[
        str | None, typer.Option(help="Name of the race or its beginning; the latest if not given.")
    ] = None,
    report: Annotated[Path, typer.Option(help="HTML file to write.")] = Path("thalweg-report.html"),
    figures: Annotated[
        Path | None, typer.Option(help="Folder to write the charts to, as PNG, SVG and PDF.")
    ] = None,
    as_json: Annotated[bool, typer.Option("--json", help="Print the results as JSON.")] = False,
) -> None:
    """Write the report of a race again, from its store alone."""

    def act() -> None:
        from thalweg.bench.compare import read_results

        _present(read_results(store, race), report, figures, as_json)

    _guard(act)


@app.command("list")
def list_methods() -> None:
    """List every method that can be raced."""

    def act() -> None:
        from rich.console import Console
        from rich.table import Table

        from thalweg.core.catalogue import catalogue

        table = Table("method", "arguments and their defaults", "what it is", box=None)
        for method in catalogue().methods.values():
            arguments = ", ".join(f"{name}={value!r}" for name, value in method.defaults.items())
            table.add_row(method.name, arguments, method.summary)
        Console().print(table)

    _guard(act)


@app.command("problems")
def list_problems() -> None:
    """List the embedded problems."""

    def act() -> None:
        from rich.console import Console
        from rich.table import Table

        from thalweg.problems.loading import describe

        table = Table("problem", "what it is", box=None)
        for name, description in describe().items():
            table.add_row(name, description)
        Console().print(table)

    _guard(act)


@app.callback(invoke_without_command=True)
def root(
    version: Annotated[bool, typer.Option("--version", help="Show the version.")] = False,
) -> None:
    """Research papers on training and solving as objects, executable claims and fair races."""
    if version:
        import thalweg

        typer.echo(thalweg.__version__)
        raise typer.Exit


def _run_compare(settings: dict[str, Any]) -> None:
    def act() -> None:
        from thalweg.bench.compare import Interrupted, compare
        from thalweg.core.errors import SettingError
        from thalweg.problems.loading import load_problem
        from thalweg.report.live import watch

        problems = settings["problems"] or (["digits"] if settings["quick"] else [])
        if not problems:
            raise SettingError(
                "no problem is given; name one, such as: thalweg compare digits "
                "(thalweg problems lists them)"
            )
        _check_writable(settings["report"])
        loaded = [
            load_problem(name, target=settings["target"], task=settings["task"])
            for name in problems
        ]
        with watch() as observe:
            try:
                results = compare(
                    loaded,
                    **{name: settings[name] for name in _SETTINGS},
                    observe=observe,
                    command=shlex.join(["thalweg", *sys.argv[1:]]),
                )
            except Interrupted as interrupted:
                results = interrupted.results
        if results.missing:
            typer.echo(
                f"\nStopped. {len(results.runs)} runs are done and kept in {settings['store']}; "
                "the same command goes on from there.",
                err=True,
            )
        _present(results, settings["report"], settings["figures"], settings["as_json"])
        if results.missing:
            raise typer.Exit(130)

    _guard(act)


def _present(results: "Results", report: Path, figures: Path | None, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(results.to_dict(), indent=2))
    else:
        console = Console()
        console.print()
        for warning in results.warnings:
            console.print(f"[yellow]Note:[/yellow] {_plain(warning)}", highlight=False)
        for problem in results.analysis.problems:
            headline, *rest = problem.sentences
            console.print(f"\n[bold]{_plain(headline)}[/bold]", highlight=False)
            for sentence in (*rest, *problem.warnings):
                console.print(f"  {_plain(sentence)}", highlight=False)
    path = results.report(report)
    typer.echo(f"\nReport: {path}", err=as_json)
    if figures is not None:
        written = results.figures(figures)
        typer.echo(f"Figures: {len(written)} files in {figures}", err=as_json)


def _plain(text: str) -> str:
    from rich.markup import escape

    return escape(text)


def _check_writable(path: Path) -> None:
    from thalweg.core.errors import SettingError

    if path.is_dir() or not path.resolve().parent.is_dir():
        raise SettingError(
            f"cannot write the report to {path}; name a file in a folder that exists"
        )


def _guard(act: Callable[[], T]) -> T:
    """Run it; a mistake of the user's becomes a sentence and exit code 2."""
    from thalweg.core.errors import UserError

    try:
        return act()
    except UserError as error:
        typer.echo(f"thalweg: {error}", err=True)
        raise typer.Exit(2) from None


def main() -> None:
    """Run the command line."""
    app()


if __name__ == "__main__":
    main()
