"""A judge of rebuilt pictures: one small network that reads every hidden attribute and the target off a picture, after
the evaluation by attribute networks of Dosovitskiy and Brox (2016, CVPR).

    minimize  sum over attributes of  CE(head(e(x)), s)     over aux_train, chosen on aux_val

Deviations: half of the pictures that the judge learns from are blurred, because rebuilt ones are, and whoever has seen
only sharp ones takes blur for a value. It learns from all of aux, whatever the threat: it measures, and attacks nobody.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Mapping
from itertools import pairwise

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus, Part
from privet.payload import Array
from privet.train import Effort, Progress, batches, channels_last, inputs

SIDE = 64  # pixels: larger pictures are looked at smaller


class Judge(nn.Module):
    """Pictures [B, C, H, W] in [0, 1] -> logits of each attribute [B, K]."""

    def __init__(self, shape: tuple[int, ...], classes: Mapping[str, int]) -> None:
        super().__init__()
        stride = 2 if min(shape[1:]) > 32 else 1
        widths = (shape[0], 24, 48, 96, 128)
        self.stages = nn.ModuleList(
            nn.Sequential(
                nn.Conv2d(a, b, 3, stride if i == 0 else 1, 1, bias=False), nn.BatchNorm2d(b), nn.ReLU(),
                nn.MaxPool2d(2, ceil_mode=True) if 0 < i < 3 else nn.Identity(),
            )
            for i, (a, b) in enumerate(pairwise(widths))
        )  # fmt: skip
        self.dense = nn.Sequential(nn.Dropout(0.3), nn.Linear(widths[-1], 128), nn.ReLU())
        self.heads = nn.ModuleList(nn.Linear(128, k) for k in classes.values())
        self.names = tuple(classes)

    def maps(self, x: Tensor) -> list[Tensor]:
        """What each stage gives, [B, width, h, w]."""
        x, found = smaller(x) - 0.5, []
        for stage in self.stages:
            x = stage(x)
            found.append(x)
        return found

    def embedding(self, maps: list[Tensor]) -> Tensor:
        """[B, 128], the last maps' means over places: what the heads read, and what persons are told apart by."""
        return maps[-1].mean((2, 3))

    def forward(self, x: Tensor) -> dict[str, Tensor]:
        return self.answers(self.embedding(self.maps(x)))

    def answers(self, embedded: Tensor) -> dict[str, Tensor]:
        """Logits of each attribute, from what was embedded."""
        embedded = self.dense(embedded)
        return {name: head(embedded) for name, head in zip(self.names, self.heads, strict=True)}


def judge(corpus: Corpus) -> Judge:
    """An untrained judge of these pictures; its weights are those of the global generator."""
    return Judge(corpus.shape, {name: corpus.n_classes(name) for name in questions(corpus)})


def train(
    corpus: Corpus, *, effort: Effort, seed: int, device: torch.device | str = "cpu", progress: Progress = None
) -> Judge:
    """Learn all attributes from aux_train; the epoch that is best on aux_val is kept."""
    own, held = corpus.aux_train, corpus.aux_val
    generator = np.random.default_rng([seed, 9])
    least = -(-3 * effort.attack_steps // (5 * max(1, len(own) // effort.batch)))
    epochs = max(2 * effort.decoder_epochs // 3, least)
    taught, known = ({n: torch.from_numpy(labels(p, n, corpus)) for n in questions(corpus)} for p in (own, held))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(seed)
        network = judge(corpus).to(device)
        optimizer = torch.optim.AdamW(network.parameters(), lr=3e-3, weight_decay=1e-2, fused=True)
        total = epochs * max(1, -(-len(own) // effort.batch))
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 4e-3, total_steps=total + 1)
        best, state = math.inf, copy.deepcopy(network.state_dict())
        with channels_last(network):
            for epoch in range(epochs):
                network.train()
                for rows in batches(len(own), effort.batch, generator):
                    x = inputs(own.x[rows], device)
                    x[: len(x) // 2] = blurred(x[: len(x) // 2], float(generator.uniform(1.5, 6)))
                    loss = _loss(network(x), {n: s[rows].to(device) for n, s in taught.items()})
                    optimizer.zero_grad(set_to_none=True)
                    loss.backward()  # type: ignore[no-untyped-call]
                    optimizer.step()
                    schedule.step()
                network.eval()
                with torch.no_grad():
                    said = [network(inputs(part, device)) for part in np.array_split(held.x, -(-len(held) // 256))]
                    value = float(_loss({n: torch.cat([s[n] for s in said]).cpu() for n in taught}, known))
                if value < best:
                    best, state = value, copy.deepcopy(network.state_dict())
                if progress:
                    progress(epoch + 1, epochs)
    network.load_state_dict(state)
    return network.eval()


def questions(corpus: Corpus) -> tuple[str, ...]:
    """What the judge answers: the hidden attributes, then the target where the adversary's people have its labels."""
    taught = np.unique(corpus.aux_train.y[corpus.aux_train.y >= 0])
    return (*corpus.hidden, corpus.target) if len(taught) > 1 else corpus.hidden


def labels(part: Part, name: str, corpus: Corpus) -> Array:
    """The labels of a part, [N] int64, -1 where unknown."""
    return part.y if name == corpus.target else part.s[name]


def smaller(x: Tensor, side: int = SIDE) -> Tensor:
    """Pictures [B, C, H, W], the longer side `side` pixels at most."""
    longer = max(x.shape[2:])
    if longer <= side:
        return x
    return F.interpolate(x, [max(1, s * side // longer) for s in x.shape[2:]], mode="area")


def _loss(logits: dict[str, Tensor], labels: dict[str, Tensor]) -> Tensor:
    """The sum over attributes of the mean cross-entropy of those who carry the label."""
    parts = [
        F.cross_entropy(logits[n], s, ignore_index=-1, reduction="sum") / (s >= 0).sum().clamp_min(1)
        for n, s in labels.items()
    ]
    return torch.stack(parts).sum()


def blurred(x: Tensor, factor: float) -> Tensor:
    """Pictures [B, C, H, W] at 1 / `factor` of the size and back."""
    small = [max(1, round(side / factor)) for side in x.shape[2:]]
    down = F.interpolate(x, small, mode="area")
    return F.interpolate(down, x.shape[2:], mode="bilinear", align_corners=False)
