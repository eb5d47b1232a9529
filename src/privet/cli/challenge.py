"""`privet challenge make` and `privet challenge score`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from privet.cli.options import DataOrNone, Group, Hidden, Json, Limit, Resize, Target
from privet.cli.root import PIPED, err

EXAMPLE = (
    "Example: privet challenge make --payloads sent.parquet --hidden race --out challenge"
    "\n\n"
    "Example: privet challenge score challenge --answers answers.csv"
)
EXAMPLES = dict(zip(("make", "score"), EXAMPLE.split("\n\n"), strict=True))
group = typer.Typer(
    name="challenge",
    no_args_is_help=True,
    rich_markup_mode="rich",
    help="Payloads that outsiders may attack, locked by hashes, and the scoring of their answers.",
    epilog=EXAMPLE,
)


@group.command(epilog=EXAMPLES["make"])
def make(
    bundle: Annotated[
        Path | None, typer.Argument(help="folder that privet fit wrote; its people are those of --data")
    ] = None,
    payloads: Annotated[
        str | None, typer.Option(help="Parquet or CSV of payloads that a system sent, as privet audit takes it")
    ] = None,
    payload_columns: Annotated[str, typer.Option(help="how the names of the payload's columns begin")] = "payload_",
    data: DataOrNone = None,
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    group: Group = None,
    limit: Limit = None,
    resize: Resize = None,
    on_bad: Annotated[
        str | None, typer.Option(help="skip (and count) or stop at rows without a usable payload")
    ] = None,
    out: Annotated[
        Path, typer.Option(help="folder to publish; the answers are written beside it, to OUT.secret.json")
    ] = Path("privet-challenge"),
    as_json: Json = False,
) -> None:
    """Write a folder for outsiders, with the adversary's people and the victims' payloads, and keep the answers."""
    from privet.challenge import folder
    from privet.challenge import make as making
    from privet.errors import SpecError
    from privet.recorded import study
    from privet.schedule import Source
    from privet.screen import Screen
    from privet.setting import Setting

    if bundle is None and payloads is None:
        raise SpecError("say what to attack: a bundle's folder, or --payloads FILE")
    folder.check_target(out)
    people = "" if data is None else data
    asked = study.study(
        Source(people, target, tuple(hidden), resize=resize, group=group, limit=limit, on_bad=on_bad or "skip"),
        Setting("", ""), defenses=(), seeds=1, out=out, jobs=1, max_minutes=None, any_version=False,
        files=() if payloads is None else (payloads,), prefix=payload_columns,
        bundle=None if bundle is None else str(bundle), on_bad=on_bad,
    )  # fmt: skip
    with Screen(err) as screen:
        said = making.make(asked, out, screen.loading)
    if as_json:
        typer.echo(json.dumps(said))
    err.print(
        f"wrote {out} ({said['examples']['train']:,} people with labels, {said['examples']['payloads']:,} to guess): "
        f"publish it; keep {folder.secret_path(out)} to yourself",
        highlight=False, markup=False, soft_wrap=True,
    )  # fmt: skip


@group.command(epilog=EXAMPLES["score"])
def score(
    folder: Annotated[Path, typer.Argument(help="the --out of challenge make")],
    answers: Annotated[Path, typer.Option(help="CSV or Parquet: id, and guesses or probabilities")],
    secret: Annotated[Path | None, typer.Option(help="the maker's file [FOLDER.secret.json]")] = None,
    as_json: Json = False,
) -> None:
    """Verify every hash and the commitment, then score answers beside the floor."""
    from rich.table import Table

    from privet.challenge import folder as place
    from privet.challenge import score as scoring
    from privet.report import words

    scores = scoring.score(place.read(folder, secret), answers)
    if as_json:
        for one in scores:
            typer.echo(json.dumps(one.json(), allow_nan=False))
        return
    table = Table("attribute", "metric", "answers", "floor", "over the floor")
    for one in scores:
        told = [f"{words.number(one.metric, e.mean)} ({words.interval(one.metric, e)})" for e in (one.value, one.floor)]
        over = f"{words.gap(one.metric, one.over.mean)} ({words.interval(one.metric, one.over)})"
        mark = " *" if one.over.low > 0 else ""
        table.add_row(one.attribute, words.metric_name(one.metric), told[0], f"{told[1]} {one.floor_by}", over + mark)
    console = Console()
    Console(width=None if console.is_terminal else PIPED).print(table)
    err.print("* the 95 % interval stands above the floor; every file and the commitment are as they were published")
