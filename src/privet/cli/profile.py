"""`privet profile`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from privet.cli.options import (
    Data,
    Device,
    EffortName,
    Group,
    Hidden,
    Json,
    Limit,
    Model,
    Resize,
    Target,
    Top,
    Training,
    Weights,
)
from privet.cli.root import PIPED, err

EXAMPLE = (
    "Example: privet profile --data digits --effort quick --seeds 1 --keep free --keep 0.1 --keep 4 --at-most 0.01"
)


def profile(
    data: Data = "digits",
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    model: Model = "",
    at: Annotated[list[str], typer.Option(help="cut; repeat it [every legal cut where the method applies]")] = [],  # noqa: B006
    keep: Annotated[
        list[str],
        typer.Option(
            help="share of the rank (0.5), number of coefficients (4), or free; repeat it [free, 0.8, 0.5, 0.3, 0.2, "
            "0.1, 0.05, 1, 2, 4, 8]"
        ),
    ] = [],  # noqa: B006
    order: Annotated[str, typer.Option(help="energy or singular: which coefficients come first")] = "energy",
    bits: Annotated[int | None, typer.Option(help="bits of each coefficient, 1 to 8 [float16]")] = None,
    at_most: Annotated[float, typer.Option(help="accuracy that the client can spare; 0.01 is one point")] = 0.01,
    sure: Annotated[bool, typer.Option(help="judge the upper end of the interval, not the mean")] = False,
    training: Training = None,
    weights: Weights = None,
    effort: EffortName = "standard",
    seeds: Annotated[int, typer.Option(help="independent trainings of the network")] = 3,
    resize: Resize = None,
    group: Group = None,
    limit: Limit = None,
    top: Top = None,
    device: Device = "cpu",
    out: Annotated[Path, typer.Option(help="folder for rows and profile.html; the same command again resumes")] = Path(
        "privet-profile"
    ),
    as_json: Json = False,
) -> None:
    """What a client pays for each cut and kept share: accuracy lost, bytes sent, work on the edge; and its choice. No
    attack runs: audit the choice."""
    from privet import profile as profiling
    from privet.report import profiles
    from privet.report.words import unmarked
    from privet.schedule import Source
    from privet.screen import Screen
    from privet.setting import Setting

    question = profiling.Question(tuple(keep) or profiling.SHARES, tuple(at), order, bits, seeds, at_most, sure)
    source = Source(data, target, tuple(hidden), resize=resize, group=group, limit=limit, top=top)
    kept = None if weights is None else str(weights)
    setting = Setting(model, "", effort=effort, weights=kept, device=device, training=training)
    with Screen(err) as screen:
        stages = {True: screen.stage("network"), False: screen.stage("profile")}

        def report(text: str, done: int, total: int) -> None:
            stages[text.startswith("training")](text, done, total)

        made = profiling.profile(source, setting, question, out, report=report, loading=screen.loading)
    if as_json:
        for row in made.rows:
            sys.stdout.write(json.dumps(row.json(), allow_nan=False) + "\n")
        sys.stdout.flush()
    wide = None if (sys.stderr if as_json else sys.stdout).isatty() else PIPED
    Console(stderr=as_json, width=wide).print(profiles.console(made))
    for names, why in profiles.left_out(made):
        err.print(f"[dim]left out[/] {names}: {why}", highlight=False, soft_wrap=True)
    err.print(unmarked(profiles.lead(made)), highlight=False, soft_wrap=True)
    if made.audit:
        err.print("no attack was run; what this choice leaks is measured by", highlight=False)
        err.print(f"  {made.audit}", highlight=False, markup=False, soft_wrap=True)
    written = profiles.write(made, out / "profile.html")
    err.print(f"report: {written}", highlight=False, soft_wrap=True)
