"""The command line. Findings go to standard output, everything else to standard error; a deliberate error exits with 2,
a gate with 3."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from privet import __version__

if TYPE_CHECKING:
    from privet.api import Answer
    from privet.schedule import Schedule

app = typer.Typer(
    name="privet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Cut a network in two, prune what leaves the device, and measure honestly what still leaks.",
)
err = Console(stderr=True)
PIPED = 140  # characters of a line where the output is no terminal

Data = Annotated[
    str,
    typer.Option(
        help="digits, a Parquet file or folder, a table (DIR/adult), an image folder with labels.csv, a CSV, or "
        "hub:NAME"
    ),
]
Target = Annotated[str | None, typer.Option(help="column the server is asked for [digits: parity]")]
Hidden = Annotated[list[str], typer.Option(help="column nobody asked for; repeat it, or 'all' [digits: digit]")]
Model = Annotated[
    str,
    typer.Option(
        help="cnn3 (Samragh et al. 2021, Table 1), mlp, vgg, resnet18, vit, package.module:factory, FILE.py:factory, "
        "torchvision:NAME, timm:NAME [pictures: cnn3, tables: mlp]"
    ),
]
At = Annotated[
    str,
    typer.Option(
        help="module path of the cut; `privet cuts` lists the legal ones [cnn3: flatten, its first fully connected "
        "layer]"
    ),
]
Weights = Annotated[Path | None, typer.Option(help="safetensors file to start from")]
Freeze = Annotated[str | None, typer.Option(help="edge, server or both: halves that must not be retrained")]
Resize = Annotated[
    str | None, typer.Option(help="50, 73x60 or none [pictures larger than 50 px: shorter side to 50 px]")
]
EffortName = Annotated[str, typer.Option(help="quick (a smoke test), standard, or full (the papers' epochs)")]
Group = Annotated[str | None, typer.Option(help="column that names the person; a person is never in two parts")]
Limit = Annotated[int | None, typer.Option(help="use at most so many examples a part, for a first try")]
Device = Annotated[str, typer.Option(help="cpu, cuda, cuda:1, ...")]
Json = Annotated[bool, typer.Option("--json", help="one JSON object a line on standard output")]


def _version(show: bool) -> None:
    if show:
        typer.echo(f"privet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Cut a network in two, prune what leaves the device, and measure honestly what still leaks."""


@app.command(
    epilog=r"Example: privet audit --data faces/ --target gender --hidden race --defense none --defense "
    r"signal_content:keep=8 --out audit"
)
def audit(
    data: Data = "digits",
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    defense: Annotated[
        list[str], typer.Option(help="name:option=value,... ; + chains; repeat it (privet defenses lists them)")
    ] = ["none"],  # noqa: B006
    model: Model = "",
    at: At = "",
    weights: Weights = None,
    freeze: Freeze = None,
    attack: Annotated[list[str], typer.Option(help="only these attacks [all that the threat grants]")] = [],  # noqa: B006
    threat: Annotated[str, typer.Option(help="server, eavesdropper, few_labels or repeated")] = "server",
    side: Annotated[
        list[str], typer.Option(help="attribute of a victim that the adversary knows already; repeat it")
    ] = [],  # noqa: B006
    effort: EffortName = "standard",
    seeds: Annotated[int, typer.Option(help="independent repetitions of training and attack")] = 3,
    resize: Resize = None,
    aux: Annotated[str | None, typer.Option(help="data set of the adversary's own, same layout")] = None,
    victims: Annotated[str | None, typer.Option(help="data set of the victims, same layout")] = None,
    group: Group = None,
    limit: Limit = None,
    on_bad: Annotated[str, typer.Option(help="skip (and count) or stop at pictures that cannot be read")] = "skip",
    device: Device = "cpu",
    jobs: Annotated[int, typer.Option(help="trials at the same time, a process of one thread each [all cores]")] = 0,
    max_minutes: Annotated[float | None, typer.Option(help="stop then, with the best answer so far")] = None,
    fail_if: Annotated[
        list[str],
        typer.Option(
            help="[ATTRIBUTE.][METRIC.]QUANTITY>NUMBER[@upper|@lower]: exit with 3 if a headline finding is so. "
            "Quantities: advantage (value minus floor), normalized (share of the undefended leakage), utility, or a "
            "metric: accuracy, balanced_accuracy, auc, bits, coverage_at_95_precision, tpr_at_1_fpr, psnr, ssim. "
            "advantage alone judges accuracy (PSNR for input); auc.advantage>0.1 judges AUC"
        ),
    ] = [],  # noqa: B006
    any_version: Annotated[bool, typer.Option(help="accept runs that another version of privet made")] = False,
    out: Annotated[Path, typer.Option(help="folder for runs and report.html; the same command again resumes")] = Path(
        "privet-out"
    ),
    as_json: Json = False,
) -> None:
    """Train, cut, defend, attack with fresh adversaries, and report what is useful, what still leaks, and how sure that
    is."""
    from privet import api
    from privet.report import gates
    from privet.screen import Screen

    conditions = [gates.parse(text) for text in fail_if]

    def announce(planned: Schedule) -> None:
        for gate in conditions:
            gates.known(gate, (*planned.corpus.hidden, "input"))
        screen.announce(planned)

    with Screen(err) as screen:
        answer = api.audit(
            data, model, target=target, hidden=hidden, defenses=defense, at=at, weights=weights, freeze=freeze,
            attacks=attack, threat=threat, side=side, effort=effort, seeds=seeds, resize=resize, aux=aux,
            victims=victims, group=group, limit=limit, on_bad=on_bad,
            device=device, jobs=jobs, out=out, max_minutes=max_minutes, any_version=any_version,
            listen=screen.listen, announce=announce, loading=screen.loading,
        )  # fmt: skip
    _show(answer, as_json)
    failures = [sentence for gate in conditions for sentence in gates.check(gate, answer.results)]
    for sentence in failures:
        err.print(f"[red]failed[/] {sentence}", highlight=False, soft_wrap=True)
    if failures:
        raise typer.Exit(3)


