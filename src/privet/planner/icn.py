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
from torch.nn import functional as F

from privet.attack import Goal, Need, Setting, View

FILTERS, INNER = 64, (384, 192)
AROUND, ALPHA = 9, 1e-3  # channels that normalize one another, and how much


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


class ResponseNorm(nn.Module):
    """v / (1 + alpha / n sum of v^2 over the n channels around)^.75 for maps [B, C, H, W] (LRN): `nn.LocalResponseNorm`
    to the last bits, by running sums over channels and not a pool, in a tenth of the time on a CPU."""

    def forward(self, v: Tensor) -> Tensor:
        squares = F.pad(v.square(), (0, 0, 0, 0, AROUND // 2, (AROUND - 1) // 2)).cumsum(1)
        sums = squares[:, AROUND - 1 :] - F.pad(squares, (0, 0, 0, 0, 1, 0))[:, : v.shape[1]]
        root = (1 + ALPHA / AROUND * sums).rsqrt()
        return v * root * root.sqrt()


def network(shape: tuple[int, ...], classes: int) -> nn.Sequential:
    """A fresh ICN for representations [B, *shape]."""
    layers: list[nn.Module] = []
    if len(shape) == 3:
        layers = [
            nn.Conv2d(shape[0], FILTERS, 5, padding=2), nn.ReLU(), nn.MaxPool2d(3, 2, padding=1), ResponseNorm(),
            nn.Conv2d(FILTERS, FILTERS, 5, padding=2), nn.ReLU(), ResponseNorm(), nn.MaxPool2d(3, 2, padding=1),
        ]  # fmt: skip
    with torch.no_grad():
        width = nn.Sequential(*layers, nn.Flatten())(torch.zeros(1, *shape)).shape[1]
    return nn.Sequential(
        *layers, nn.Flatten(), nn.Linear(width, INNER[0]), nn.ReLU(), nn.Linear(INNER[0], INNER[1]), nn.ReLU(),
        nn.Linear(INNER[1], classes),
    )  # fmt: skip
