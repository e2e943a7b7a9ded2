"""The command ``thalweg``."""

import json
import shlex
import sys
import tomllib
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar

import typer

if TYPE_CHECKING:
    from thalweg.bench.claims import Outcome
    from thalweg.bench.results import Results
    from thalweg.diagnosis.results import Diagnosis

T = TypeVar("T")
Folder = Annotated[Path, typer.Option(help="Where the verdicts on claims are kept.")]
Target = Annotated[str | None, typer.Option(help="Column to predict, for a CSV or Parquet file.")]
Task = Annotated[
    str | None,
    typer.Option(help="classification or regression, where a file leaves it open."),
]
Device = Annotated[str, typer.Option(help="cpu, cuda, or auto.")]
Report = Annotated[Path, typer.Option(help="HTML file to write.")]
Figures = Annotated[
    Path | None, typer.Option(help="Folder to write the charts to, as PNG, SVG and PDF.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print the results as JSON.")]
Room = Annotated[str | None, typer.Option(help="Only this room, such as optim.")]
Runs = Annotated[
    str, typer.Option(help="Where runs are kept: a SQLite file or the URL of a database.")
]

app = typer.Typer(
    help="Research papers on training and solving as objects, executable claims and fair races.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    rich_markup_mode="rich",
)

claims_app = typer.Typer(no_args_is_help=True, rich_markup_mode="rich")
app.add_typer(claims_app, name="claims", help="Measure again what the papers say of themselves.")

_FOLDER = Path("docs/claims")
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
    target: Target = None,
    task: Task = None,
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
    device: Device = "auto",
    jobs: Annotated[
        int | None,
        typer.Option("--jobs", "-j", help="Runs side by side; one per core if not given."),
    ] = None,
    engine: Annotated[str, typer.Option(help="local or ray.")] = "local",
    address: Annotated[str | None, typer.Option(help="Of the Ray cluster.")] = None,
    store: Runs = "thalweg-runs.sqlite3",
    seed: Annotated[int, typer.Option(help="Changes all random numbers of the race.")] = 0,
    report: Report = Path("thalweg-report.html"),
    figures: Figures = None,
    config: Annotated[
        Path | None,
        typer.Option(
            help="TOML file with these options by name; the command line wins.",
            callback=_configure,
            is_eager=True,
        ),
    ] = None,
    as_json: AsJson = False,
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


@app.command()
def diagnose(
    problem: Annotated[
        str | None,
        typer.Argument(
            metavar="TASK",
            help="What was or is to be trained: an embedded problem, task.py:function, data.csv, "
            "arrays.npz or a folder of images, as for compare.",
            show_default=False,
        ),
    ] = None,
    checkpoint: Annotated[
        Path | None,
        typer.Option(help="Weights of its model: safetensors, or a saved state_dict."),
    ] = None,
    recipe: Annotated[
        str | None,
        typer.Option(help="What to train by, such as 'adamw(lr=3e-4)+cosine'."),
    ] = None,
    budget: Annotated[
        str | None,
        typer.Option(help="Length of the run: 5000steps, 90s, 2m, 1h. The problem's own if none."),
    ] = None,
    only: Annotated[
        str | None, typer.Option(help="Instruments to use, with commas between them; else all.")
    ] = None,
    time: Annotated[
        str, typer.Option(help="How long the examination may take after the training.")
    ] = "5m",
    target: Target = None,
    task: Task = None,
    device: Device = "auto",
    store: Annotated[
        str | None,
        typer.Option(
            help="SQLite file or URL of a database: what trains many models goes on from there."
        ),
    ] = None,
    seed: Annotated[int, typer.Option(help="Of initial weights and order of the data.")] = 0,
    report: Report = Path("thalweg-diagnosis.html"),
    as_json: AsJson = False,
) -> None:
    """Find out what is wrong with a training: findings in words, evidence, what to try.

    Trains by the recipe and watches, or examines a checkpoint. Interrupt it at any time: what was
    found until then is written.

    [bold]Examples[/bold]

      thalweg diagnose digits

      thalweg diagnose task.py:problem --checkpoint model.safetensors

      thalweg diagnose data.csv --target price --recipe "sgd(lr=0.1)+cosine" --time 10m
    """

    def act() -> None:
        from thalweg.core.errors import SettingError
        from thalweg.diagnosis import Interrupted
        from thalweg.diagnosis import diagnose as examine
        from thalweg.problems.loading import load_problem

        if problem is None:
            raise SettingError(
                "no task is given; name one, such as: thalweg diagnose digits "
                "(thalweg problems lists them)"
            )
        _check_writable(report)
        stopped = False
        try:
            found = examine(
                load_problem(problem, target=target, task=task),
                checkpoint=checkpoint,
                recipe=recipe,
                budget=budget,
                only=only,
                time=time,
                device=device,
                store=store,
                seed=seed,
                say=lambda line: typer.echo(line, err=True),
                command=shlex.join(["thalweg", *sys.argv[1:]]),
            )
        except Interrupted as interrupted:
            found, stopped = interrupted.diagnosis, True
            typer.echo("\nStopped. What was found until then is written.", err=True)
        _present_diagnosis(found, report, as_json)
        if stopped:
            raise typer.Exit(130)

    _guard(act)


