"""Networks shared by attacks: a multilayer perceptron, a convolutional decoder, and the server's architecture with
another head."""

from __future__ import annotations

import copy
import math

import torch
from torch import Tensor, nn
from torch.nn import functional as F


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


def reheaded(server: nn.Module, z: Tensor, outputs: int) -> nn.Module:
    """The server's architecture with fresh weights and `outputs` logits.

    The last linear layer is replaced where its width is that of the server's answer; else a linear layer is put behind.
    """
    fresh = copy.deepcopy(server)
    for parameter in fresh.parameters():
        parameter.requires_grad_(True)
    for module in fresh.modules():
        reset = getattr(module, "reset_parameters", None)
        if callable(reset):
            reset()
    fresh.eval()
    with torch.no_grad():
        answer = fresh(z[:2]).shape[1]
        for name, last in [
            (n, m) for n, m in fresh.named_modules() if isinstance(m, nn.Linear) and m.out_features == answer
        ]:
            head = nn.Linear(last.in_features, outputs, bias=last.bias is not None)
            if not name:
                return head
            fresh.set_submodule(name, head)
            if _answers(fresh, z[:2], outputs):
                return fresh
            fresh.set_submodule(name, last)
    return nn.Sequential(fresh, nn.ReLU(), nn.Linear(answer, outputs))


def _answers(network: nn.Module, z: Tensor, outputs: int) -> bool:
    try:
        return bool(network(z).shape == (len(z), outputs))
    except RuntimeError:
        return False