@app.command(epilog="Example: privet cuts --model resnet18 --data faces/ --target gender --hidden race")
def cuts(
    model: Model = "",
    data: Data = "digits",
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    shape: Annotated[str | None, typer.Option(help="input shape such as 3x50x50, instead of data")] = None,
    classes: Annotated[int, typer.Option(help="number of classes, with --shape")] = 2,
    weights: Weights = None,
    resize: Resize = None,
    as_json: Json = False,
) -> None:
    """List where a network can be cut, with what would travel and what the edge would compute."""
    from privet import schedule

    found = schedule.survey(
        model,
        shape=shape,
        classes=classes,
        weights=weights,
        source=schedule.Source(data, target, tuple(hidden), resize=resize),
    )
    if as_json:
        for cut in found:
            typer.echo(json.dumps(cut))
        return
    from rich.table import Table

    table = Table(
        "cut",
        "shape",
        "float16 bytes",
        "edge MACs",
        title=f"legal cuts of {found[0]['model']}" if found else "no legal cut",
    )
    for cut in found:
        table.add_row(cut["cut"], "x".join(map(str, cut["shape"])), f"{cut['bytes']:,}", f"{cut['edge_macs']:,}")
    Console().print(table)


@app.command(epilog="Example: privet fit --data digits --defense signal_content:keep=4 --out bundle")
def fit(
    data: Data = "digits",
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    defense: Annotated[str, typer.Option(help="the defense to fit")] = "none",
    model: Model = "",
    at: At = "",
    weights: Weights = None,
    freeze: Freeze = None,
    effort: EffortName = "standard",
    seed: Annotated[int, typer.Option(help="seed of training")] = 0,
    resize: Resize = None,
    group: Group = None,
    limit: Limit = None,
    device: Device = "cpu",
    out: Annotated[
        Path, typer.Option(help="folder for the bundle: manifest.json, safetensors, ONNX of both halves")
    ] = Path("privet-bundle"),
    as_json: Json = False,
) -> None:
    """Train and defend one split and write it as a bundle that ships: the edge runs it without torch."""
    from privet import shipping
    from privet.schedule import Source
    from privet.screen import Screen

    with Screen(err) as screen:
        manifest = shipping.fit(
            Source(data, target, tuple(hidden), resize=resize, group=group, limit=limit), defense,
            model=model, at=at, weights=weights, freeze=freeze, effort=effort, seed=seed, device=device,
            out=out, report=screen.stage("fit"),
        )  # fmt: skip
    if as_json:
        typer.echo(json.dumps(manifest))
    else:
        err.print(
            f"wrote {out} ({manifest['defense']}, {manifest['payload_bytes']} bytes a payload, split "
            f"{manifest['split_hash'][:16]})"
        )
        err.print(
            "next, on the edge, after pip install '.[edge]':\n"
            f"  from privet.runtime.edge import Edge; Edge({str(out)!r}).payload(x).to_bytes()",
            highlight=False, markup=False, soft_wrap=True,
        )  # fmt: skip


