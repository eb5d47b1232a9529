"""`privet compare`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from privet.cli.options import AnyVersion, Json
from privet.cli.root import err

EXAMPLE = "Example: privet compare 'audit#gaussian:sigma=1' 'audit#signal_content:keep=8'"


def compare(
    first: Annotated[str, typer.Argument(metavar="A", help="FOLDER or FOLDER#DEFENSE")],
    second: Annotated[str, typer.Argument(metavar="B", help="FOLDER or FOLDER#DEFENSE")],
    any_version: AnyVersion = False,
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


def _place(text: str) -> tuple[Path, str | None]:
    folder, mark, defense = text.partition("#")
    return Path(folder), defense if mark else None
