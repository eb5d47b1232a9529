"""All that is measured, on which people, how thoroughly."""

from __future__ import annotations

import platform
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

from privet.planner import fisher
from privet.recipes import claims
from privet.recipes.claims import Where
from privet.recipes.measurement import Finding, Measurement, remembered
from privet.recipes.privynet import costs, tables, unknown
from privet.recipes.privynet.bench import Bench
from privet.recipes.privynet.sizes import OTHER_SIDE, OTHER_TARGET, SIZES
from privet.setting import Report, file_of


def studies(grid: claims.Grid, where: Where) -> dict[str, Measurement]:
    """All that is measured, by data set and name."""
    size = SIZES[grid.name]
    scale = grid.seeds / claims.GRIDS[grid.name]
    counts = ("draws", "again", "settings", "widths")
    size = replace(size, **{k: max(2, round(scale * getattr(size, k))) for k in counts})
    bench = Bench(size, size.data, size.target, where)
    cost = {"quick": 0.01, "standard": 1.0, "full": 5000.0}[grid.name]
    asked: dict[str, tuple[str, Callable[[Report], Finding], float]] = {
        "grid": ("layers, depths and draws of channels", partial(tables.grid, bench), 1700.0),
        "single": ("every channel alone", partial(tables.single, bench), 2000.0),
        "samples": ("more and more public pictures", partial(tables.samples, bench), 600.0),
        "halves": ("either half of the classes", partial(tables.halves, bench), 1300.0),
        "fisher": ("Fisher's criterion of every channel", partial(tables.criterion, bench), 30.0),
        "settings": ("three ways to choose channels", partial(tables.settings, bench), 700.0),
        "widths": ("inner filters left out", partial(unknown.widths, bench), 700.0),
        "clusters": ("reconstruction networks of one to three clusters", partial(tables.clusters, bench), 800.0),
        "guesses": ("guessing the network", partial(unknown.guesses, bench), 200.0),
        "known": ("attacks that know the network", partial(unknown.known, bench), 300.0),
        "panels": ("pictures and what is drawn of them", partial(tables.pictures, bench), 200.0),
    }
    place = bench.people.data
    made = {
        f"{size.data}/{key}": Measurement(place, about, perform, cost * seconds)
        for key, (about, perform, seconds) in asked.items()
    }
    if size.other:
        other = Bench(replace(size, draws=size.again), size.other, OTHER_TARGET, where, OTHER_SIDE)
        made[f"{size.other}/grid"] = Measurement(
            other.people.data, asked["grid"][0], partial(tables.grid, other), cost * 1300
        )
    return made | {
        key: Measurement("", about, _cost(bench.out, key, measure), 30.0)
        for key, about, measure in (
            ("vgg16/cost", "a whole VGG-16 by block", costs.blocks),
            ("fisher/cost", "Fisher's criterion by people, channels and values", costs.exponents),
        )
    }


def _cost(out: Path, key: str, measure: Callable[[], Any]) -> Callable[[Report], Finding]:
    """A cost on this machine, measured once."""

    def perform(report: Report) -> Finding:
        if report:
            report("timing", 0, 1)
        code = [file_of(c) for c in (measure, fisher.criterion)]
        value = remembered(out, key.replace("/", "-"), {"machine": platform.node(), "code": code}, measure)
        return Finding("", value, (1,), 0.0, f"milliseconds on one thread of {platform.machine()}")

    return perform
