"""The commitment: criteria are written into `claims.json` before the first trial, and what changes afterwards is shown.

A criterion may be mended, but not in silence: where runs exist already, the first text stays in the file and the page
prints both."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privet import run
from privet.errors import RunError
from privet.recipes.claims import Claim, Grid, Recipe

FILE, CODE, GRID = "claims.json", "code", "grid"
MEASURED = "measured"  # the folder of what measurements keep


@dataclass(frozen=True)
class Change:
    """A claim whose criterion is not the one that was committed: the first text and the present one, empty where the
    claim was dropped or is new. Where the claim is `code`, texts are hashes and what changed is how it is measured."""

    claim: str
    committed: str
    now: str

    def __str__(self) -> str:
        if self.claim == CODE:
            return f"the code that measures the claims changed after the runs (now {self.now}, was {self.committed})"
        if self.claim == GRID:
            was, now = json.loads(self.committed), json.loads(self.now)
            told = ", ".join(f"{k} {was.get(k)} became {now.get(k)}" for k in sorted(now) if was.get(k) != now.get(k))
            return f"the grid is not the one that was committed: {told}"
        if not self.now:
            return f"claim {self.claim} was dropped after the runs; its criterion was: {self.committed}"
        if not self.committed:
            return f"claim {self.claim} was added after the runs"
        return f"the criterion of claim {self.claim} changed after the runs; it was: {self.committed}"


def commit(out: Path, recipe: Recipe, grid: Grid) -> tuple[Change, ...]:
    """Write the criteria down, or compare them with those that were written before the runs.

    Where no trial is finished the file is written anew. RunError where it belongs to another paper, or is damaged."""
    present = _content(recipe, grid)
    path = out / FILE
    before = _read(path)
    if before is not None and before["paper"] != recipe.name:
        raise RunError(f"{out} holds the claims of {before['paper']}; choose another --out for {recipe.name}")
    begun = any((out / "runs").glob("*/run.json")) or any((out / MEASURED).glob("*"))
    if before is None or not begun:
        run.write_text(path, json.dumps(present | {"later": []}, indent=1, ensure_ascii=False))
        return ()
    versions = [before, *before["later"]]
    decisive = ("claims", "code", "grid")
    if all(any(v[key] != present[key] for key in decisive) for v in versions):
        before["later"].append(present)
        run.write_text(path, json.dumps(before, indent=1, ensure_ascii=False))
    return _changes(before, present)


def _content(recipe: Recipe, grid: Grid) -> dict[str, Any]:
    frame = Path(__file__).parent
    code = {f"frame/{name}": frame / name for name in ("claims.py", "curves.py", "evidence.py", "measurement.py")}
    code |= {f"auditing/{name}": frame.parent / "auditing" / name for name in ("estimate.py", "tables.py")}
    code |= {file.name: file for file in (sorted(recipe.file.parent.glob("*.py")) if recipe.whole else [recipe.file])}
    return {
        "paper": recipe.name,
        "citation": str(recipe.paper),
        "grid": {"name": grid.name, "effort": grid.effort, "seeds": grid.seeds, "as_published": grid.as_published},
        "code": {name: run.file_hash(file) for name, file in code.items()},
        "claims": {claim.id: _text(claim) for claim in recipe.claims},
    }


def _text(claim: Claim) -> str:
    """Everything about a claim that decides its verdict, as one text."""
    parts = [f"({i}) {p.statement} [{', '.join(p.needs)}]" for i, p in enumerate(claim.parts, 1)]
    return " ".join([claim.criterion, *parts])


def _changes(committed: dict[str, Any], present: dict[str, Any]) -> tuple[Change, ...]:
    was, now = committed["claims"], present["claims"]
    texts = [Change(i, was.get(i, ""), now.get(i, "")) for i in dict.fromkeys([*was, *now]) if was.get(i) != now.get(i)]
    grids = [run.canonical(version["grid"]) for version in (committed, present)]
    texts += [Change(GRID, *grids)] if grids[0] != grids[1] else []
    hashes = [run.name_of(version["code"], {}) for version in (committed, present)]
    return (*texts, Change(CODE, *hashes)) if hashes[0] != hashes[1] else tuple(texts)


def _read(path: Path) -> dict[str, Any] | None:
    if not path.is_file():
        return None
    try:
        stored = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(stored["claims"], dict) or not isinstance(stored["later"], list):
            raise TypeError("its claims are not a table")
        return dict(stored)
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(f"{path} is damaged ({problem}); choose another --out") from problem
