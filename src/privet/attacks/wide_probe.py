"""Wide probe: the widest network of the portfolio, a wide residual network of the adversary's own on z' (Zagoruyko and
Komodakis 2016, arXiv:1605.07146), for whoever fears that the server's architecture is too small an adversary.

    minimize  CE(wide(z'), s)

Deviations: two groups of blocks, since z' is no picture any more; z' that is no map gets a perceptron of two layers,
four times as wide as the usual one; learning rate chosen on aux_val.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import ClassVar, cast

from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Goal, Need, Setting, View
from privet.nets import mlp


@dataclass(frozen=True)
class WideProbe:
    """A residual network of `width` and twice as many channels, or a perceptron of eight times `width`."""

    summary: ClassVar[str] = "a wide residual network of the adversary's own (slow)"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2), Setting(3e-4, 1e-1), Setting(3e-3, 1e-4))
    standardize: ClassVar[bool] = True
    slow: ClassVar[bool] = True
    width: int = 128

    def features(self, view: View) -> Tensor:
        """Maps z' [N, C, H, W] where there are any, else the whole payload [N, P]."""
        return view.z if view.z is not None and view.z.dim() == 4 else view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Features to logits."""
        features = self.features(view)
        if features.dim() < 4:
            return mlp(features.shape[1], (8 * self.width, 8 * self.width), output[0], dropout=0.5)
        channels, *sides = features.shape[1:]
        stride, cells = (2, 4) if min(sides) >= 4 else (1, 1)
        return nn.Sequential(
            nn.Conv2d(channels, self.width, 3, padding=1, bias=False),
            Block(self.width, self.width, 1), Block(self.width, 2 * self.width, stride),
            nn.BatchNorm2d(2 * self.width), nn.ReLU(), nn.AdaptiveAvgPool2d(math.isqrt(cells)), nn.Flatten(),
            nn.Dropout(0.3), nn.Linear(2 * self.width * cells, output[0]),
        )  # fmt: skip


class Block(nn.Module):
    """x [B, C, H, W] -> x + conv(relu(bn(conv(relu(bn(x)))))), with a 1x1 convolution beside where shapes change."""

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.first, self.second = nn.BatchNorm2d(inputs), nn.BatchNorm2d(outputs)
        self.into = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.out = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        same = inputs == outputs and stride == 1
        self.beside = nn.Identity() if same else nn.Conv2d(inputs, outputs, 1, stride, bias=False)

    def forward(self, x: Tensor) -> Tensor:
        active = F.relu(self.first(x))
        return cast(Tensor, self.out(F.relu(self.second(self.into(active)))) + self.beside(active))
