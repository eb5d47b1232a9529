"""Fisher's criterion: how well one channel of a representation tells classes apart along its best direction.

    J_j = max_p (p^T S_b p) / (p^T A p) = lambda_max(M^T A^-1 M),      A = S_w + shrinkage (tr S_w / d) I
    S_b = sum_k N_k (mu_k - mu)(mu_k - mu)^T = M M^T,   S_w = sum_i v_i v_i^T - sum_k N_k mu_k mu_k^T

for the values v_i [d] of channel j of person i and classes k (Li et al. 2017, "PrivyNet", section 3.4, equation 6, and
appendix E, after Fisher 1936).

Deviations: S_w^-1 S_b is not symmetric and never formed; the same eigenvalue is that of a symmetric matrix [K, K].
S_w is shrunk, because with fewer people than values it has no inverse; J then depends on the shrinkage, and only ranks
under one shrinkage mean anything. A channel that is constant tells nothing (0), one whose classes are points tells
everything (inf). Few people tell many values apart by luck: `permutations` takes off the mean J of labels dealt anew.

Sums are in float64, and people may come in batches (`Moments`). Where there are more values than people the same J
comes from the Gram matrix of the people (`by_gram`), which wants them all at once; `criterion` takes the cheaper way.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

import torch
from sklearn.covariance import ledoit_wolf_shrinkage
from torch import Tensor
from torch.nn import functional as F

from privet.errors import DataError, SpecError

SHRINKAGE = 1e-3
Shrinkage = float | Literal["ledoit_wolf"]
BATCH = 512  # people whose values are summed together
ROOM = 4 * 2**20  # bytes of the copies in float64 that one step makes
SQUARES = 64 * 2**20  # bytes of the matrices [d, d] of channels that are summed together
CONSTANT = 1e-10  # share of the mean square below which a scatter is rounding


class Moments:
    """Sums over labelled people, around the mean of the first batch: how many there are of a class [R, K], the sum of
    each class [R, C, K, d], and of the outer products [C, d, d], for R labelings of the same people at once."""

    def __init__(self, classes: int) -> None:
        self.classes = classes
        self.origin = self.counts = self.sums = self.outer = torch.empty(0)

    def add(self, z: Tensor, y: Tensor) -> None:
        """More people: z [B, C, ...] and their labels [B], or [R, B] for R labelings. Who is labelled -1 is left out.
        DataError where a batch has other channels, values or labelings than the first."""
        labels = (y if y.dim() == 2 else y[None]).to(z.device)
        known = labels[0] >= 0
        v = values_of(z)
        if not bool(known.all()):
            v, labels = v[known], labels[:, known]
        if not len(v):
            return
        if not self.counts.numel():
            self._begin(v, len(labels))
        if v.shape[1:] != self.origin.shape or len(labels) != len(self.counts):
            raise DataError(
                f"a batch of {list(v.shape[1:])} channels and values under {len(labels)} labelings follows one of "
                f"{list(self.origin.shape)} under {len(self.counts)}; give batches of one network and one question"
            )
        member = F.one_hot(labels, self.classes).double().transpose(1, 2)  # [R, K, B]
        self.counts += member.sum(2)
        for some in _steps(v.shape[1], 8 * v.shape[0] * v.shape[2], ROOM):
            here = v[:, some].transpose(0, 1).to(torch.float64, copy=True).sub_(self.origin[some, None])  # [c, B, d]
            self.outer[some] = torch.baddbmm(self.outer[some], here.transpose(1, 2), here)
            self.sums[:, some] += member[:, None] @ here

    def criterion(self, shrinkage: float = SHRINKAGE) -> Tensor:
        """J [R, C] in float64. DataError where fewer than two classes were met."""
        _enough(self.counts)
        found = self.sums.new_zeros(self.sums.shape[:2])
        for r, (counts, sums) in enumerate(zip(self.counts, self.sums, strict=True)):
            met = counts > 0
            for some in _steps(len(self.outer), 8 * self.outer.shape[1] ** 2, SQUARES):
                means = sums[some][:, met] / counts[met, None]  # [c, K, d]
                weighted = means * counts[met, None].sqrt()
                within = torch.baddbmm(self.outer[some], weighted.transpose(1, 2), weighted, alpha=-1)
                middle = sums[some].sum(1, keepdim=True) / counts.sum()
                between = (weighted - middle * counts[met, None].sqrt()).transpose(1, 2)
                found[r, some] = _largest(within, between, self._scale(some), shrinkage)
        return found

    def _scale(self, some: slice) -> Tensor:
        """Sum of squares of the values as they came, [c]; to within what matters for rounding."""
        return _trace(self.outer[some]) + self.counts[0].sum() * self.origin[some].square().sum(1)

    def _begin(self, v: Tensor, labelings: int) -> None:
        _, channels, size = v.shape
        self.origin = v.double().mean(0)
        self.counts = self.origin.new_zeros(labelings, self.classes)
        self.sums = self.origin.new_zeros(labelings, channels, self.classes, size)
        self.outer = self.origin.new_zeros(channels, size, size)


def criterion(
    z: Tensor,
    y: Tensor,
    *,
    shrinkage: Shrinkage = SHRINKAGE,
    permutations: int = 0,
    generator: torch.Generator | None = None,
) -> Tensor:
    """J [C] in float64 of each channel of z [N, C, ...] for labels y [N] (int64, -1 unknown).

    shrinkage: at least 0, or `ledoit_wolf` for that of Ledoit and Wolf 2004, chosen for each channel. permutations: the
    labels are dealt out anew so many times, and the mean J that this gives is taken off. Raises DataError where fewer
    than two classes are met or a class has one person only (whose channel has no spread), SpecError for a shrinkage
    below 0 or one of 0 where S_w has no inverse."""
    if shrinkage != "ledoit_wolf" and not shrinkage >= 0:
        raise SpecError(f"shrinkage is at least 0, or ledoit_wolf; got {shrinkage!r}")
    known = y >= 0
    if not bool(known.all()):
        z, y = z[known], y[known]
    classes = int(y.max()) + 1 if len(y) else 0
    dealt = [y[torch.randperm(len(y), generator=generator).to(y.device)] for _ in range(permutations)]
    labels = torch.stack([y, *dealt])
    v = values_of(z)
    _enough(F.one_hot(labels, classes).sum(1) if classes else labels.new_zeros(1, 1))
    if shrinkage == "ledoit_wolf":
        found = torch.cat([_adapted(v[:, [j]], labels, classes) for j in range(v.shape[1])], 1)
    elif v.shape[2] > len(v):
        found = by_gram(v, labels, classes, shrinkage)
    else:
        found = _in_batches(v, labels, classes, shrinkage)
    return found[0] - found[1:].mean(0) if permutations else found[0]


def by_gram(z: Tensor, labels: Tensor, classes: int, shrinkage: float = SHRINKAGE) -> Tensor:
    """J [R, C] of z [N, C, ...] under labels [R, N], from the Gram matrix G = V V^T [N, N] of each channel:

        M^T A^-1 M = (B^T G B - (H G B)^T (c I + H G H)^-1 (H G B)) / c,      c = shrinkage tr S_w / d

    where V is centred, H takes off everybody the mean of its class, and M = V^T B. SpecError for a shrinkage of 0: S_w
    has no inverse then."""
    if not shrinkage > 0:
        raise SpecError("with more values than people S_w has no inverse; give a shrinkage above 0")
    v, member = values_of(z), F.one_hot(labels, classes).double()
    found = torch.zeros(len(labels), v.shape[1], dtype=torch.float64, device=v.device)
    unit = torch.eye(len(v), dtype=torch.float64, device=v.device)
    for j in range(v.shape[1]):
        own = v[:, j].double()
        scale = own.square().sum()
        own = own - own.mean(0)
        gram = own @ own.T
        for r, everybody in enumerate(member):
            whose = everybody[:, everybody.sum(0) > 0]
            mean = whose / whose.sum(0)  # [N, K]
            pull = (mean - 1 / len(v)) * whose.sum(0).sqrt()  # B
            centred = gram - whose @ (mean.T @ gram)  # H G
            within = centred - (centred @ mean) @ whose.T  # H G H
            seen, spread = centred @ pull, _trace(within)
            c = shrinkage * spread / v.shape[2]
            square = pull.T @ gram @ pull
            if _known(spread, _trace(square), scale, found[r], j):
                continue
            left = torch.cholesky_solve(seen, torch.linalg.cholesky(within + c * unit))
            found[r, j] = torch.linalg.eigvalsh((square - seen.T @ left) / c)[-1]
    return found


def values_of(z: Tensor) -> Tensor:
    """z [N, C, ...] as [N, C, d]; a unit [N, C] is a channel of one value."""
    return z.flatten(2) if z.dim() > 2 else z[:, :, None]


def _in_batches(v: Tensor, labels: Tensor, classes: int, shrinkage: float) -> Tensor:
    """J [R, C], some channels after others, so that the matrices [d, d] of few are in memory."""
    found = []
    for some in _steps(v.shape[1], 8 * v.shape[2] ** 2, SQUARES):
        moments = Moments(classes)
        for rows in _steps(len(v), 1, BATCH):
            moments.add(v[rows, some], labels[:, rows])
        found.append(moments.criterion(shrinkage))
    return torch.cat(found, 1)


def _adapted(v: Tensor, labels: Tensor, classes: int) -> Tensor:
    """J [R, 1] of one channel [N, 1, d], shrunk as far as Ledoit and Wolf advise for its class-centred values:
    (1 - a) S_w + a (tr S_w / d) I is (1 - a) (S_w + a / (1 - a) (tr S_w / d) I)."""
    found = []
    for one in labels:
        whose = F.one_hot(one, classes).double()
        own = v[:, 0].double()
        mean = (whose.T @ own) / whose.sum(0).clamp_min(1)[:, None]
        a = min(float(ledoit_wolf_shrinkage((own - mean[one]).cpu().numpy(), assume_centered=True)), 1 - 1e-6)
        a = max(a, 1e-9)
        straight = by_gram if v.shape[2] > len(v) else _in_batches
        found.append(straight(v, one[None], classes, a / (1 - a)) / (1 - a))
    return torch.cat(found)


def _largest(within: Tensor, between: Tensor, scale: Tensor, shrinkage: float) -> Tensor:
    """lambda_max(M^T A^-1 M) [c] of S_w [c, d, d] and M [c, d, K]."""
    size, spread, apart = within.shape[1], _trace(within), between.square().sum((1, 2))
    found = torch.zeros_like(spread)
    judged = torch.tensor([not _known(*one, found, j) for j, one in enumerate(zip(spread, apart, scale, strict=True))])
    if not bool(judged.any()):
        return found
    judged = judged.to(within.device)
    a = within[judged]
    a.diagonal(dim1=1, dim2=2).add_((shrinkage * spread[judged] / size)[:, None])
    lower, failed = torch.linalg.cholesky_ex(a)
    if bool(failed.any()):
        raise SpecError(
            f"S_w of {int((failed > 0).sum())} channels has no inverse: fewer people than values, or values that "
            f"follow from others; give a shrinkage above {shrinkage:g}"
        )
    q = torch.linalg.solve_triangular(lower, between[judged], upper=False)
    found[judged] = torch.linalg.eigvalsh(q.transpose(1, 2) @ q)[:, -1]
    return found


def _known(spread: Tensor, apart: Tensor, scale: Tensor, found: Tensor, j: int) -> bool:
    """Whether J needs no eigenvalue: 0 (already there) for a constant channel, inf where each class is a point."""
    if bool(spread > CONSTANT * scale):
        return False
    if bool(apart > CONSTANT * scale):
        found[j] = torch.inf
    return True


def _enough(counts: Tensor) -> None:
    """DataError unless two classes of labels [R, K] were met, and one of them twice."""
    if int((counts[0] > 0).sum()) < 2:
        raise DataError(
            f"Fisher's criterion compares classes, and {int((counts[0] > 0).sum())} of them were met; label people of "
            "two classes or more"
        )
    if int(counts[0].max()) < 2:
        raise DataError("every class has one person only, so nothing is known of how classes spread; give more people")


def _steps(count: int, each: int, room: int) -> Iterator[slice]:
    """Slices of so many at once that `each` bytes of every one fit into `room`."""
    step = max(1, room // each)
    return (slice(start, min(start + step, count)) for start in range(0, count, step))


def _trace(square: Tensor) -> Tensor:
    return square.diagonal(dim1=-2, dim2=-1).sum(-1)
