"""Shuffles: labels dealt out anew to people, to see what gaps between groups arise where nothing depends on the group.

Whole persons change places, because the examples of one person share their luck. Where everybody has one label, persons
exchange labels; where a person's examples differ, persons with equally many examples exchange all of theirs.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Ints = npt.NDArray[np.int64]
Bools = npt.NDArray[np.bool_]

AT_ONCE = 1 << 20  # labels held at a time
ENOUGH = 0.5  # of the examples must be able to change their label, or shuffling says nothing


@dataclass(frozen=True)
class Exchange:
    """Who may change places with whom: index arrays [persons, labels of each] into `labels` [M]; `member` [N] says
    whose label an example carries; `movable` is the share of examples that may get another label."""

    labels: Ints
    blocks: tuple[Ints, ...]
    member: Ints
    movable: float

    @property
    def enough(self) -> bool:
        """Whether shuffling moves enough to say something."""
        return self.movable >= ENOUGH

    def draws(self, count: int, seed: int) -> Iterator[Ints]:
        """`count` shuffles of the labels in chunks [B, N]."""
        generator = np.random.default_rng(seed)
        step = max(1, AT_ONCE // max(1, len(self.member)))
        for start in range(0, count, step):
            rows = min(step, count - start)
            dealt = np.tile(self.labels, (rows, 1))
            for block in self.blocks:
                order = generator.permuted(np.tile(np.arange(len(block)), (rows, 1)), axis=1)
                dealt[:, block.ravel()] = self.labels[block[order]].reshape(rows, -1)
            yield dealt[:, self.member]


def exchange(labels: Ints, units: Ints, like: Ints | None = None) -> Exchange:
    """Exchange of labels [N] among persons, `units` [N]; given `like` [N], only among persons who agree in it (the
    target, say), so that what depends on it stays as it is."""
    same = np.zeros(len(labels), np.int64) if like is None else like
    names, member = np.unique(units, return_inverse=True)
    sizes = np.bincount(member)
    order = np.argsort(member, kind="stable")
    persons = np.split(order, np.cumsum(sizes)[:-1])
    own = labels[np.array([p[0] for p in persons])]
    if (own[member] == labels).all():
        keys = [_key(same[p]) for p in persons]
        blocks = [np.array(found, np.int64)[:, None] for found in _alike(keys)]
        moving = np.zeros(len(names), bool)
        for block in blocks:
            moving[block[:, 0]] = len(np.unique(own[block])) > 1
        return Exchange(own, tuple(blocks), member, float(moving[member].mean()))
    keys = [(len(p), *same[p].tolist()) for p in persons]
    blocks = [np.stack([persons[i] for i in found]) for found in _alike(keys)]
    free = np.zeros(len(labels), bool)
    for block in blocks:
        free[block.ravel()] = len(np.unique(labels[block], axis=0)) > 1
    return Exchange(labels, tuple(blocks), np.arange(len(labels)), float(free.mean()))


def _key(values: Ints) -> tuple[int, ...]:
    """What persons of one label must share: the values that occur among their examples."""
    return tuple(np.unique(values).tolist())


def _alike(keys: list[tuple[int, ...]]) -> list[list[int]]:
    """Positions of equal keys, together."""
    found: dict[tuple[int, ...], list[int]] = {}
    for position, key in enumerate(keys):
        found.setdefault(key, []).append(position)
    return list(found.values())
