"""`privet reproduce`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console

from privet import recipes
from privet.cli.options import AnyVersion, Device, Jobs, Json, MaxMinutes
from privet.cli.root import PIPED, err

if TYPE_CHECKING:
    from privet.recipes.claims import Judgement
    from privet.recipes.reproduce import Reproduction

EXAMPLE = "Example: privet reproduce signal-content --data sets/ --effort standard --only 3d --out claims"
COLORS = {"reproduced": "green", "not reproduced": "red", "differs": "yellow"}


def reproduce(
    paper: Annotated[str, typer.Argument(help=f"list, or one of: {', '.join(recipes.names())}")] = "list",
    data: Annotated[
        Path | None, typer.Option(help="folder that holds the named sets: utkface/, qmnist/, celeba_id/, ...")
    ] = None,
    effort: Annotated[
        str | None,
        typer.Option(
            help="quick (digits, a smoke test), standard (a reduced grid) or full (the paper's grid) [quick without "
            "--data, else standard]"
        ),
    ] = None,
    seeds: Annotated[int | None, typer.Option(help="repetitions of training and attack [1, 3 or 5]")] = None,
    only: Annotated[list[str], typer.Option(help="only this claim or figure; repeat it")] = [],  # noqa: B006
    as_published: Annotated[
        bool, typer.Option(help="the paper's own architecture, optimizer and epochs; wants its data and a GPU")
    ] = False,
    device: Device = "cpu",
    jobs: Jobs = 0,
    max_minutes: MaxMinutes = None,
    any_version: AnyVersion = False,
    out: Annotated[
        Path | None,
        typer.Option(help="folder for runs and claims.html; the same command again resumes [privet-PAPER-EFFORT]"),
    ] = None,
    as_json: Json = False,
) -> None:
    """Judge a paper's claims on runs of this machine: as published, and under fresh adversaries. The criteria are
    written down before the first run; the exit code is 0 whatever the verdicts are."""
    if paper == "list":
        _list(as_json)
        return
    from privet.cli.stages import Stages
    from privet.recipes import page
    from privet.recipes.claims import Grid, Where
    from privet.recipes.reproduce import default_folder
    from privet.recipes.reproduce import reproduce as run

    recipe = recipes.load(paper)
    grid = Grid.named(effort or ("standard" if data else "quick"), seeds, as_published)
    folder = out or default_folder(recipe, grid)
    where = Where(data, folder, jobs, device, any_version)
    screen = Stages(err)
    with screen:
        done = run(
            recipe, grid, where, only=only, max_minutes=max_minutes,
            listen=screen.listen, announce=screen.plan, loading=screen.loading,
        )  # fmt: skip
    _show(done, as_json)
    written = page.write(done, folder / "claims.html")
    err.print(f"report: {written}", highlight=False, soft_wrap=True)


def _list(as_json: bool) -> None:
    from rich.table import Table

    table = Table("paper", "title", "citation", "claims")
    for name in recipes.names():
        recipe = recipes.load(name)
        ids = [claim.id for claim in recipe.claims]
        if as_json:
            told = {"paper": name, "title": recipe.paper.title, "citation": str(recipe.paper), "claims": ids}
            typer.echo(json.dumps(told))
        table.add_row(name, recipe.paper.title, str(recipe.paper), ", ".join(ids))
    if not as_json:
        Console().print(table)


def _show(done: Reproduction, as_json: bool) -> None:
    """Verdicts on standard output, as JSON lines or as a table, one for each claim; what could not be run says so."""
    from rich.table import Table
    from rich.text import Text

    if as_json:
        for judged in done.judgements:
            sys.stdout.write(json.dumps(judged.json(), allow_nan=False) + "\n")
        sys.stdout.flush()
    table = Table(
        "claim", "where", "reported", "data", "as published", "fresh adversaries", title=done.recipe.paper.title
    )
    for judged in done.judgements:
        verdicts = [Text(v, style=COLORS.get(v, "dim")) for v in (judged.verdict_as_published, judged.verdict)]
        claim = judged.claim
        table.add_row(f"{claim.id} {claim.statement}", claim.where, claim.reported, ", ".join(judged.data), *verdicts)
    wide = None if (sys.stderr if as_json else sys.stdout).isatty() else PIPED
    Console(stderr=as_json, width=wide).print(table)
    for sentence in dict.fromkeys(s for judged in done.judgements for s in _missing(judged)):
        err.print(f"[yellow]not measured[/] {sentence}", highlight=False, soft_wrap=True)
    for change in done.changes:
        err.print(f"[yellow]changed[/] {change}", highlight=False, soft_wrap=True)


def _missing(judged: Judgement) -> list[str]:
    outcomes = [o for found in judged.outcomes.values() for o in found]
    if all(o.outside for o in outcomes):
        return [f"{judged.claim.id}: none of its parts belongs to this grid; take a larger one with --effort"]
    return [f"{judged.claim.id}: {o.missing}" for o in outcomes if o.missing and not o.outside]
