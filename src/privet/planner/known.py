"""What an extractor lets through to whoever knows it: the attacks of the audits that need the edge, which begin where
the decoders have come to that do not, on the same of the owner's held-out people. An extractor that can be identified
is attacked as known."""

from __future__ import annotations

from dataclasses import dataclass, replace

import numpy as np
import torch

from privet import workers
from privet.auditing import audit, pictures, wire
from privet.auditing.audit import Drawn, Evidence
from privet.auditing.estimate import Estimate, estimate, weights
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.payload import Array
from privet.planner import device as devices
from privet.planner.verifying import Begun
from privet.setting import Report
from privet.train import Effort, inputs, one_thread, some

AWARE = ("gaussian_map", "inversion", "least_squares")
TOGETHER = (("inversion",), ("gaussian_map", "least_squares"))  # by one process each
PUBLIC = 600


@dataclass(frozen=True)
class Known:
    """PSNR in dB of what is drawn of the same people by the best attack of one who knows the extractor (`by`), who may
    still do what others do, and by the best of those who do not; chosen on public people. `gain` is the difference,
    picture by picture."""

    by: str
    aware: Estimate
    unaware: Estimate
    gain: Estimate


@dataclass(frozen=True)
class Asked:
    """Some attacks on what an extractor makes of people, of whom the victims are asked about, and where they begin."""

    head: torch.nn.Module
    people: Corpus
    begun: Begun
    names: tuple[str, ...]
    effort: str
    seed: int


def attacked(asked: Asked) -> Evidence:
    """What those attacks find."""
    threat, people, begun = Threat.named("server"), asked.people, asked.begun
    attacks, _ = portfolio(threat, asked.names, asked.effort)
    with one_thread():
        observed = wire.observe(devices.shipped(asked.head, people.shape), people, threat, asked.seed)
        opened = Drawn(begun.by, pictures.scores(begun.val, inputs(begun.held.x)), begun.val, begun.drawn)
        return audit.attack(
            observed, people, threat, attacks, effort=Effort.named(asked.effort), seed=asked.seed, begun=opened
        )


def known(
    head: torch.nn.Module, corpus: Corpus, begun: Begun, *, effort: str = "quick", seed: int, jobs: int = 1,
    report: Report = None,
) -> Known:  # fmt: skip
    """Attack an extractor as its owner would who does not trust that it stays unknown; by so many processes at a time
    (0: one a core), with the same results."""
    public = corpus.aux_train.take(some(np.arange(len(corpus.aux_train)), PUBLIC, 0))
    parts = corpus.parts | {"aux_train": public, "aux_val": begun.held, "victim": begun.asked}
    parts["task_val"] = corpus.parts["victim"]  # only their places are taken: nobody looks at them here
    people = replace(corpus, parts=parts, digest="")
    if report:
        report("attacking as one who knows the network", 0, 1)
    held, unaware = (
        pictures.scores(x_hat, inputs(part.x))["psnr"]
        for part, x_hat in ((begun.held, begun.val), (begun.asked, begun.drawn))
    )
    scores, values = {begun.by: float(held.mean())}, {begun.by: unaware}
    asked = [Asked(head, people, begun, names, effort, seed) for names in TOGETHER]
    for found in workers.each(jobs, attacked, asked):
        for name, own in found.selection["input"].items():
            scores[name] = own["psnr"]
            values[name] = np.asarray(found.arrays[f"score/input/{name}/psnr"], np.float64)
    best = max(scores, key=scores.__getitem__)
    both = np.isfinite(values[best])
    groups = begun.asked.groups[both]
    drawn = weights(groups, 400, seed=0)

    def told(psnr: Array) -> Estimate:
        return estimate([drawn @ psnr[both] / drawn.sum(1)], len(groups), None, len(np.unique(groups)))

    return Known(best, told(values[best]), told(unaware), told(values[best] - unaware))
