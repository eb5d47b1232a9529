"""Adversarial training: the network answers its question while a co-trained adversary fails at a named attribute
(Feutry et al. 2018, "Learning anonymized representations with adversarial neural networks", arXiv:1802.09386; as
Equation 3 of Samragh et al. 2021, arXiv:2104.11413, writes it).

    min_{f, h} max_a   CE(h(z), y) - gamma * CE(a(z), s),   z = f(x);   payload = z

The adversary is the server's architecture with another head. It learns alone for 5 epochs; then, on every batch, it
takes five steps and the network one. Rows whose hidden label is missing teach the target only.

Deviations: CE(a, s) counts up to the entropy of s, so that confusing the adversary beyond chance earns nothing and the
objective has a minimum. The network given is trained already and goes on from there, for the effort's epochs. The
adversary's rate is not lowered with the network's. The epoch kept is the one with the lowest objective on task_val
among those at the lowest rate, where adversaries with fresh weights stand for the trained one.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from privet import joint
from privet.contest import contest
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.none import RawObfuscator
from privet.split import Split
from privet.train import Effort


@dataclass(frozen=True)
class Adversarial:
    """Train against one adversary for `attribute` (the first hidden one where empty), with weight `gamma`."""

    trains_edge: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    summary: ClassVar[str] = "both halves are trained against an adversary for one named attribute"
    adaptive: ClassVar[str] = (
        "the network learned to fool one adversary of one architecture, and hides one attribute: fresh attackers of "
        "every family train on the final representation, and every other hidden attribute is attacked as well"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "informed_probe", "finetuned_probe")
    gamma: float = 0.5
    attribute: str = ""

    def __post_init__(self) -> None:
        joint.check_weight("gamma", self.gamma, "the adversary's failure")

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained, and an edge that has nothing to train."""
        joint.check_both_learn(split, "adversarial")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves and the adversary on task_train.

        Raises SpecError for an unknown attribute or a frozen half, CutError for halves that cannot be trained,
        DataError where the labels are missing."""
        self.check(split)
        done = contest(split, corpus, self.attribute, self.gamma, effort=effort, seed=seed, progress=progress)
        why = "one adversary was fooled during training; what a fresh one learns is measured by attack"
        found = Defended.of(done.split, RawObfuscator(split.shape), why, **done.log)
        return replace(found, cotrained=done.adversaries.first(done.hidden))
