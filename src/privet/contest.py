"""A contest on raw z: both halves against adversaries for one or several attributes, which is all that adversarial
training and its maximum entropy form differ in by a sign and a weight."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor

from privet import joint
from privet.adversaries import Adversaries, Hide
from privet.data.corpus import Corpus
from privet.split import Split
from privet.train import Effort, Progress


@dataclass(frozen=True)
class Contest:
    """Both halves trained against adversaries, who they were, and the log."""

    split: Split
    adversaries: Adversaries
    hidden: tuple[str, ...]
    log: dict[str, Any]


def contest(
    split: Split, corpus: Corpus, attribute: str, gamma: float, *, count: int = 1, hide: Hide = "error",
    effort: Effort, seed: int, progress: Progress = None,
) -> Contest:  # fmt: skip
    """Train a copy of both halves and their adversaries on raw z, as `joint.play` does.

    Raises SpecError for an unknown attribute, DataError where labels are missing."""
    hidden = joint.hidden_attributes(corpus, attribute)
    split, device = split.copy(), joint.device_of(split)
    owner = joint.Owner.of(corpus, hidden, device)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        return split.edge(x), torch.zeros((), device=device)

    with joint.seeded(seed, device) as generator:
        classes = [corpus.n_classes(name) for name in hidden]
        adversaries = Adversaries(split, owner.train.s, classes, count=count, hide=hide)
        game = joint.Game(encode, split.server, (split.edge, split.server), adversaries, gamma)
        plan = joint.Plan(joint.adam(split.edge, split.server))
        log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
    return Contest(split, adversaries, hidden, log | {"attribute": "/".join(hidden), "prior_nats": adversaries.prior})
