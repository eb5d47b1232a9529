"""`privet report`."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from privet.cli.audit import show
from privet.cli.options import AnyVersion, Json

EXAMPLE = "Example: privet report audit"


def report(
    folder: Annotated[Path, typer.Argument(help="the --out of an audit")],
    any_version: AnyVersion = False,
    csv: Annotated[Path | None, typer.Option(help="write all findings as CSV")] = None,
    latex: Annotated[Path | None, typer.Option(help="write the headlines as a LaTeX table")] = None,
    figures: Annotated[Path | None, typer.Option(help="write the figures as SVG into this folder")] = None,
    as_json: Json = False,
) -> None:
    """Make the page and the table again from the runs of an audit; the data are not needed."""
    from privet import api, run, study

    answer = api.publish(study.collect(folder, any_version=any_version))
    if csv:
        run.write_text(csv, answer.csv())
    if latex:
        run.write_text(latex, answer.latex())
    if figures:
        answer.figures(figures)
    show(answer, as_json)
