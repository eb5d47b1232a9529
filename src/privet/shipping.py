"""Fit one defended split and ship it: the way from a corpus to a bundle on disk."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from privet import defense as defenses
from privet import trained
from privet.errors import SpecError
from privet.recorded.shipped import owners
from privet.run import name_of
from privet.runtime import bundle
from privet.schedule import Source, with_defaults
from privet.setting import Report, Setting
from privet.train import Effort, accuracy, one_thread


def fit(
    source: Source,
    defense: str,
    *,
    model: str = "",
    at: str = "",
    weights: Path | None = None,
    freeze: str | None = None,
    effort: str = "standard",
    seed: int = 0,
    device: str = "cpu",
    out: Path,
    report: Report = None,
) -> dict[str, Any]:
    """Train the task, fit the defense, and write the bundle; returns its manifest with the payload's size.

    The bundle holds the halves, the obfuscator and class names, and no example. Raises the errors of `privet.errors`:
    SpecError for a seed outside 0 .. 2**63 - 1 and RunError for a folder that cannot be written, before any training.
    """
    if not 0 <= seed < 2**63:
        raise SpecError(f"the seed is {seed}; give a whole number from 0 to 2**63 - 1")
    bundle.check_target(out)
    chosen = defenses.parse(defense)
    corpus = source.load()
    setting = Setting(
        model, at, effort=effort, weights=None if weights is None else str(weights), freeze=freeze, device=device
    )
    setting.check()
    setting = with_defaults(setting, corpus)
    stage = None if report is None else lambda done, total: report(f"fitting {defense}", done, total)
    with one_thread():
        network = trained.task_model(setting, corpus, seed, None, report)
        halves = trained.cut(network, setting, corpus)
        defended = chosen.fit(halves, corpus, effort=Effort.named(effort), seed=seed, progress=stage)
        meta = {
            "model": setting.model,
            "input_shape": list(corpus.shape),
            "input_kind": corpus.kind,
            "classes": list(corpus.classes[corpus.target]),
            "defense": defenses.spell(chosen),
            "target": corpus.target,
            "seed": seed,
            "data": name_of({"digest": corpus.digest}, {}),
            "fitted_on": owners(corpus),
            "undefended_task_val_accuracy": accuracy(network, corpus.task_val, device),
        }
        written = bundle.write(defended, out, meta=meta)
    return dict(bundle.open(written).manifest) | {"payload_bytes": defended.payload_bytes}
