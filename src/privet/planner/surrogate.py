"""The closed-form surrogate: how well a linear decoder draws the input, and a linear classifier names its class.

    minimize  sum_p |x_p - x_mean,p - W (z_p - z_mean,p)|^2 + lambda |W|^2

over the places p of a map z: what stands in a window of 3x3 places around p is read, and the u x u pixels under p are
drawn, with the same W everywhere (a flat representation is read and drawn as a whole). Seconds instead of the minutes
that a network takes, and no more than a rank: the planner uses it where its order was measured to agree with that of
networks, and never for a figure."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import torch
from torch import Tensor
from torch.nn import functional as F

from privet import metrics

WINDOW = 3
ROWS = 120_000  # places that are enough to fit a few hundred weights
AT_ONCE = 2**22  # numbers of a window matrix that are held at a time
RIDGES = (1e-4, 1e-3, 1e-2, 1e-1, 1.0)  # times the mean of the diagonal
POOLED = 4  # places by side that the classifier sees


@dataclass(frozen=True)
class Pairs:
    """Representations z [N, ...] with the inputs x [N, ...] in [0, 1] and labels y [N] they came from."""

    z: Tensor
    x: Tensor
    y: Tensor


def psnr(train: Pairs, val: Pairs, test: Pairs) -> float:
    """Mean PSNR in dB of the linear decoder on test; lambda is chosen on val."""
    return float(metrics.psnr(test.x.numpy(), decoder(train, val)(test.z).numpy(), data_range=1.0).mean())


def accuracy(train: Pairs, val: Pairs, test: Pairs) -> float:
    """Accuracy on test of the linear classifier."""
    return float(correct(train, val, test).double().mean())


def correct(train: Pairs, val: Pairs, test: Pairs) -> Tensor:
    """Who of test [N] is told right by ridge regression on one-hot labels, from maps pooled to 4x4 places; lambda is
    chosen on val."""
    seen = [_pooled(part.z) for part in (train, val, test)]
    mean, deviation = seen[0].mean(0), seen[0].std(0).clamp_min(1e-6)
    a, b, c = ((s - mean) / deviation for s in seen)
    hot = F.one_hot(train.y, int(train.y.max()) + 1).double()
    solve = _Ridge(a.T @ a, a.T @ (hot - hot.mean(0)))
    found = []
    for ridge in RIDGES:
        w = solve(ridge)
        found.append([((s @ w) + hot.mean(0)).argmax(1) == part.y for s, part in ((b, val), (c, test))])
    return max(found, key=lambda pair: float(pair[0].double().mean()))[1]


def decoder(train: Pairs, val: Pairs) -> Callable[[Tensor], Tensor]:
    """The linear decoder: representations [N, ...] to inputs [N, ...], not clipped."""
    blocks = _Blocks.of(train)
    gram = cross = torch.zeros(())
    for rows in blocks.batches(min(len(train.z), max(64, ROWS // blocks.places))):
        read, drawn = blocks.read(train.z[rows]), blocks.drawn(train.x[rows])
        gram, cross = gram + read.T @ read, cross + read.T @ drawn
    solve = _Ridge(gram, cross)
    drawn_by = [partial(blocks.drawings, w=solve(ridge)) for ridge in RIDGES]
    return min(drawn_by, key=lambda draw: float((draw(val.z).clamp(0, 1) - val.x).square().mean()))


@dataclass(frozen=True)
class _Blocks:
    """How places of a map are read and the pixels under them drawn, around the means of the training pictures."""

    z_mean: Tensor
    x_mean: Tensor
    size: int  # u
    grid: tuple[int, int]

    @classmethod
    def of(cls, train: Pairs) -> _Blocks:
        shape, picture = train.z.shape[1:], train.x.shape[1:]
        if len(shape) != 3 or len(picture) != 3 or min(shape[1:]) < 2:
            return cls(train.z.mean(0), train.x.mean(0), 0, (1, 1))
        u = max(1, round(min(picture[1] / shape[1], picture[2] / shape[2])))
        return cls(train.z.mean(0), train.x.mean(0), u, (shape[1], shape[2]))

    @property
    def places(self) -> int:
        return self.grid[0] * self.grid[1]

    def read(self, z: Tensor) -> Tensor:
        """[B * places, values]."""
        centred = (z.float() - self.z_mean.float()).double()
        if not self.size:
            return centred.flatten(1)
        return F.unfold(centred, WINDOW, padding=WINDOW // 2).transpose(1, 2).flatten(0, 1)

    def drawn(self, x: Tensor) -> Tensor:
        """[B * places, pixels]."""
        centred = (x - self.x_mean).double()
        if not self.size:
            return centred.flatten(1)
        wanted = (self.grid[0] * self.size, self.grid[1] * self.size)
        if centred.shape[2:] != wanted:
            centred = F.interpolate(centred, wanted, mode="bilinear", align_corners=False)
        return F.unfold(centred, self.size, stride=self.size).transpose(1, 2).flatten(0, 1)

    def picture(self, drawn: Tensor, count: int) -> Tensor:
        """What was drawn, as pictures."""
        shape = self.x_mean.shape
        if not self.size:
            return drawn.reshape(count, *shape) + self.x_mean
        wanted = (self.grid[0] * self.size, self.grid[1] * self.size)
        columns = drawn.reshape(count, self.places, -1).transpose(1, 2)
        whole = F.fold(columns, wanted, self.size, stride=self.size)
        if whole.shape[1:] != shape:
            whole = F.interpolate(whole, shape[1:], mode="bilinear", align_corners=False)
        return whole + self.x_mean

    def drawings(self, z: Tensor, w: Tensor) -> Tensor:
        """Everybody's picture, some at a time."""
        return torch.cat([self.picture(self.read(z[rows]) @ w, len(z[rows])).float() for rows in self.batches(len(z))])

    def batches(self, count: int) -> Iterator[slice]:
        width = self.z_mean.shape[0] * WINDOW**2 * self.places if self.size else self.z_mean.numel()
        step = max(1, AT_ONCE // width)
        return (slice(start, min(start + step, count)) for start in range(0, count, step))


class _Ridge:
    """W for each lambda from one factorization of the Gram matrix."""

    def __init__(self, gram: Tensor, cross: Tensor) -> None:
        self.values, self.vectors = torch.linalg.eigh(gram)
        self.turned = self.vectors.T @ cross
        self.scale = float(self.values.clamp_min(0).mean()) or 1.0

    def __call__(self, ridge: float) -> Tensor:
        found: Tensor = self.vectors @ (self.turned / (self.values.clamp_min(0) + ridge * self.scale)[:, None])
        return found


def _pooled(z: Tensor) -> Tensor:
    z = z.double()
    if z.dim() == 4 and min(z.shape[2:]) > POOLED:
        z = F.adaptive_avg_pool2d(z, POOLED)
    return z.flatten(1)
