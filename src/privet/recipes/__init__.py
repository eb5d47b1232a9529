"""Recipes: one file per paper, the folder is the registry. `privet reproduce NAME` runs one and judges its claims."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path
from typing import TYPE_CHECKING

from privet.errors import SpecError, unknown

if TYPE_CHECKING:
    from types import ModuleType

    from privet.recipes.claims import Recipe

FRAME = {"claims", "commitment", "curves", "evidence", "frontier", "measurement", "page", "reading", "reproduce"}


def names() -> tuple[str, ...]:
    """The papers that can be reproduced, as the command line writes them, without importing anything."""
    files = {m.name for m in pkgutil.iter_modules(__path__) if not m.name.startswith("_")}
    return tuple(sorted(name.replace("_", "-") for name in files - FRAME))


def load(name: str) -> Recipe:
    """The recipe of a paper; SpecError with the nearest name where there is none."""
    key = name.strip().replace("_", "-")
    if key not in names():
        raise SpecError(unknown("paper", name, names()))
    return of(importlib.import_module(f"{__name__}.{key.replace('-', '_')}"), key)


def of(module: ModuleType, name: str) -> Recipe:
    """A module as a recipe; SpecError where two claims share an id, or one names a figure or a study that no grid has,
    which would leave it out of every verdict without a word."""
    from privet.recipes.claims import GRIDS, Grid, Recipe, Where
    from privet.recipes.evidence import PUBLISHED

    recipe = Recipe(
        name, module.PAPER, module.CLAIMS, module.FIGURES, module.studies, Path(str(module.__file__)),
        getattr(module, "PUBLISHED", PUBLISHED), getattr(module, "EXACT", True),
    )  # fmt: skip
    ids = [c.id for c in recipe.claims] + [f.id for f in recipe.figures]
    twice = sorted({i for i in ids if ids.count(i) > 1})
    if twice:
        raise SpecError(f"the recipe {name} uses the id {twice[0]!r} twice; give each claim and figure its own")
    places = Where(None, Path("out"))
    grids = [Grid.named(g, as_published=exact) for g in GRIDS for exact in {False, recipe.exact}]
    keys = {key for grid in grids for key in recipe.studies(grid, places)}
    figures = {f.id for f in recipe.figures}
    for claim in recipe.claims:
        for wanted, known, what in ((claim.needs, keys, "study"), (claim.figures, figures, "figure")):
            for missing in sorted(set(wanted) - known):
                raise SpecError(f"claim {claim.id} of {name} reads what is not there: {unknown(what, missing, known)}")
    return recipe
