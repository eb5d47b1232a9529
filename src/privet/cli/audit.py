"""`privet audit`."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Console
from rich.markup import escape

from privet.cli.options import (
    AnyVersion,
    At,
    DataOrNone,
    Dependence,
    Device,
    EffortName,
    Freeze,
    Group,
    Hidden,
    Jobs,
    Json,
    Limit,
    MaxMinutes,
    Model,
    Resize,
    Seeds,
    Target,
    Top,
    Training,
    Weights,
)
from privet.cli.root import PIPED, err

if TYPE_CHECKING:
    from privet.api import Answer
    from privet.schedule import Schedule

EXAMPLE = (
    r"Example: privet audit --data faces/ --target gender --hidden race --defense none --defense "
    r"signal_content:keep=8 --out audit"
    "\n\n"
    "Example: privet audit --payloads sent.parquet --hidden race --out audit"
    "\n\n"
    "Example: privet audit bundle --data faces/ --target gender --hidden race --out audit"
)


def audit(
    bundle: Annotated[
        Path | None,
        typer.Argument(help="folder that privet fit wrote: attack what its own edge makes of the people of --data"),
    ] = None,
    data: DataOrNone = None,
    target: Target = None,
    hidden: Hidden = [],  # noqa: B006
    payloads: Annotated[
        list[str],
        typer.Option(
            help="Parquet or CSV of payloads that any other system sent, a row a person: a column payload of lists (or "
            "payload_0, payload_1, ...), the labels, and where they were recorded answer, input, person, role, id; "
            "repeat it to compare systems on the same people with the first"
        ),
    ] = [],  # noqa: B006
    payload_columns: Annotated[str, typer.Option(help="how the names of the payload's columns begin")] = "payload_",
    defense: Annotated[
        list[str], typer.Option(help="name:option=value,... ; + chains; repeat it (privet defenses lists them) [none]")
    ] = [],  # noqa: B006
    model: Model = "",
    at: At = "",
    weights: Weights = None,
    freeze: Freeze = None,
    attack: Annotated[
        list[str],
        typer.Option(
            help="only these, and the one on the mask alone where there is one; all: slow ones, too [all that the "
            "threat grants and the effort affords]"
        ),
    ] = [],  # noqa: B006
    threat: Annotated[str, typer.Option(help="server, eavesdropper, few_labels or repeated")] = "server",
    side: Annotated[
        list[str], typer.Option(help="attribute of a victim that the adversary knows already; repeat it")
    ] = [],  # noqa: B006
    effort: EffortName = "standard",
    seeds: Seeds = 3,
    resize: Resize = None,
    aux: Annotated[
        str | None, typer.Option(help="data set of the adversary's own, same layout; it may lack the target")
    ] = None,
    victims: Annotated[str | None, typer.Option(help="data set of the victims, same layout")] = None,
    group: Group = None,
    limit: Limit = None,
    top: Top = None,
    dependence: Dependence = None,
    training: Training = None,
    curves: Annotated[
        bool,
        typer.Option(
            "--curves",
            help="the strongest attacks again with fewer people (needs 400 people to learn from): would more help?",
        ),
    ] = False,
    judges: Annotated[
        Path | None,
        typer.Option(
            help="folder of networks to judge rebuilt pictures, beside our own: "
            "vgg19_normalised_to_conv3_1.safetensors, faceapi_age_gender.safetensors"
        ),
    ] = None,
    on_bad: Annotated[
        str | None,
        typer.Option(
            help="skip (and count) or stop at pictures that cannot be read [skip], rows without a usable payload [stop]"
        ),
    ] = None,
    device: Device = "cpu",
    jobs: Jobs = 0,
    max_minutes: MaxMinutes = None,
    fail_if: Annotated[
        list[str],
        typer.Option(
            help="[ATTRIBUTE.][METRIC.]QUANTITY>NUMBER[@upper|@lower]: exit with 3 if a headline finding is so. "
            "Quantities: advantage (value minus floor), normalized (share of the undefended leakage), certified (what "
            "no attacker exceeds; 1 where a payload has too many bits for a bound), utility, or a "
            "metric: accuracy, balanced_accuracy, auc, bits, coverage_at_95_precision, tpr_at_1_fpr, tpr_at_tenth_fpr, "
            "psnr, ssim. "
            "advantage alone judges accuracy (PSNR for input); auc.advantage>0.1 judges AUC"
        ),
    ] = [],  # noqa: B006
    any_version: AnyVersion = False,
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
        rebuilt = () if planned.corpus.kind == "payload" else ("input",)
        for gate in conditions:
            gates.known(gate, (*planned.corpus.hidden, *rebuilt), planned.study.lacking(planned.corpus))
        screen.announce(planned)

    with Screen(err) as screen:
        answer = api.audit(
            data, model, target=target, hidden=hidden, defenses=defense, at=at, weights=weights, freeze=freeze,
            attacks=attack, threat=threat, side=side, effort=effort, seeds=seeds, resize=resize, aux=aux,
            victims=victims, group=group, limit=limit, on_bad=on_bad, top=top, dependence=dependence, training=training,
            curves=curves, judges=judges,
            payloads=payloads, payload_columns=payload_columns, bundle=bundle, device=device, jobs=jobs, out=out,
            max_minutes=max_minutes, any_version=any_version,
            listen=screen.listen, announce=announce, loading=screen.loading,
        )  # fmt: skip
    show(answer, as_json)
    failures = [sentence for gate in conditions for sentence in gates.check(gate, answer.results)]
    for sentence in failures:
        err.print(f"[red]failed[/] {sentence}", highlight=False, soft_wrap=True)
    if failures or answer.results.refused:
        raise typer.Exit(3 if failures else 2)


def show(answer: Answer, as_json: bool) -> None:
    """The findings on standard output: JSON lines, or the table; the rest on standard error."""
    from privet.report import tables

    if as_json:
        for row in answer.rows:
            sys.stdout.write(json.dumps(row.json(), allow_nan=False) + "\n")
        sys.stdout.flush()
    # A file or a pipe has no width of its own: take enough that attack and flags stand in the row.
    wide = None if (sys.stderr if as_json else sys.stdout).isatty() else PIPED
    Console(stderr=as_json, width=wide).print(tables.console(answer.results))
    for sentence in answer.results.refused:
        err.print(f"[red]refused[/] {escape(sentence)}", highlight=False, soft_wrap=True)
    if answer.results.unfinished:
        err.print(
            f"[yellow]unfinished[/] {len(answer.results.unfinished)} trials are missing; the same command goes on "
            "where it stopped"
        )
    err.print(f"report: {answer.report}", highlight=False, soft_wrap=True)