@app.command("report")
def rebuild(
    store: Annotated[str, typer.Option(help="SQLite file or URL.")] = "thalweg-runs.sqlite3",
    race: Annotated[
        str | None, typer.Option(help="Name of the race or its beginning; the latest if not given.")
    ] = None,
    report: Report = Path("thalweg-report.html"),
    figures: Figures = None,
    as_json: AsJson = False,
) -> None:
    """Write the report of a race again, from its store alone."""

    def act() -> None:
        from thalweg.bench.compare import read_results

        _present(read_results(store, race), report, figures, as_json)

    _guard(act)


@app.command("list")
def list_all(
    room: Room = None,
) -> None:
    """List the papers, and the methods that can be raced."""

    def act() -> None:
        from rich.console import Console
        from rich.table import Table

        from thalweg.bench.listing import check_room
        from thalweg.core.catalogue import catalogue

        known = catalogue()
        check_room(known, room)
        papers = Table("room", "paper", "title", "year", box=None)
        for id, home in sorted(known.rooms.items(), key=lambda item: (item[1], item[0])):
            if room in (None, home):
                paper = known.papers[id]
                papers.add_row(home, id, _plain(paper.title), str(paper.year))
        homes = {
            method.name: known.rooms[id]
            for id, paper in known.papers.items()
            for method in paper.methods
        }
        methods = Table("method", "arguments and their defaults", "what it is", box=None)
        for method in known.methods.values():
            if room in (None, homes.get(method.name)):
                arguments = ", ".join(
                    f"{name}={value!r}" for name, value in method.defaults.items()
                )
                methods.add_row(method.name, _plain(arguments), _plain(method.summary))
        console = Console()
        console.print(papers)
        if methods.row_count:
            console.print()
            console.print(methods)

    _guard(act)


@app.command()
def show(
    id: Annotated[str, typer.Argument(help="Of a paper, or of its method; see 'thalweg list'.")],
    folder: Folder = _FOLDER,
) -> None:
    """Show a paper: what it provides, how to race it, what its claims came to."""

    def act() -> None:
        from thalweg.bench.claims import read_claims
        from thalweg.bench.listing import describe, find_paper
        from thalweg.core.catalogue import catalogue

        known = catalogue()
        for line in describe(known, find_paper(known, id), read_claims(folder)):
            typer.echo(line)

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


