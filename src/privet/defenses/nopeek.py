"""NoPeek: representations whose distances say little of the distances between inputs (Vepakomma et al. 2020, "NoPeek:
Information leakage reduction to share activations in distributed deep learning", arXiv:2008.09161).

    minimize  CE(h(z), y) + alpha * dCor(x, z),   z = f(x);   payload = z
    dCor(x, z) = sqrt(dCov^2(x, z) / sqrt(dCov^2(x, x) dCov^2(z, z))),   dCov^2(u, v) = mean(A o B)
    A = D - row means - column means + mean of D,   D_ij = ||u_i - u_j||,   B the same for v

No adversary plays, and no hidden label is read: what is priced is dependence on the pixels (Szekely et al. 2007).

Deviations: the paper weighs both terms, and only their ratio matters. D holds distances; with their squares, as in
released code, dCor is the RV coefficient, which sees linear dependence alone. The estimate on a batch is biased upwards
(independent batches do not reach 0, and two rows are always at 1), so the last batch of an epoch, where it has fewer
than 64 rows, is not priced. Rows without a target are left out. The network given is trained already and goes on from
there. The epoch kept is the one with the lowest objective on task_val among those at the lowest rate.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor

from privet import joint
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.none import RawObfuscator
from privet.split import Split
from privet.train import Effort

LEAST = 64  # rows that a batch has to have where batches of that size can be had
STEADY = 1e-12


@dataclass(frozen=True)
class NoPeek:
    """Price the distance correlation between input and representation with `alpha`."""

    trains_edge: ClassVar[bool] = True
    trains: ClassVar[bool] = True
    summary: ClassVar[str] = "both halves are trained so that distances between representations say little of the input"
    adaptive: ClassVar[str] = (
        "one number over a batch falls long before the information does: a direction of little energy may still carry "
        "the picture. Fresh decoders and probes of every family train on the final representation, columns standardized"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "informed_probe", "decoder")
    alpha: float = 1.0

    def __post_init__(self) -> None:
        joint.check_weight("alpha", self.alpha, "the distance correlation")

    def check(self, split: Split) -> None:
        """Refuse halves that cannot be trained, and an edge that has nothing to train."""
        joint.check_both_learn(split, "nopeek")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train both halves on task_train.

        Raises SpecError for a frozen half, CutError for halves that cannot be trained, DataError where labels are
        missing."""
        self.check(split)
        split, device = split.copy(), joint.device_of(split)
        owner = joint.Owner.of(corpus, (), device)
        least = min(LEAST, effort.batch, len(owner.train))
        before = _measured(split, owner.val)

        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            z = split.edge(x)
            short = split.edge.training and len(x) < least
            return z, z.new_zeros(()) if short else self.alpha * distance_correlation(x, z)

        with joint.seeded(seed, device) as generator:
            game = joint.Game(encode, split.server, (split.edge, split.server))
            plan = joint.Plan(joint.adam(split.edge, split.server))
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        why = "a small correlation of distances bounds nothing; what leaks is measured by attack"
        log |= {"task_val_dcor_before": before, "task_val_dcor": _measured(split, owner.val)}
        return Defended.of(split, RawObfuscator(split.shape), why, **log)


def distance_correlation(x: Tensor, z: Tensor) -> Tensor:
    """dCor of two batches [B, ...], in [0, 1], with a gradient for both; 0 where one of them does not vary."""
    a, b = _centered(distances(x)), _centered(distances(z))
    scale = ((a * a).mean() * (b * b).mean()).clamp_min(STEADY**2).sqrt()
    return ((a * b).mean() / scale).clamp_min(STEADY).sqrt()


def distances(rows: Tensor) -> Tensor:
    """Euclidean distances [B, B] between rows [B, ...]; where two are equal, theirs is 0 and has no gradient.

    Through products, since a difference for each pair would take B times the memory; the mean is taken off first,
    because products of large numbers cannot tell near rows apart."""
    flat = rows.flatten(1)
    flat = flat - flat.mean(0)
    products = flat @ flat.T
    own = products.diagonal()
    squares = own[:, None] + own[None] - 2 * products
    equal = squares <= STEADY
    return squares.masked_fill(equal, 1.0).sqrt().masked_fill(equal, 0.0)


def _centered(d: Tensor) -> Tensor:
    return d - d.mean(0, keepdim=True) - d.mean(1, keepdim=True) + d.mean()


@torch.no_grad()
def _measured(split: Split, val: joint.Examples) -> float | None:
    """dCor of x and z on the first rows of task_val, in eval mode; None where there are fewer than two."""
    if len(val) < 2:
        return None
    x = val.batch(slice(0, joint.VAL_BATCH)).x
    return float(distance_correlation(x, split.edge.eval()(x)))
