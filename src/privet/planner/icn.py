"""Image classification network: the cloud's half in Li et al. 2017 ("PrivyNet", appendix C, figure 17), the network of
TensorFlow's CIFAR-10 tutorial. (Two captions of the paper call it IGN.)

    conv 5x5x64 - ReLU - pool 3x3/2 - LRN - conv 5x5x64 - ReLU - LRN - pool 3x3/2 - FC 384 - ReLU - FC 192 - ReLU - FC K

Deviations: Adam and early stopping on held-out people instead of 250 epochs of gradient descent; no random brightness
and contrast, since the cloud has representations and not pictures. Rows of a table, and representations without places,
get the two inner linear layers alone.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View

FILTERS, INNER = 64, (384, 192)


@dataclass(frozen=True)
class Icn:
    """Learn the target from representations, as the battery teaches everybody."""

    summary: ClassVar[str] = "PrivyNet's classification network"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2),)
    standardize: ClassVar[bool] = True

    def features(self, view: View) -> Tensor:
        """z [N, ...]."""
        return view.flat if view.z is None else view.z

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Representations to logits [B, K]."""
        return network(tuple(self.features(view).shape[1:]), output[0])


def network(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A fresh ICN for representations [B, *shape]."""
    layers: list[nn.Module] = []
    if len(shape) == 3:
        norm = {"size": 9, "alpha": 1e-3, "beta": 0.75, "k": 1.0}
        layers = [
            nn.Conv2d(shape[0], FILTERS, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1),
            nn.LocalResponseNorm(**norm),  # type: ignore[arg-type]
            nn.Conv2d(FILTERS, FILTERS, 5, padding=2), nn.ReLU(),
            nn.LocalResponseNorm(**norm),  # type: ignore[arg-type]
            nn.MaxPool2d(3, 2, padding=1),
        ]  # fmt: skip
    with torch.no_grad():
        width = nn.Sequential(*layers, nn.Flatten())(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(width, INNER[0]), nn.ReLU(), nn.Linear(INNER[0], INNER[1]), nn.ReLU(),
        nn.Linear(INNER[1], classes),
    )  # fmt: skip
