"""`privet plan`."""

from __future__ import annotations

import json
import re
import shlex
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from privet.cli import plan_runs
from privet.cli.options import AnyVersion, Data, Device, Group, Json, Limit, Resize
from privet.cli.root import PIPED, err
from privet.errors import Infeasible, SpecError

EXAMPLE = "Example: privet plan --data digits --max-psnr 19 --max-ms 20 --max-bytes 1MB"
SIZES = {"": 1, "b": 1, "kb": 10**3, "mb": 10**6, "gb": 10**9, "kib": 2**10, "mib": 2**20, "gib": 2**30}


def plan(
    context: typer.Context,
    data: Data = "digits",
    target: Annotated[
        str | None, typer.Option(help="column the cloud is to learn [digits: parity; a column named label]")
    ] = None,
    max_psnr: Annotated[
        float | None,
        typer.Option(
            help="mean dB that decoders may draw who do not know the network; of runs: that the strongest "
            "reconstruction draws; lower hides more"
        ),
    ] = None,
    max_ms: Annotated[float | None, typer.Option(help="milliseconds an example on the device, one thread")] = None,
    max_bytes: Annotated[str | None, typer.Option(help="bytes of the local network's weights, such as 1MB")] = None,
    runs: Annotated[
        list[Path], typer.Option(help="choose among the finished runs of an audit's --out instead; repeat it")
    ] = [],  # noqa: B006
    max_drop: Annotated[float | None, typer.Option(help="of runs: points of target accuracy that may be lost")] = None,
    max_advantage: Annotated[
        float | None, typer.Option(help="of runs: points of the strongest attack above the best floor, any attribute")
    ] = None,
    max_certificate: Annotated[
        str | None, typer.Option(help="of runs: a bound on every attacker: 60% (accuracy), 3nats or 1epsilon")
    ] = None,
    max_payload: Annotated[
        str | None, typer.Option(help="of runs: bytes that travel for a picture, such as 1kB")
    ] = None,
    strategy: Annotated[
        str, typer.Option(help="paper (layers first), or pareto (what the tables say is most accurate)")
    ] = "paper",
    pool: Annotated[
        Path | None,
        typer.Option(help="folder of pretrained networks [a folder `weights` beside the data, or one of our own]"),
    ] = None,
    source: Annotated[
        list[str],
        typer.Option(
            help="network of the pool by the beginning of its name, torchvision:vgg16=FILE, timm:resnet18=FILE, or own "
            "(trained on public people); repeat it [the first that never met the data]"
        ),
    ] = [],  # noqa: B006
    public: Annotated[str | None, typer.Option(help="another data set for the characterization")] = None,
    profile: Annotated[
        Path | None, typer.Option(help="device.json of the device that is planned for [this one, measured]")
    ] = None,
    effort: Annotated[
        str, typer.Option(help="of the tables: quick (minutes), standard (about 3 hours), full (the paper's)")
    ] = "quick",
    margin: Annotated[
        float, typer.Option(help="deviations of the PSNR kept clear of its limit; 0 as in the paper")
    ] = 1.0,
    switch: Annotated[
        float | None, typer.Option(help="limit in dB up to which the deepest layer is taken [read from the tables]")
    ] = None,
    inner: Annotated[
        float,
        typer.Option(help="share of the inner filters that is kept, at random; less is faster and harder to guess"),
    ] = 1.0,
    known: Annotated[
        bool | None,
        typer.Option(
            "--known/--no-known",
            help="attack the choice as one who knows it would, too; takes a minute [where few pictures name it]",
        ),
    ] = None,
    group: Group = None,
    resize: Resize = None,
    limit: Limit = None,
    seed: Annotated[int | None, typer.Option(help="of the client's random choices [secret]")] = None,
    device: Device = "cpu",
    jobs: Annotated[
        int, typer.Option(help="extractors measured at the same time, a process of one thread each [all cores]")
    ] = 0,
    out: Annotated[
        Path, typer.Option(help="folder for tables.parquet, device.json, plan.json, edge.onnx and plan.html; resumes")
    ] = Path("privet-plan"),
    any_version: AnyVersion = False,
    as_json: Json = False,
) -> None:
    """A local network under limits on leakage, time and size: which layers of a pretrained one, and which channels
    (PrivyNet), verified by fresh decoders. With --runs: which of the defenses that were audited."""
    if plan_runs.asked(context):
        payload = None if max_payload is None else size(max_payload, "--max-payload")
        plan_runs.show(
            runs, out, as_json, any_version, drop=max_drop, advantage=max_advantage, psnr=max_psnr, payload=payload,
            ms=max_ms, certificate=max_certificate,
        )  # fmt: skip
        return
    from privet.planner import find, page, statement
    from privet.planner.choosing import Limits
    from privet.report.words import unmarked
    from privet.schedule import Source
    from privet.screen import Screen

    limits = Limits(max_psnr, max_ms, None if max_bytes is None else size(max_bytes))
    question = find.Question(
        Source(data, target, resize=resize, group=group, limit=limit), limits, effort,
        None if pool is None else str(pool), tuple(source), public, None if profile is None else str(profile),
        margin, switch, inner, strategy, known, seed, device, jobs,
    )  # fmt: skip
    with Screen(err) as screen:
        try:
            found = find.find(question, out, report=screen.stage("plan"), loading=screen.loading)
        except Infeasible as why:
            if as_json:
                told = {"feasible": False, "binding": list(why.binding), "nearest": why.nearest, "why": str(why)}
                typer.echo(json.dumps(told, allow_nan=False))
            raise
        except KeyboardInterrupt:
            err.print("stopped; what was measured is kept, and the same command goes on")
            raise
    made = found.plan
    if as_json:
        typer.echo(json.dumps({"feasible": True, **made.json()}, allow_nan=False))
    if found.earlier:
        err.print(f"[dim]the plan that was here is kept in[/] {found.earlier}", highlight=False, soft_wrap=True)
    for note in found.corpus.notes:
        err.print(f"[dim]{note}[/]", highlight=False, soft_wrap=True)
    for name, why_not in found.refused.items():
        err.print(f"[dim]left out[/] {name}: {why_not}", highlight=False, soft_wrap=True)
    depth = statement.counted(len(made.channels), "channel")
    title = f"{made.source}, {statement.counted(made.layer, 'layer')}, {depth}"
    table = Table("what", "measured", "limit", title=title)
    for row in statement.measured(made):
        table.add_row(*row)
    Console(stderr=True, width=None if err.is_terminal else PIPED).print(table)
    err.print(unmarked(statement.lead(made)), highlight=False, soft_wrap=True)
    for caution in statement.cautions(found):
        err.print(f"[dim]{caution}[/]", highlight=False, soft_wrap=True)
    err.print(
        f"report: {page.write(found, command(question, made.seed, out), out / 'plan.html')}",
        highlight=False,
        soft_wrap=True,
    )


