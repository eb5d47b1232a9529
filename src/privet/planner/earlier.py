"""A plan that was there before. Its channels were drawn in secret, and releases that were made by it go on by it alone:
a later plan in its folder sets it aside, and never deletes it."""

from __future__ import annotations

import os
from pathlib import Path

from privet import run
from privet.errors import Infeasible

PLAN, WRITTEN = "plan.json", ("edge.onnx", "plan.html")
EARLIER = "earlier"


def set_aside(out: Path) -> Path | None:
    """Move what a plan wrote to `earlier/HASH`, plan.json last, so that nobody releases by half of it. Returns where
    to; None where there was no plan."""
    if not (out / PLAN).is_file():
        for name in WRITTEN:
            (out / name).unlink(missing_ok=True)
        return None
    to = out / EARLIER / run.file_hash(out / PLAN)[:12]
    run.ensure(to)
    with run.writing(out):
        for name in (*WRITTEN, PLAN):
            if (out / name).is_file():
                os.replace(out / name, to / name)
    return to


def refused(out: Path, why: Infeasible) -> Infeasible:
    """The same refusal, with the place of the plan that was there: nobody shall release by it what this one refuses."""
    kept = set_aside(out)
    if kept is None:
        return why
    return Infeasible(f"{why}; the plan that was here is kept in {kept}", why.binding, why.nearest)
