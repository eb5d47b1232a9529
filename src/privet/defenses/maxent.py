"""MaxEnt-ARL: the network answers its question while a co-trained adversary is left with every value of a named
attribute equally likely (Roy and Boddeti 2019, "Mitigating information leakage in image representations: a maximum
entropy approach", arXiv:1904.05514).

    a minimizes  CE(a(z), s),   (f, h) minimize  CE(h(z), y) - alpha * H(softmax a(z)),   z = f(x);   payload = z

Two objectives rather than one with two signs: an adversary that is confidently wrong would win the network the first
kind of game and lose it this one, since the next adversary undoes it. H is in nats and at most log S, for an attribute
of S values, so the objective has a minimum. The network reads no hidden label; the adversary's do the work.

Deviations: the paper trains one adversary; `adversaries` takes up to three architectures for every attribute, the first
of which is the server's with another head. It learns alone for 5 epochs; then, on every batch, it takes five steps and
the network one. Where the values of s are not equally frequent, the target of equal shares is further than hiding s
asks for (`disco:hide=prior` has the other). The network given is trained already and goes on from there. The epoch kept
is the one with the lowest objective on task_val among those at the lowest rate; there the cross-entropy of adversaries
with fresh weights, up to H(s), stands for the entropy.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

from privet import joint
from privet.adversaries import LARGEST
from privet.contest import contest
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.none import RawObfuscator
from privet.errors import SpecError
from privet.split import Split
from privet.train import Effort


@dataclass(frozen=True)
class MaxEnt:
    """Raise the entropy of what an adversary answers about `attribute` (the first hidden one where empty; `race/age`
    for several), with weight `alpha`."""

    trains_edge: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    summary: ClassVar[str] = "both halves are trained so that an adversary for a named attribute is left undecided"
    adaptive: ClassVar[str] = (
        "an undecided adversary need not be an uninformed one: the network may leave it a margin too small to speak "
        "of and the order intact. Fresh attackers of every family train on the final representation, columns "
        "standardized, and every other hidden attribute is attacked as well"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("informed_probe", "mlp_probe", "server_probe")
    alpha: float = 1.0
    attribute: str = ""
    adversaries: int = 1

    def __post_init__(self) -> None:
        joint.check_weight("alpha", self.alpha, "the entropy of the adversary's answer")
        if isinstance(self.adversaries, bool) or not 1 <= self.adversaries <= LARGEST:
            raise SpecError(
                f"adversaries is how many are trained for each attribute: 1 to {LARGEST}, got {self.adversaries}"
            )

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained, and an edge that has nothing to train."""
        joint.check_both_learn(split, "maxent")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves and the adversaries on task_train.

        Raises SpecError for an unknown attribute or a frozen half, CutError for halves that cannot be trained,
        DataError where the labels are missing."""
        self.check(split)
        done = contest(
            split, corpus, self.attribute, self.alpha, count=self.adversaries, hide="entropy", effort=effort, seed=seed,
            progress=progress,
        )  # fmt: skip
        why = "an adversary was left undecided during training; what a fresh one learns is measured by attack"
        found = Defended.of(done.split, RawObfuscator(split.shape), why, **done.log)
        return replace(found, cotrained=done.adversaries.first(done.hidden))
