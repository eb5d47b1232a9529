"""Fitting: the one loop in which an adversary's network learns, whoever owns it (the battery, or a solver).

minimize  mean loss(network(features), known)     on aux_train; the epoch is chosen on aux_val
"""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from privet.train import batches, channels_last

AT_ONCE = 512  # people whose outputs are computed together


@dataclass(frozen=True)
class Lesson:
    """What a network learns from. `draw` gives the features [N, ...] of aux_train in this epoch (counted from 1),
    `known` what is to be said of them; `held` and `known_val` are the same of aux_val. `loss` is a mean over people."""

    draw: Callable[[int], Tensor]
    known: Tensor
    held: Tensor
    known_val: Tensor
    loss: Callable[[Tensor, Tensor], Tensor]


@dataclass(frozen=True)
class Course:
    """How it learns: Adam with decoupled weight decay, at most so many epochs, and patience for so many of them."""

    learning_rate: float
    weight_decay: float
    epochs: int
    patience: int
    batch: int


def learn(
    build: Callable[[], nn.Module],
    lesson: Lesson,
    course: Course,
    *,
    start: int,
    order: int,
    device: torch.device | str = "cpu",
    tick: Callable[[int], None] | None = None,
) -> tuple[nn.Module, float, int]:
    """A fresh network from `build` with the weights of the epoch that is best on aux_val, its loss there, and that
    epoch (0 where nothing was learned, with an infinite loss). `start` seeds the weights, `order` the batches."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(start)
        network = build().to(device)
        with channels_last(network):
            best, at = _train(network, lesson, course, order, device, tick or (lambda done: None))
    return network.eval(), best, at


@torch.no_grad()
def outputs(network: nn.Module, features: Tensor, device: torch.device | str = "cpu") -> Tensor:
    """What a network says of everybody, on the CPU: [N, ...]."""
    return torch.cat([network(rows.to(device).float()).cpu() for rows in torch.split(features, AT_ONCE)])


def _train(
    network: nn.Module,
    lesson: Lesson,
    course: Course,
    order: int,
    device: torch.device | str,
    tick: Callable[[int], None],
) -> tuple[float, int]:
    generator = np.random.default_rng([order, 4])
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=course.learning_rate, weight_decay=course.weight_decay, fused=True
    )
    best, best_at, best_state = float("inf"), 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, course.epochs + 1):
        network.train()
        features = lesson.draw(epoch)
        for rows in batches(len(lesson.known), course.batch, generator):
            value = lesson.loss(network(features[rows].to(device).float()), lesson.known[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.no_grad():
            sums = [
                float(lesson.loss(network(f.to(device).float()), k.to(device))) * len(k)
                for f, k in zip(torch.split(lesson.held, AT_ONCE), torch.split(lesson.known_val, AT_ONCE), strict=True)
            ]
        current = sum(sums) / max(1, len(lesson.known_val))
        tick(epoch)
        if current < best - min(1e-5, 1e-3 * abs(current)):
            best, best_at, best_state = current, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_at >= course.patience:
            break
    network.load_state_dict(best_state)
    tick(course.epochs)
    return best, best_at
