"""`privet release` and `privet fit-cloud`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from privet.cli.options import DATA, Device, EffortName, Json
from privet.cli.root import err

EXAMPLES = {
    "release": "Example: privet release --plan privet-plan --data digits --out privet-release",
    "fit-cloud": "Example: privet fit-cloud --release privet-release --out privet-cloud",
}


def release(
    data: Annotated[str, typer.Option(help=DATA)],
    plan: Annotated[Path, typer.Option(help="folder that privet plan wrote")] = Path("privet-plan"),
    target: Annotated[str | None, typer.Option(help="column of labels [that of the plan]")] = None,
    shard: Annotated[int | None, typer.Option(help="rows of one file [4096, or what 64 MiB hold]")] = None,
    out: Annotated[Path, typer.Option(help="folder for part-*.parquet and release.json; resumes")] = Path(
        "privet-release"
    ),
    as_json: Json = False,
) -> None:
    """Write what a plan lets out of private data, features and labels, as Parquet for training in the cloud. Labels are
    in clear. Runs without torch."""
    from privet.errors import SpecError
    from privet.planner import release as releasing
    from privet.screen import Screen

    if shard is not None and shard < 1:
        raise SpecError(f"--shard is a number of rows, 1 or more; got {shard}")
    with Screen(err) as screen:
        made = releasing.release(plan, data, out, target=target, shard=shard, report=screen.stage("release"))
    told = {
        "rows": made.rows, "shards": made.shards, "found": made.found, "classes": list(made.classes),
        "shape": list(made.shape), "bytes": made.bytes, "skipped": made.skipped,
    }  # fmt: skip
    if as_json:
        typer.echo(json.dumps(told))
    found = f", {made.found} found from before" if made.found else ""
    err.print(
        f"wrote {made.rows:,} rows of {list(made.shape)} in {made.shards} files{found} to {made.folder} "
        f"({made.bytes:,} bytes)",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
    for note in made.notes:
        err.print(f"[dim]{note}[/]", highlight=False, soft_wrap=True)
    for why, count in made.skipped.items():
        err.print(f"[dim]left out[/] {count:,} examples {why}", highlight=False)
    err.print(f"{made.promised}; labels are in clear; keep the plan to yourself", highlight=False, soft_wrap=True)


def fit_cloud(
    release: Annotated[Path, typer.Option(help="folder that privet release wrote")] = Path("privet-release"),
    effort: EffortName = "standard",
    seed: Annotated[int, typer.Option(help="seed of training")] = 0,
    device: Device = "cpu",
    out: Annotated[Path, typer.Option(help="folder for server.onnx, server.safetensors and cloud.json")] = Path(
        "privet-cloud"
    ),
    as_json: Json = False,
) -> None:
    """Train the cloud's network on a release, without an example or the plan; writes the half that serves."""
    from privet.planner import cloud
    from privet.screen import Screen

    with Screen(err) as screen:
        made = cloud.fit(release, out, effort=effort, seed=seed, device=device, report=screen.stage("fit-cloud"))
    if as_json:
        typer.echo(json.dumps(made.json()))
    found = made.accuracy
    err.print(
        f"accuracy {100 * found.mean:.1f} % ({100 * found.low:.1f} to {100 * found.high:.1f}) on {found.n:,} rows held "
        f"out, {100 * made.majority:.1f} % without them; wrote {out}/server.onnx",
        highlight=False, soft_wrap=True,
    )  # fmt: skip