@app.command()
def scale(
    params: Annotated[float, typer.Option(help="Parameters without the embeddings, as 1e9.")],
    tokens: Annotated[float, typer.Option(help="Tokens to be trained on in all, as 1e11.")],
    seq_len: Annotated[
        int | None, typer.Option(help="Tokens in a sequence, to have the batch in sequences too.")
    ] = None,
    extrapolate: Annotated[
        bool, typer.Option("--extrapolate", help="Answer outside the ranges of the law as well.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="Print the numbers as JSON.")] = False,
) -> None:
    """Look up learning rate and batch size for pre-training a language model with AdamW.

    [bold]Example[/bold]

      thalweg scale --params 1e9 --tokens 1e11 --seq-len 2048
    """

    def act() -> None:
        from thalweg.core.errors import SettingError
        from thalweg.scaling import step_law

        try:
            found = step_law(params, tokens, seq_len=seq_len, extrapolate=True)
        except ValueError as error:
            raise SettingError(str(error)) from None
        if found.extrapolated and not extrapolate:
            raise SettingError(
                f"{' '.join(found.extrapolated)} With --extrapolate the law answers all the same."
            )
        for sentence in found.extrapolated:
            typer.echo(f"Note: {sentence}", err=True)
        if as_json:
            typer.echo(json.dumps(asdict(found), indent=2))
            return
        typer.echo(
            f"Peak learning rate: {found.lr:.3g}, after {found.warmup_steps} steps of warm-up"
        )
        typer.echo(f"Final learning rate: {found.final_lr:g}, at the end of a cosine")
        sequences = f" ({found.batch_sequences:.0f} sequences)" if found.batch_sequences else ""
        typer.echo(f"Batch: {found.batch_tokens:.3g} tokens{sequences}")

    _guard(act)


@claims_app.command("run")
def run_claims(
    ids: Annotated[
        list[str] | None,
        typer.Argument(
            help="Papers, see 'thalweg list'; all if none is given.", show_default=False
        ),
    ] = None,
    size: Annotated[
        str, typer.Option(help="smoke to see in seconds that it runs, full for a verdict.")
    ] = "smoke",
    write: Annotated[
        bool, typer.Option("--write", help="Keep the verdicts, one JSON file a paper.")
    ] = False,
    jobs: Annotated[
        int | None, typer.Option("--jobs", "-j", help="Runs side by side; one per core.")
    ] = None,
    store: Runs = "thalweg-claims.sqlite3",
    folder: Folder = _FOLDER,
) -> None:
    """Measure the claims of papers and judge them.

    Interrupt it at any time: the same command goes on where it stopped.

    [bold]Examples[/bold]

      thalweg claims run diffgrad

      thalweg claims run diffgrad uba-schedule --size full --write
    """

    def act() -> bool:
        from thalweg.bench.claims import check_size, run_claim, write_claims
        from thalweg.bench.listing import find_paper
        from thalweg.core.catalogue import catalogue
        from thalweg.core.errors import SettingError
        from thalweg.report.live import watch

        known = catalogue()
        checked = check_size(size, write=write)
        papers = [find_paper(known, id) for id in ids or known.papers]
        for paper in papers:
            if ids and not paper.claims:
                raise SettingError(f"the paper {paper.id} states no claim to be measured")
        none_failed = True
        for paper in papers:
            outcomes = []
            for claim in paper.claims:
                with watch() as observe:
                    outcome = run_claim(
                        paper, claim, size=checked, jobs=jobs, store=store, observe=observe
                    )
                _present_outcome(outcome)
                outcomes.append(outcome)
            failed = any(outcome.finding is None for outcome in outcomes)
            none_failed = none_failed and not failed
            if write and failed:
                typer.echo(f"{paper.id}: not written, since a claim failed", err=True)
            elif write and outcomes:
                typer.echo(f"Written: {write_claims(outcomes, folder)}")
        if checked == "smoke":
            typer.echo("\nThese verdicts are no evidence; for one: --size full", err=True)
        return none_failed

    try:
        none_failed = _guard(act)
    except KeyboardInterrupt:
        typer.echo(
            f"\nStopped. What is done is kept in {store}; the same command goes on from there.",
            err=True,
        )
        raise typer.Exit(130) from None
    if not none_failed:
        raise typer.Exit(1)


@claims_app.command("table")
def claims_table(
    room: Room = None,
    form: Annotated[str, typer.Option("--format", help="md, json or html.")] = "md",
    update: Annotated[
        Path | None,
        typer.Option(help="Text file into which to write the tally, between its two markers."),
    ] = None,
    folder: Folder = _FOLDER,
) -> None:
    """List all claims and what they came to; nothing is measured."""

    def act() -> None:
        from thalweg.bench import listing
        from thalweg.bench.claims import read_claims
        from thalweg.core.catalogue import catalogue
        from thalweg.core.errors import SettingError

        if update is not None and room is not None:
            raise SettingError("--update writes the tally of all rooms; leave --room out")
        lines = listing.rows(catalogue(), read_claims(folder), room)
        if update is None:
            typer.echo(listing.table(lines, listing.check_format(form)))
        else:
            changed = listing.update(update, lines)
            typer.echo(f"{update}: {'updated' if changed else 'up to date'}")

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


def _present_diagnosis(found: "Diagnosis", report: Path, as_json: bool) -> None:
    from rich.console import Console

    if as_json:
        typer.echo(json.dumps(found.to_dict(), indent=2))
    else:
        console = Console()
        console.print(f"\n[bold]{_plain(found.verdict)}[/bold]", highlight=False)
        colors = {"fault": "red", "warning": "yellow", "note": "blue"}
        for symptom in found.symptoms:
            color = colors[symptom.severity]
            title = f"[{color}]{symptom.severity}[/{color}]  [bold]{_plain(symptom.title)}[/bold]"
            console.print(f"\n{title}", highlight=False)
            for sentence in (symptom.evidence, symptom.sure, symptom.meaning):
                console.print(f"  {_plain(sentence)}", highlight=False)
            if symptom.remedies:
                console.print(f"  Try: {_plain('; '.join(symptom.remedies))}", highlight=False)
    typer.echo(f"\nReport: {found.report(report)}", err=as_json)


def _present_outcome(outcome: "Outcome") -> None:
    from rich.console import Console
    from rich.table import Table

    from thalweg.bench.listing import bounds_text, value_text

    console = Console()
    name = f"{outcome.paper.id}, {outcome.claim.name}"
    verdict = outcome.finding.verdict if outcome.finding else "failed"
    console.print(f"\n[bold]{_plain(name)}: {verdict}[/bold] ({outcome.size})", highlight=False)
    console.print(f"  The paper says: {_plain(outcome.claim.statement)}", highlight=False)
    if outcome.finding is None:
        console.print(f"  {_plain(outcome.error or '')}", highlight=False)
        return
    console.print(f"  Measured here: {_plain(outcome.finding.sentence)}", highlight=False)
    table = Table("figure", "ours", "95 % interval", "the paper's", box=None, padding=(0, 2))
    for number in outcome.finding.numbers:
        bounds = "" if number.interval is None else bounds_text(number.interval)
        table.add_row(_plain(number.what), value_text(number.ours), bounds, _plain(number.paper))
    console.print(table)


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
