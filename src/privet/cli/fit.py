"""`privet fit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privet.cli.options import (
    At,
    Data,
    Device,
    EffortName,
    Freeze,
    Group,
    Hidden,
    Json,
    Limit,
    Model,
    Resize,
    Target,
    Weights,
)
from privet.cli.root import err

EXAMPLE = "Example: privet fit --data digits --defense signal_content:keep=4 --out bundle"


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
