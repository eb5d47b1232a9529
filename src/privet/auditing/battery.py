"""The battery: trains every probe the same way and runs every solver.

Adversaries learn on aux_train, with another draw of a random obfuscator in every epoch, choose epoch and setting on
aux_val, and only then meet the victims. Randomness comes from the seed alone.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Posterior, Probe, Solver, View
from privet.fitting import Course, Lesson, learn, outputs
from privet.nets import Scale
from privet.searching import Weighing
from privet.train import Effort, Progress

SOLVED = 2


@dataclass(frozen=True)
class Material:
    """Everything an adversary may learn from: several draws of aux payloads, and what it knows about those people.

    `known` are labels [N] int64 (attribute goals) or inputs [N, ...] float32 in [0, 1] (reconstruction). `outputs` is
    (K,) or the input's shape.
    """

    train: Sequence[View]
    known: Tensor
    val: View
    known_val: Tensor
    outputs: tuple[int, ...]


@dataclass(frozen=True)
class Outcome:
    """Predictions on aux_val and on the victims: posteriors [N, K] or reconstructions [N, ...]."""

    val: Tensor
    victims: Tensor
    log: dict[str, Any]


def run(
    attack: Probe | Solver,
    material: Material,
    victims: View,
    *,
    effort: Effort,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress = None,
) -> Outcome:
    """Fit one attack and let it predict. No view of a victim exists before the attack is fitted to its end."""
    if "edge" in attack.needs:
        weighing = Weighing.of(material.train[0], material.known)
        train, val = [weighing(view) for view in material.train], weighing(material.val)
        material, victims = replace(material, train=train, val=val), weighing(victims)
    if isinstance(attack, Probe):
        predict, log = _fit_probe(attack, material, effort, seed, device, progress)
    else:
        predict, log = _fit_solver(attack, material, effort, seed, device), {}
    return Outcome(predict(material.val), predict(victims), log)


def _fit_solver(solver: Solver, material: Material, effort: Effort, seed: int, device: torch.device | str) -> Posterior:
    """A solver sees the first draws of a random obfuscator side by side."""
    draws = [material.train[i] for i in range(min(SOLVED, len(material.train)))]
    train, known = draws[0], torch.cat([material.known] * len(draws))
    if len(draws) > 1:
        z = None if train.z is None else torch.cat([v.z for v in draws if v.z is not None])
        hidden = None if train.hidden is None else torch.cat([v.hidden for v in draws if v.hidden is not None])
        # The k-th payload of somebody in one draw stands above the k-th in the other: two people, seen as often each.
        seen = tuple(
            tuple(torch.cat(fields) for fields in zip(*payloads, strict=True))
            for payloads in zip(*(v.seen for v in draws), strict=True)
        )
        train = replace(train, flat=torch.cat([v.flat for v in draws]), z=z, seen=seen, hidden=hidden)
    return solver.fit(
        train, known, material.val, material.known_val, classes=material.outputs[0], effort=effort, seed=seed,
        device=device,
    )  # fmt: skip


def _fit_probe(
    probe: Probe, material: Material, effort: Effort, seed: int, device: torch.device | str, progress: Progress
) -> tuple[Posterior, dict[str, Any]]:
    first = material.train[0]
    scale = Scale(torch.tensor(0.0), torch.tensor(1.0))
    if probe.standardize:
        scale = Scale.of(probe.features(first), material.known if probe.goal == "attribute" else None)
    features = scale(probe.features(first))

    def draw(epoch: int) -> Tensor:
        return (
            features if len(material.train) == 1 else scale(probe.features(material.train[epoch % len(material.train)]))
        )

    # A value that nobody in aux_train has cannot be learned; it must not decide when to stop, either.
    learned = torch.ones(len(material.known_val), dtype=torch.bool)
    if probe.goal == "attribute" and bool(torch.isin(material.known_val, material.known).any()):
        learned = torch.isin(material.known_val, material.known)
    held, known_val = scale(probe.features(material.val))[learned], material.known_val[learned]
    loss = F.mse_loss if probe.goal == "reconstruct" else F.cross_entropy
    lesson = Lesson(draw, material.known, held, known_val, loss)
    epochs, patience = effort.attack_schedule(probe.goal, len(material.known))
    grid = probe.grid[: effort.grid]
    best: tuple[float, nn.Module] | None = None
    log: dict[str, Any] = {"settings": []}
    for index, setting in enumerate(grid):
        tick = _ticker(progress, index * epochs, len(grid) * epochs)
        course = Course(setting.learning_rate, setting.weight_decay, epochs, patience, effort.batch)
        network, value, at = learn(
            lambda: probe.network(first.rows(torch.arange(min(8, len(first)))), material.outputs),
            lesson, course, start=seed * 1009 + index, order=seed + index, device=device, tick=tick,
        )  # fmt: skip
        shown = value if math.isfinite(value) else None  # infinite where training diverged from its first step
        log["settings"].append({"setting": vars(setting), "val_loss": shown, "best_epoch": at, "epochs": epochs})
        if best is None or value < best[0]:
            best, log["underfit"] = (value, network), at >= epochs
    assert best is not None, "a probe has at least one setting"
    network = best[1]

    def predict(view: View) -> Tensor:
        said = outputs(network, scale(probe.features(view)), device)
        return said if probe.goal == "reconstruct" else said.softmax(1)

    return predict, log


def _ticker(progress: Progress, offset: int, total: int) -> Callable[[int], None]:
    def tick(done: int) -> None:
        if progress:
            progress(offset + done, total)

    return tick
