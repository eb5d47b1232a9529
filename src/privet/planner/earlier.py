"""A plan that was there before. Its channels were drawn in secret, and releases that were made by it go on by it alone:
another plan in its folder sets it aside, and never deletes it; the same plan once more goes on with its salt."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from privet import run
from privet.errors import Infeasible

PLAN, WRITTEN = "plan.json", ("edge.onnx", "plan.html")
EARLIER = "earlier"
SAME = ("source", "layer", "channels", "kept", "limits", "seed", "input_shape", "target", "read_as", "data", "edge")


def salt(out: Path, told: Mapping[str, Any]) -> str | None:
    """The salt of the plan in the folder where it is this one: the same extractor and people, drawn by the same seed
    for the same limits. None where it is another, or there is none that can be read."""
    with contextlib.suppress(OSError, ValueError, KeyError):
        known = run.unsealed(json.loads((out / PLAN).read_text(encoding="utf-8")))
        plain = json.loads(json.dumps(told))
        if all(known[name] == plain[name] for name in SAME):
            return str(known["salt"])
    return None


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
