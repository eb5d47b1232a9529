"""Networks shared by attacks: a multilayer perceptron, a convolutional decoder, and the server's architecture with
another head."""

from __future__ import annotations

import copy
import math
from dataclasses import dataclass
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F

TELLING = 8.0
STILL = 1e-6  # of its largest value: a column that deviates by less is constant


def mlp(inputs: int, hidden: tuple[int, ...], outputs: int, dropout: float = 0.2) -> nn.Sequential:
    """Linear, batch normalization, ReLU and dropout for each hidden width, then logits."""
    layers: list[nn.Module] = []
    for width in hidden:
        layers += [nn.Linear(inputs, width), nn.BatchNorm1d(width), nn.ReLU(), nn.Dropout(dropout)]
        inputs = width
    return nn.Sequential(*layers, nn.Linear(inputs, outputs))


class Decoder(nn.Module):
    """Features [B, P] -> pictures [B, C, H, W] in [0, 1]: a dense layer to a quarter of the size, then one sub-pixel
    step of four.

    All convolutions run at the quarter size, where they are cheap. A dense shortcut of rank `rank` carries the overall
    appearance, so that the convolutions only add detail.
    """

    def __init__(self, inputs: int, shape: tuple[int, ...], width: int = 8, rank: int = 64) -> None:
        super().__init__()
        self.shape, self.width = shape, width
        channels, height, wide = shape
        self.grid = (math.ceil(height / 4), math.ceil(wide / 4))
        area = self.grid[0] * self.grid[1]
        self.dense = nn.Sequential(nn.Linear(inputs, width * area), nn.ReLU())
        self.up = nn.Sequential(
            nn.Conv2d(width, 8 * width, 3, padding=1), nn.ReLU(),
            nn.Conv2d(8 * width, 16 * channels, 3, padding=1), nn.PixelShuffle(4),
        )  # fmt: skip
        self.shortcut = nn.Sequential(nn.Linear(inputs, rank), nn.Linear(rank, channels * area))

    def forward(self, features: Tensor) -> Tensor:
        flat = features.flatten(1)
        coarse = self.shortcut(flat).reshape(-1, self.shape[0], *self.grid)
        fine = self.up(self.dense(flat).reshape(-1, self.width, *self.grid))
        picture = fine + F.interpolate(coarse, scale_factor=4, mode="bilinear", align_corners=False)
        return torch.sigmoid(picture[:, :, : self.shape[1], : self.shape[2]])


@dataclass(frozen=True)
class Scale:
    """Standardized columns; where labels are known, columns that say much about them stand out.

    Among thousands of equal columns a network overlooks the one in which the answer is written. Each column is
    therefore multiplied by the square root of its F statistic over the median column's, between 1 and `TELLING`.
    """

    mean: Tensor
    deviation: Tensor

    @classmethod
    def of(cls, features: Tensor, labels: Tensor | None = None) -> Scale:
        """Learn from features [N, ...] and, where they are [N, P], from labels [N]."""
        deviation = features.std(0) if len(features) > 1 else torch.zeros_like(features[0])
        moving = deviation > STILL * features.abs().amax(0)
        if labels is not None and features.dim() == 2 and int(moving.sum()) > 1:
            ratio = _between(features, labels) / (deviation**2).clamp_min(1e-30)
            ratio = (ratio / (1 - ratio).clamp_min(1e-6)).masked_fill(~moving, 0)
            telling = (ratio / ratio[moving].median().clamp_min(1e-9)).sqrt().clamp(1, TELLING)
            deviation = deviation / telling
        return cls(features.mean(0), torch.where(moving, deviation, torch.full_like(deviation, float("inf"))))

    def __call__(self, features: Tensor) -> Tensor:
        return ((features - self.mean) / self.deviation).clamp_(-20 * TELLING, 20 * TELLING)


class Shortcut(nn.Module):
    """Logits [B, K] from a network's answer and from its input at once: for a network whose last layer cannot be
    replaced."""

    def __init__(self, network: nn.Module, answer: int, width: int, outputs: int) -> None:
        super().__init__()
        self.network = network
        self.behind, self.beside = nn.Linear(answer, outputs), nn.Linear(width, outputs)

    def forward(self, z: Tensor) -> Tensor:
        answer = self.network(z)
        return cast(Tensor, self.behind(answer) + self.beside(z.flatten(1)))


def reheaded(server: nn.Module, z: Tensor, outputs: int, *, keep: bool = False) -> nn.Module:
    """The server's architecture with `outputs` logits and fresh weights, or with its own where they are to `keep`
    (matrices of zeros only are drawn all the same: nothing would come through).

    The last linear layer is replaced where its width is that of the server's answer. Where there is none to replace (a
    half traced by torch.export has no modules), a linear layer is put behind the answer and another beside the network.
    """
    fresh, z = copy.deepcopy(server), z[:2].float()
    if keep:
        _awaken(fresh)
    else:
        _refresh(fresh)
    fresh.eval()
    with torch.no_grad():
        answer = fresh(z).shape[1]
        for name, last in [
            (n, m) for n, m in fresh.named_modules() if isinstance(m, nn.Linear) and m.out_features == answer
        ]:
            head = nn.Linear(last.in_features, outputs, bias=last.bias is not None)
            if not name:
                return head
            fresh.set_submodule(name, head)
            if _answers(fresh, z, outputs):
                return fresh
            fresh.set_submodule(name, last)
    return Shortcut(fresh, answer, z[0].numel(), outputs)


@torch.no_grad()
def _refresh(network: nn.Module) -> None:
    """New weights everywhere: matrices as linear layers draw them, scales one, offsets zero, statistics forgotten."""
    for name, parameter in network.named_parameters():
        parameter.requires_grad_(True)
        if parameter.dim() > 1:
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))
        else:
            parameter.fill_(1.0 if name.endswith("weight") else 0.0)
    for name, buffer in network.named_buffers():
        if name.endswith("running_mean"):
            buffer.zero_()
        elif name.endswith("running_var"):
            buffer.fill_(1.0)
    for module in network.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()


@torch.no_grad()
def _awaken(network: nn.Module) -> None:
    """Everything may learn, and no matrix stays zero."""
    for parameter in network.parameters():
        parameter.requires_grad_(True)
        if parameter.dim() > 1 and not parameter.any():
            nn.init.kaiming_uniform_(parameter, a=math.sqrt(5))


def _between(features: Tensor, labels: Tensor) -> Tensor:
    """Variance between the values of an attribute, per column [P]."""
    mean = features.mean(0)
    total = torch.zeros_like(mean)
    for value in range(int(labels.max()) + 1):
        rows = features[labels == value]
        if len(rows):
            total += len(rows) * (rows.mean(0) - mean) ** 2
    return total / max(1, len(features) - 1)


def _answers(network: nn.Module, z: Tensor, outputs: int) -> bool:
    try:
        return bool(network(z).shape == (len(z), outputs))
    except RuntimeError:
        return False
