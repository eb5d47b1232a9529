"""The battery: trains every probe the same way and runs every solver, on views that were encoded once.

Adversaries learn on aux_train, choose epoch and setting on aux_val, and only then meet the victims. With several
payloads per victim their posteriors are averaged. Randomness comes from the seed alone.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Posterior, Probe, Setting, Solver, View
from privet.train import Effort, Progress, batches

TELLING = 8.0


@dataclass(frozen=True)
class Material:
    """Everything an adversary may learn from: several draws of aux payloads, and what it knows about those people.

    `known` are labels [N] int64 (attribute goals) or inputs [N, ...] float32 in [0, 1] (reconstruction). `outputs` is
    (K,) or the input's shape.
    """

    train: Sequence[View]
    known: Tensor
    val: Sequence[View]
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
    victims: Sequence[View],
    *,
    effort: Effort,
    seed: int,
    device: torch.device | str = "cpu",
    progress: Progress = None,
) -> Outcome:
    """Fit one attack and let it predict. No view of a victim exists before the attack is fitted to its end."""
    if isinstance(attack, Probe):
        predict, log = _fit_probe(attack, material, effort, seed, device, progress)
    else:
        predict, log = _fit_solver(attack, material, effort, seed), {}
    return Outcome(_average(predict, material.val), _average(predict, victims), log)


def _average(predict: Posterior, views: Sequence[View]) -> Tensor:
    total = predict(views[0])
    for view in views[1:]:
        total = total + predict(view)
    return total / len(views)


def _fit_solver(solver: Solver, material: Material, effort: Effort, seed: int) -> Posterior:
    train = material.train[0]
    known = material.known
    if len(material.train) > 1:
        train = replace(
            train,
            flat=torch.cat([v.flat for v in material.train]),
            z=None if train.z is None else torch.cat([v.z for v in material.train if v.z is not None]),
        )
        known = known.repeat(len(material.train))
    return solver.fit(
        train, known, material.val[0], material.known_val, classes=material.outputs[0], effort=effort, seed=seed
    )


def _fit_probe(
    probe: Probe, material: Material, effort: Effort, seed: int, device: torch.device | str, progress: Progress
) -> tuple[Posterior, dict[str, Any]]:
    scale = _Scale(torch.tensor(0.0), torch.tensor(1.0))
    if probe.standardize:
        labels = material.known if probe.goal == "attribute" else None
        scale = _Scale.of(probe.features(material.train[0]), labels)
    draws = [scale(probe.features(view)) for view in material.train]
    held = scale(probe.features(material.val[0]))
    loss = _reconstruction_loss if probe.goal == "reconstruct" else F.cross_entropy
    epochs, patience = effort.attack_schedule(probe.goal, len(material.known))
    grid = probe.grid[: effort.grid]
    best: tuple[float, nn.Module] | None = None
    log: dict[str, Any] = {"settings": []}
    for index, setting in enumerate(grid):
        tick = _ticker(progress, index * epochs, len(grid) * epochs)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed * 1009 + index)
            network = probe.network(material.train[0].rows(torch.arange(min(8, len(draws[0])))), material.outputs).to(
                device
            )
            value, at = _train(
                network,
                draws,
                material.known,
                held,
                material.known_val,
                setting,
                loss,
                epochs,
                patience,
                effort.batch,
                seed + index,
                device,
                tick,
            )
        shown = value if math.isfinite(value) else None  # infinite where training diverged from its first step
        log["settings"].append({"setting": vars(setting), "val_loss": shown, "best_epoch": at, "epochs": epochs})
        if best is None or value < best[0]:
            best, log["underfit"] = (value, network), at >= epochs
    assert best is not None, "a probe has at least one setting"
    network = best[1].eval()

    @torch.no_grad()
    def predict(view: View) -> Tensor:
        features = scale(probe.features(view))
        outputs = torch.cat([network(rows.to(device)).cpu() for rows in torch.split(features, 512)])
        return outputs if probe.goal == "reconstruct" else outputs.softmax(1)

    return predict, log


def _train(
    network: nn.Module,
    draws: Sequence[Tensor],
    known: Tensor,
    held: Tensor,
    known_val: Tensor,
    setting: Setting,
    loss: Callable[[Tensor, Tensor], Tensor],
    epochs: int,
    patience: int,
    batch: int,
    seed: int,
    device: torch.device | str,
    tick: Callable[[int], None],
) -> tuple[float, int]:
    """Adam with decoupled weight decay, early stopping on aux_val; the best epoch's weights stay in the network."""
    generator = np.random.default_rng([seed, 4])
    optimizer = torch.optim.AdamW(
        network.parameters(), lr=setting.learning_rate, weight_decay=setting.weight_decay, fused=True
    )
    best, best_at, best_state = float("inf"), 0, copy.deepcopy(network.state_dict())
    for epoch in range(1, epochs + 1):
        network.train()
        features = draws[epoch % len(draws)]
        for rows in batches(len(known), batch, generator):
            value = loss(network(features[rows].to(device)), known[rows].to(device))
            optimizer.zero_grad(set_to_none=True)
            value.backward()  # type: ignore[no-untyped-call]
            optimizer.step()
        network.eval()
        with torch.no_grad():
            sums = [
                float(loss(network(f.to(device)), k.to(device))) * len(k)
                for f, k in zip(torch.split(held, 512), torch.split(known_val, 512), strict=True)
            ]
        current = sum(sums) / max(1, len(known_val))
        tick(epoch)
        if current < best - 1e-5:
            best, best_at, best_state = current, epoch, copy.deepcopy(network.state_dict())
        elif epoch - best_at >= patience:
            break
    network.load_state_dict(best_state)
    tick(epochs)
    return best, best_at


@dataclass(frozen=True)
class _Scale:
    """Standardized features; where labels are known, columns that say much about them stand out.

    Among thousands of equal columns a network overlooks the one in which the answer is written. Each column is
    therefore multiplied by the square root of its F statistic over the median column's, between 1 and `TELLING`.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor | None) -> _Scale:
        deviation = features.std(0)
        moving = deviation > 1e-6
        if labels is not None and features.dim() == 2 and int(moving.sum()) > 1:
            ratio = _between(features, labels) / (deviation**2).clamp_min(1e-12)
            ratio = (ratio / (1 - ratio).clamp_min(1e-6)).masked_fill(~moving, 0)
            telling = (ratio / ratio[moving].median().clamp_min(1e-9)).sqrt().clamp(1, TELLING)
            deviation = deviation / telling
        return cls(features.mean(0), torch.where(moving, deviation, torch.full_like(deviation, float("inf"))))

    def __call__(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.deviation).clamp_(-20 * TELLING, 20 * TELLING)


def _between(features: Tensor, labels: Tensor) -> Tensor:
    """Variance between the values of an attribute, per column [P]."""
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    for value in range(int(labels.max()) + 1):
        rows = features[labels == value]
        if not len(rows):
            continue
        total += len(rows) * (rows.mean(0) - mean) ** 2
    return total / max(1, len(features) - 1)


def _reconstruction_loss(output: Tensor, target: Tensor) -> Tensor:
    return F.mse_loss(output, target)


def _ticker(progress: Progress, offset: int, total: int) -> Callable[[int], None]:
    def tick(done: int) -> None:
        if progress:
            progress(offset + done, total)

    return tick
