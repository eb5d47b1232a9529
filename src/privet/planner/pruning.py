"""Which channels a plan releases and which inner filters it keeps: pruned by Fisher's criterion and by what single
channels leak, the rest drawn by a seed that only the client has (Li et al. 2017, "PrivyNet", sections 3.4 and 4)."""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass, replace

import numpy as np
import torch

from privet.data.corpus import Corpus, Part
from privet.errors import DataError
from privet.payload import Array
from privet.planner import fisher, surrogate
from privet.planner.grid import Grid
from privet.planner.measuring import Public, pairs
from privet.pretrained.pool import Source
from privet.setting import Report
from privet.train import some

WORST, LEAKING = 1 / 2, 1 / 4  # shares of the channels that are pruned: 64 and 32 of the paper's 128
PRIVATE = 6400  # people for Fisher's criterion, as in the paper
ENOUGH, FEW_PEOPLE = 10, 0.1  # people for a value, and the shrinkage where there are fewer
BATCH = 128  # people of a mini-batch of Fisher's criterion, as in the paper
POOLED = 8  # places by side that Fisher's criterion sees


@dataclass(frozen=True)
class Selection:
    """The channels of a layer in the order in which they would be released, `order`, and every channel's scores: the
    worth by Fisher's criterion and the dB that it leaks alone. What is left after pruning comes first, in random order,
    and behind it what is left where less is pruned."""

    order: tuple[int, ...]
    worth: torch.Tensor
    leaks: torch.Tensor

    @classmethod
    def of(cls, worth: torch.Tensor, leaks: torch.Tensor, seed: int) -> Selection:
        """Of scores [C] and the client's seed."""
        return cls(tuple(ordered(worth, leaks, seed)), worth, leaks)

    def channels(self, depth: int) -> tuple[int, ...]:
        """The `depth` channels that are released, ascending: fewer are always some of more."""
        return tuple(sorted(self.order[:depth]))

    def pruned(self, depth: int) -> dict[str, int]:
        """How many each rule pruned before so many were taken."""
        return survivors(self.worth, self.leaks, depth)[1]

    @property
    def alive(self) -> int:
        """How many channels are not the same for everybody."""
        return int((self.worth > 0).sum())

    @property
    def scores(self) -> dict[str, list[float]]:
        return {"fisher": self.worth.tolist(), "psnr": self.leaks.tolist()}


def judged(
    head: torch.nn.Module, corpus: Corpus, grid: Grid, device: str, report: Report = None
) -> tuple[torch.Tensor, torch.Tensor]:
    """What each channel of an extractor is worth to the private task, and what it leaks alone: [C] each."""
    head = head.to(device)
    if report:
        report("Fisher's criterion on the private people", 0, 2)
    worth = criterion(head, corpus.task_train, device)
    if report:
        report("what single channels leak, on public people", 1, 2)
    leaks = single_channels(head, Public.of(corpus, min(grid.pictures or 1000, 600)), device)
    return worth, leaks


def ordered(worth: torch.Tensor, leaks: torch.Tensor, seed: int) -> list[int]:
    """All channels, survivors of full pruning first: each ring of them in an order that the seed draws."""
    generator = np.random.default_rng([seed, 7])
    made: list[int] = []
    while len(made) < len(worth):
        keep, _ = survivors(worth, leaks, len(made) + 1)
        made += generator.permutation([c for c in keep.tolist() if c not in made]).tolist()
    return made


def met(head: torch.nn.Module, private: Part, device: str = "cpu") -> Iterator[fisher.Moments]:
    """The moments of people's maps, pooled to 8x8 places, after each mini-batch of 128: one object that grows."""
    moments = fisher.Moments(int(private.y.max()) + 1)
    for start in range(0, len(private), BATCH):
        part = private.take(np.arange(start, min(start + BATCH, len(private))))
        z = pairs(head, part, device).z
        if z.dim() == 4 and min(z.shape[2:]) > POOLED:
            z = torch.nn.functional.adaptive_avg_pool2d(z, POOLED)
        moments.add(z, torch.from_numpy(part.y))
        yield moments


@torch.no_grad()
def criterion(head: torch.nn.Module, private: Part, device: str = "cpu") -> torch.Tensor:
    """J of every channel [C] on the private people (6,400 at most), from maps pooled to 8x8 places; shrunk more where
    there are fewer than ten people for a value, whose ranks are luck otherwise."""
    labelled = np.flatnonzero(private.y >= 0)
    if not len(labelled):
        raise DataError("nobody among the private people carries the target; label some")
    rows = some(labelled, PRIVATE, 0)
    *_, moments = met(head, private.take(rows), device)
    return moments.criterion(fisher.SHRINKAGE if len(rows) >= ENOUGH * moments.outer.shape[1] else FEW_PEOPLE)[0]


def single_channels(head: torch.nn.Module, public: Public, device: str = "cpu") -> torch.Tensor:
    """What each channel alone leaks [C], in dB: the PSNR of the linear surrogate on public people."""
    parts = [pairs(head, part, device) for part in public.parts]
    found = []
    for channel in range(parts[0].z.shape[1]):
        found.append(surrogate.psnr(*(replace(part, z=part.z[:, [channel]]) for part in parts)))
    return torch.tensor(found, dtype=torch.float64)


def survivors(worth: torch.Tensor, leaks: torch.Tensor, depth: int) -> tuple[Array, dict[str, int]]:
    """Channels without the half that is worth least and the quarter that leaks most; where fewer than `depth` would be
    left, fewer are pruned, in proportion. Channels that are constant are always pruned, as far as depth allows.

    Returns their numbers, ascending, and how many each rule pruned."""
    count = len(worth)
    dead = {int(c) for c in torch.nonzero(worth <= 0).flatten()}
    by_worth = worth.argsort(stable=True).tolist()
    by_leak = leaks.argsort(descending=True, stable=True).tolist()
    share = 1.0
    while True:
        useless = set(by_worth[: math.floor(share * WORST * count)])
        leaking = set(by_leak[: math.floor(share * LEAKING * count)])
        keep = sorted(set(range(count)) - useless - leaking - dead)
        if len(keep) >= depth:
            return np.array(keep), {"useless": len(useless), "leaking": len(leaking), "dead": len(dead)}
        if share <= 0:
            break
        share = max(0.0, share - 1 / 32)
    alive = [c for c in reversed(by_worth) if c not in dead] + sorted(dead)
    return np.array(sorted(alive[:depth])), {"useless": 0, "leaking": 0, "dead": max(0, count - depth)}


def narrowed(source: Source, m: int, inner: float, seed: int) -> dict[int, list[int]]:
    """For every inner layer the filters that are kept: a random share of them (section 4 of the paper)."""
    if inner >= 1:
        return {}
    made = {}
    for number, filters in source.chain.inner(m).items():
        generator = np.random.default_rng([seed, 11, number])
        made[number] = sorted(int(f) for f in generator.choice(filters, max(1, round(inner * filters)), replace=False))
    return made
