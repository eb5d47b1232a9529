"""`privet cuts`."""

from __future__ import annotations

import json
from typing import Annotated

import typer
from rich.console import Console

from privet.cli.options import Data, Hidden, Json, Model, Resize, Target, Weights

EXAMPLE = "Example: privet cuts --model resnet18 --data faces/ --target gender --hidden race"


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
