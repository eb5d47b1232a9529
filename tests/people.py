"""A crowd to learn from, and strangers in every part that is not the owner's."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from privet.data.corpus import Corpus, Part
from tiny import corpus, part


def crowd() -> Corpus:
    """The tiny corpus with people enough to learn from, whose lower half tells s."""
    generator = np.random.default_rng(1)
    sizes = {"task_train": 320, "task_val": 64, "aux_train": 200, "aux_val": 8, "victim": 200}
    parts = {role: part(1000 * i, n, generator) for i, (role, n) in enumerate(sizes.items())}
    for one in parts.values():
        one.x[:, :, 3:] = one.x[:, :, 3:] // 2 + 15 * one.s["s"][:, None, None, None].astype(np.uint8)
    return replace(corpus(), parts=parts, digest="")


def strangers(data: Corpus) -> Corpus:
    """The same task parts beside pictures of noise with labels at random: nothing learned may depend on them."""
    generator = np.random.default_rng(5)

    def other(known: Part) -> Part:
        x = generator.integers(0, 256, known.x.shape).astype(known.x.dtype)
        s = {name: generator.integers(0, len(data.classes[name]), len(known)) for name in known.s}
        return Part(known.ids, known.groups, x, generator.integers(0, len(data.classes[data.target]), len(known)), s)

    parts = {role: one if role.startswith("task") else other(one) for role, one in data.parts.items()}
    return replace(data, parts=parts, digest="")
