"""What an extractor lets through to whoever knows it: the attacks of the audits that need the edge, beside those that
do not, on the same of the owner's held-out people. An extractor that can be identified is attacked as known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from privet.auditing import audit, wire
from privet.auditing.estimate import Estimate, estimate, weights
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.planner import device as devices
from privet.setting import Report
from privet.train import Effort, some

UNAWARE = ("decoder", "irn")
AWARE = ("gaussian_map", "inversion", "least_squares")
PUBLIC, ASKED = 600, 16


@dataclass(frozen=True)
class Known:
    """PSNR in dB of what is drawn of the same people by the best attack that knows the extractor (`by`), and by the
    best that does not; both chosen on aux_val."""

    by: str
    aware: Estimate
    unaware: Estimate


def known(head: torch.nn.Module, corpus: Corpus, *, effort: str = "quick", seed: int, report: Report = None) -> Known:
    """Attack an extractor as its owner would who does not trust that it stays unknown."""
    sizes = {"aux_train": PUBLIC, "aux_val": PUBLIC // 3, "task_val": ASKED}
    few = {role: corpus.parts[role].take(some(np.arange(len(corpus.parts[role])), n, 0)) for role, n in sizes.items()}
    parts = corpus.parts | {"aux_train": few["aux_train"], "aux_val": few["aux_val"], "victim": few["task_val"]}
    parts["task_val"] = corpus.parts["victim"]  # only their places are taken: nobody looks at them here
    people = replace(corpus, parts=parts, digest="")
    threat = Threat.named("server")
    attacks, _ = portfolio(threat, (*UNAWARE, *AWARE), effort)
    observed = wire.observe(devices.shipped(head, corpus.shape), people, threat, seed)
    found = audit.attack(observed, people, threat, attacks, effort=Effort.named(effort), seed=seed, report=report)
    scores = {name: s["psnr"] for name, s in found.selection["input"].items()}
    best = {kind: max((n for n in names if n in scores), key=scores.__getitem__) for kind, names in
            (("aware", AWARE), ("unaware", UNAWARE))}  # fmt: skip
    values = {kind: np.asarray(found.arrays[f"score/input/{name}/psnr"], np.float64) for kind, name in best.items()}
    asked = np.isfinite(values["aware"]) & np.isfinite(values["unaware"])
    groups = people.victim.groups[asked]
    drawn = weights(groups, 400, seed=0)

    def told(kind: str) -> Estimate:
        of_them = drawn @ values[kind][asked] / drawn.sum(1)
        return estimate([of_them], len(groups), None, len(np.unique(groups)))

    return Known(best["aware"], told("aware"), told("unaware"))
