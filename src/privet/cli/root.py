"""What all commands share: the program itself, and where it speaks."""

from __future__ import annotations

from typing import Annotated

import typer
from rich.console import Console

from privet import __version__

app = typer.Typer(
    name="privet",
    no_args_is_help=True,
    add_completion=False,
    rich_markup_mode="rich",
    pretty_exceptions_enable=False,
    help="Cut a network in two, prune what leaves the device, and measure honestly what still leaks.",
)
err = Console(stderr=True)
PIPED = 140  # characters of a line where the output is no terminal


def _version(show: bool) -> None:
    if show:
        typer.echo(f"privet {__version__}")
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="print the version")
    ] = False,
) -> None:
    """Cut a network in two, prune what leaves the device, and measure honestly what still leaks."""
