"""`privet defenses` and `privet attacks`."""

from __future__ import annotations

import json

import typer
from rich.console import Console

from privet.cli.options import Json

EXAMPLES = {"defenses": "Example: privet defenses", "attacks": "Example: privet attacks --json"}


def defenses(as_json: Json = False) -> None:
    """List the defenses with their options."""
    _methods("privet.defenses", as_json)


def attacks(as_json: Json = False) -> None:
    """List the attacks with their options."""
    _methods("privet.attacks", as_json)


def _methods(folder: str, as_json: bool) -> None:
    import dataclasses

    from rich.table import Table

    from privet import registry

    table = Table("name", "what it does", "options")
    for name in registry.names(folder):
        cls = registry.find(folder, name)
        options = {f.name: str(f.default) for f in dataclasses.fields(cls) if f.init}
        if as_json:
            typer.echo(json.dumps({"name": name, "summary": cls.summary, "options": options}))
        table.add_row(name, cls.summary, ", ".join(f"{k}={v}" for k, v in options.items()) or "-")
    if not as_json:
        Console().print(table)
