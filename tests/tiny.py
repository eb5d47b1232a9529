"""The smallest corpus and splits that still exercise a defense: 6x6 pictures of two classes, a few hundred weights."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import torch
from torch import nn

from privet.data.corpus import Corpus, Part
from privet.split import Split
from privet.train import Effort

SHAPE = (1, 6, 6)
EFFORT = replace(Effort.named("quick"), name="tiny", task_epochs=1, tune_epochs=1, batch=16)


def part(start: int, n: int, generator: np.random.Generator) -> Part:
    """n pictures whose brighter half says the class, with a hidden attribute of three values."""
    y, s = generator.integers(0, 2, n), generator.integers(0, 3, n)
    x = generator.integers(0, 120, (n, *SHAPE))
    x[y == 1, :, :3] += 100
    x[:, :, 3:, :2] += 30 * s[:, None, None, None]
    ids = np.array([f"{i:016x}" for i in range(start, start + n)])
    return Part(ids, np.arange(start, start + n), x.astype(np.uint8), y.astype(np.int64), {"s": s.astype(np.int64)})


def corpus() -> Corpus:
    """Forty pictures to train on, eight in each other part."""
    generator = np.random.default_rng(0)
    roles = {"task_train": 40, "task_val": 8, "aux_train": 8, "aux_val": 8, "victim": 8}
    parts = {role: part(1000 * i, n, generator) for i, (role, n) in enumerate(roles.items())}
    classes = {"y": ("dark", "bright"), "s": ("a", "b", "c")}
    return Corpus("tiny", "image", "y", ("s",), (), classes, parts)


def seeded(module: nn.Module, seed: int = 0) -> nn.Module:
    """Fill a module's parameters from a generator of its own, and put it into eval mode."""
    generator = torch.Generator().manual_seed(seed)
    with torch.no_grad():
        for parameter in module.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / max(1, parameter[0].numel()) ** 0.5)
    return module.eval()


def conv_split(frozen: frozenset[str] = frozenset()) -> Split:
    """z [B, 4, 6, 6] between two convolutions."""
    edge = nn.Sequential(nn.Conv2d(1, 4, 3, padding=1), nn.BatchNorm2d(4), nn.ReLU())
    server = nn.Sequential(nn.Conv2d(4, 3, 3, stride=2), nn.ReLU(), nn.Flatten(), nn.Linear(12, 2))
    return Split(seeded(edge, 1), seeded(server, 2), "cut", (4, 6, 6), frozen=frozen)


def vector_split(frozen: frozenset[str] = frozenset()) -> Split:
    """z [B, 12] in front of a fully connected layer of rank 10."""
    edge = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh())
    server = nn.Sequential(nn.Linear(12, 10), nn.ReLU(), nn.Linear(10, 2))
    return Split(seeded(edge, 3), seeded(server, 4), "cut", (12,), frozen=frozen)


SPLITS = {"conv": conv_split, "vector": vector_split}


def pictures(n: int, seed: int = 0) -> torch.Tensor:
    """n pictures [n, 1, 6, 6] as float32 in [0, 1]."""
    return torch.rand(n, *SHAPE, generator=torch.Generator().manual_seed(seed))
