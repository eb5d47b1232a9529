"""A plan that was there before. Its channels were drawn in secret, and releases that were made by it go on by it alone:
another plan in its folder sets it aside, and never deletes it; the same extractor once more takes its salt over."""

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
SAME = ("edge", "data", "target", "input_shape", "read_as")  # what a release is made from


def salt(out: Path, told: Mapping[str, Any]) -> str | None:
    """The salt of the plan in the folder, or of one that was set aside there, that has the same extractor
    and people: what was released by it goes on by this one. None where there is none that can be read."""
    plain = json.loads(json.dumps(told))
    for path in (out / PLAN, *sorted((out / EARLIER).glob(f"*/{PLAN}"))):
        known = _read(path)
        if all(name in known and known[name] == plain[name] for name in SAME):
            return str(known["salt"])
    return None


def stands(out: Path, told: Mapping[str, Any]) -> bool:
    """Whether the plan in the folder says this already, but for measured milliseconds: they are never the same
    twice."""
    known, plain = _read(out / PLAN), json.loads(json.dumps(told))
    return bool(known.get("limits") == plain["limits"] and _untimed(known) == _untimed(plain))


def _read(path: Path) -> dict[str, Any]:
    """A plan that was written; nothing where it is not there, or damaged."""
    with contextlib.suppress(OSError, ValueError):
        return run.unsealed(json.loads(path.read_text(encoding="utf-8")))
    return {}


def _untimed(value: Any) -> Any:
    if isinstance(value, dict):
        return {k: _untimed(v) for k, v in value.items() if k != "ms"}
    return [_untimed(v) for v in value] if isinstance(value, list) else value


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
