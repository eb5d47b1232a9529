"""What an extractor lets through to whoever knows it: the attacks of the audits that need the edge, beside those that
do not, on the same of the owner's held-out people. An extractor that can be identified is attacked as known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from privet import workers
from privet.auditing import audit, wire
from privet.auditing.audit import Evidence
from privet.auditing.estimate import Estimate, estimate, weights
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.payload import Array
from privet.planner import device as devices
from privet.setting import Report
from privet.train import Effort, one_thread, some

UNAWARE = ("decoder", "irn")
AWARE = ("gaussian_map", "inversion", "least_squares")
TOGETHER = (("decoder", *AWARE), ("irn",))  # searches begin where the decoder has come to; each takes about as long
PUBLIC, ASKED = 600, 16


@dataclass(frozen=True)
class Known:
    """PSNR in dB of what is drawn of the same people by the best attack that knows the extractor (`by`), and by the
    best that does not; both chosen on aux_val."""

    by: str
    aware: Estimate
    unaware: Estimate


@dataclass(frozen=True)
class Asked:
    """Some attacks on what an extractor makes of people, of whom the victims are asked about."""

    head: torch.nn.Module
    people: Corpus
    names: tuple[str, ...]
    effort: str
    seed: int


def attacked(asked: Asked) -> Evidence:
    """What those attacks find."""
    threat = Threat.named("server")
    attacks, _ = portfolio(threat, asked.names, asked.effort)
    with one_thread():
        observed = wire.observe(devices.shipped(asked.head, asked.people.shape), asked.people, threat, asked.seed)
        return audit.attack(
            observed, asked.people, threat, attacks, effort=Effort.named(asked.effort), seed=asked.seed
        )  # fmt: skip


def known(
    head: torch.nn.Module, corpus: Corpus, *, effort: str = "quick", seed: int, jobs: int = 1, report: Report = None
) -> Known:
    """Attack an extractor as its owner would who does not trust that it stays unknown; by so many processes at a time
    (0: one a core), with the same results."""
    sizes = {"aux_train": PUBLIC, "aux_val": PUBLIC // 3, "task_val": ASKED}
    few = {role: corpus.parts[role].take(some(np.arange(len(corpus.parts[role])), n, 0)) for role, n in sizes.items()}
    parts = corpus.parts | {"aux_train": few["aux_train"], "aux_val": few["aux_val"], "victim": few["task_val"]}
    parts["task_val"] = corpus.parts["victim"]  # only their places are taken: nobody looks at them here
    people = replace(corpus, parts=parts, digest="")
    if report:
        report("attacking as one who knows the network", 0, 1)
    scores: dict[str, float] = {}
    arrays: dict[str, Array] = {}
    asked = [Asked(head, people, names, effort, seed) for names in TOGETHER]
    for found in workers.each(jobs, attacked, asked):
        scores |= {name: s["psnr"] for name, s in found.selection["input"].items()}
        arrays |= found.arrays
    best = {kind: max((n for n in names if n in scores), key=scores.__getitem__) for kind, names in
            (("aware", AWARE), ("unaware", UNAWARE))}  # fmt: skip
    values = {kind: np.asarray(arrays[f"score/input/{name}/psnr"], np.float64) for kind, name in best.items()}
    both = np.isfinite(values["aware"]) & np.isfinite(values["unaware"])
    groups = people.victim.groups[both]
    drawn = weights(groups, 400, seed=0)

    def told(kind: str) -> Estimate:
        of_them = drawn @ values[kind][both] / drawn.sum(1)
        return estimate([of_them], len(groups), None, len(np.unique(groups)))

    return Known(best["aware"], told("aware"), told("unaware"))
