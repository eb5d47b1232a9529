"""`privet plan --runs`."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from pathlib import Path

import typer
from rich.console import Console
from rich.table import Column, Table

from privet.cli.root import PIPED, err
from privet.errors import SpecError

OWN = {"max_drop", "max_advantage", "max_certificate", "max_payload", "any_version"}
BOTH = {"max_psnr", "max_ms", "out", "as_json"}


def asked(context: typer.Context) -> bool:
    """Whether --runs is given; SpecError for options of the one way to plan that are given with the other."""
    given = [
        p for p in context.command.params if str(context.get_parameter_source(p.name or "")).endswith("COMMANDLINE")
    ]
    over_runs = any(p.name == "runs" for p in given)
    strange = [p for p in given if p.name not in BOTH | {"runs"} and (p.name in OWN) != over_runs]
    named = ", ".join(p.opts[0] for p in strange)
    if strange and over_runs:
        raise SpecError(
            f"--runs chooses among runs that are finished, and {named} is of plans from tables; leave it out"
        )
    if strange:
        raise SpecError(f"{named} is of plans over finished runs; give their folders with --runs, or leave it out")
    return over_runs


def show(
    folders: Sequence[Path], out: Path, as_json: bool, any_version: bool, *, certificate: str | None,
    **given: float | None,
) -> None:  # fmt: skip
    """Plan over the runs of these folders: the choice on standard output, everything else on standard error."""
    from privet.planner import runs, runs_page
    from privet.planner.finished import ANYBODY
    from privet.report.words import unmarked

    bound, unit = (None, ANYBODY) if certificate is None else runs.certificate(certificate)
    limits = runs.Limits(certificate=bound, unit=unit, **given)  # type: ignore[arg-type]
    made = runs.find(folders, limits, out, any_version=any_version)
    if as_json:
        typer.echo(json.dumps(made.json(), allow_nan=False))
    heads = [Column(head, overflow="fold") for head in runs_page.HEADS]
    table = Table(*heads, title=f"{len(made.options)} finished runs")
    for option in made.options:
        table.add_row(*runs_page.cells(option, made))
    Console(stderr=True, width=None if err.is_terminal else PIPED).print(table)
    for caution in runs.cautions(made):
        err.print(f"[dim]{caution}[/]", highlight=False, soft_wrap=True)
    if made.refused:
        raise made.refused
    err.print(unmarked(runs.lead(made)), highlight=False, soft_wrap=True)
    page = runs_page.write(made, command(folders, limits, out, any_version), out / "plan.html")
    err.print(f"report: {page}", highlight=False, soft_wrap=True)


def command(folders: Sequence[Path], limits: object, out: Path, any_version: bool) -> str:
    """The command that makes the plan again."""
    from privet.planner.runs import Limits

    assert isinstance(limits, Limits)
    words = ["privet", "plan", *(w for folder in folders for w in ("--runs", str(folder)))]
    for name, value in limits.given.items():
        words += [f"--max-{name}", f"{value:.15g}" + (limits.unit if name == "certificate" else "")]
    words += ["--any-version"] if any_version else []
    return shlex.join([*words, "--out", str(out)])