@app.command(epilog="Example: privet report audit")
def report(
    folder: Annotated[Path, typer.Argument(help="the --out of an audit")],
    any_version: Annotated[bool, typer.Option(help="accept runs that another version of privet made")] = False,
    csv: Annotated[Path | None, typer.Option(help="write all findings as CSV")] = None,
    latex: Annotated[Path | None, typer.Option(help="write the headlines as a LaTeX table")] = None,
    figures: Annotated[Path | None, typer.Option(help="write the figures as SVG into this folder")] = None,
    as_json: Json = False,
) -> None:
    """Make the page and the table again from the runs of an audit; the data are not needed."""
    from privet import api, run, study

    answer = api.publish(study.collect(folder, any_version=any_version))
    if csv:
        run.write_text(csv, answer.csv())
    if latex:
        run.write_text(latex, answer.latex())
    if figures:
        answer.figures(figures)
    _show(answer, as_json)


@app.command(epilog="Example: privet compare 'audit#gaussian:sigma=1' 'audit#signal_content:keep=8'")
def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="FOLDER or FOLDER#DEFENSE")],
    second: Annotated[str, typer.Argument(metavar="B", help="FOLDER or FOLDER#DEFENSE")],
    any_version: Annotated[bool, typer.Option(help="accept runs that another version of privet made")] = False,
    as_json: Json = False,
) -> None:
    """Compare two defended splits person by person: paired differences A - B with their intervals."""
    from privet import study
    from privet.report import compare as comparing

    sides = [
        comparing.side(study.runs(folder, any_version=any_version), folder, defense)
        for folder, defense in map(_place, (first, second))
    ]
    found = comparing.differences(*sides)
    if as_json:
        for difference in found:
            typer.echo(json.dumps(difference.json()))
        return
    from rich.table import Table

    table = Table(
        "attribute",
        "metric",
        "A - B",
        "95 % interval",
        "seeds",
        "attacks",
        title=f"A = {sides[0].label}, B = {sides[1].label}",
    )
    for d in found:
        interval = f"[{d.difference.low:+.4f}, {d.difference.high:+.4f}]"
        table.add_row(
            d.attribute,
            d.metric,
            f"{d.difference.mean:+.4f}" + (" *" if d.claimed else ""),
            interval,
            str(d.seeds),
            " / ".join(dict.fromkeys(d.attacks)),
        )
    Console().print(table)
    err.print("* the interval excludes zero; intervals are not corrected for the number of rows")


@app.command(epilog="Example: privet defenses")
def defenses(as_json: Json = False) -> None:
    """List the defenses with their options."""
    _methods("privet.defenses", as_json)


@app.command(epilog="Example: privet attacks --json")
def attacks(as_json: Json = False) -> None:
    """List the attacks with their options."""
    _methods("privet.attacks", as_json)


def _methods(folder: str, as_json: bool) -> None:
    import dataclasses

    from rich.table import Table

    from privet import registry

    table = Table("name", "what it does", "options")
    for name in registry.names(folder):
        cls = registry.find(folder, name)
        options = {f.name: str(f.default) for f in dataclasses.fields(cls) if f.init}
        if as_json:
            typer.echo(json.dumps({"name": name, "summary": cls.summary, "options": options}))
        table.add_row(name, cls.summary, ", ".join(f"{k}={v}" for k, v in options.items()) or "-")
    if not as_json:
        Console().print(table)


def _show(answer: Answer, as_json: bool) -> None:
    from privet.report import tables

    if as_json:
        for row in answer.rows:
            sys.stdout.write(json.dumps(row.json(), allow_nan=False) + "\n")
        sys.stdout.flush()
    # A file or a pipe has no width of its own: take enough that attack and flags stand in the row.
    wide = None if (sys.stderr if as_json else sys.stdout).isatty() else PIPED
    Console(stderr=as_json, width=wide).print(tables.console(answer.results))
    if answer.results.unfinished:
        err.print(
            f"[yellow]unfinished[/] {len(answer.results.unfinished)} trials are missing; the same command goes on "
            "where it stopped"
        )
    err.print(f"report: {answer.report}", highlight=False, soft_wrap=True)


def _place(text: str) -> tuple[Path, str | None]:
    folder, mark, defense = text.partition("#")
    return Path(folder), defense if mark else None