def size(text: str, option: str = "--max-bytes") -> int:
    """Bytes of `1MB`, `500 kB`, `1MiB` or `800000`; SpecError for anything else."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-zA-Z]*)\s*", text)
    if not found or found[2].lower() not in SIZES:
        raise SpecError(f"{option} is a size such as 1MB, 500kB, 1MiB or 800000; got {text!r}")
    return int(float(found[1]) * SIZES[found[2].lower()])


def command(question: object, seed: int, out: Path) -> str:
    """The command that makes the plan again, with the seed of its channels."""
    from privet.planner.find import Question

    assert isinstance(question, Question)
    where, limits = question.where, question.limits
    words = ["privet", "plan", "--data", where.data]
    optional = {
        "--target": where.target, "--max-psnr": limits.psnr, "--max-ms": limits.ms, "--max-bytes": limits.bytes,
        "--pool": question.pool, "--public": question.public, "--profile": question.profile,
        "--effort": question.effort if question.effort != "quick" else None,
        "--margin": question.margin if question.margin != 1 else None, "--switch": question.switch,
        "--inner": question.inner if question.inner != 1 else None,
        "--strategy": question.strategy if question.strategy != "paper" else None,
        "--group": where.group, "--resize": where.resize, "--limit": where.limit, "--seed": seed,
        "--device": question.device if question.device != "cpu" else None, "--out": out,
    }  # fmt: skip
    words += [] if question.known is None else ["--known" if question.known else "--no-known"]
    words += [w for name in question.sources for w in ("--source", name)]
    return shlex.join(words + [str(w) for name, value in optional.items() if value is not None for w in (name, value)])
