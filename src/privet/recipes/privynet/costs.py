"""What things cost on this machine, one thread: a whole VGG-16 by block (figure 20), and Fisher's criterion by people,
channels and values (appendix E)."""

from __future__ import annotations

import platform
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import torch
from torch import nn

from privet import cost, models
from privet.planner import device as devices
from privet.planner import fisher

SIDES = (32, 64, 128, 224)  # pixels of a picture
POOLS = 32  # of VGG-16: five pools halve a side to a 32nd
ROUNDS = 5
RANGES: dict[str, tuple[tuple[int, ...], Callable[[int], tuple[int, int, int]]]] = {
    "people": ((1600, 3200, 6400), lambda n: (n, 32, 64)),
    "channels": ((32, 64, 128), lambda c: (1600, c, 64)),
    "values": ((32, 64, 128, 256), lambda d: (1600, 8, d)),
}


def of(head: nn.Module, shape: Sequence[int]) -> tuple[int, list[float]]:
    """(multiply-accumulates, milliseconds in several rounds) of an extractor for one picture."""
    return devices.weighed(head, shape)[0], [devices.milliseconds(head, tuple(shape)) for _ in range(ROUNDS)]


def blocks() -> dict[str, Any]:
    """Of each side of a picture and each block of VGG-16: multiply-accumulates, bytes of weights, milliseconds of one
    picture. Weights are random: a cost does not depend on them. The first dense layer reads the map as it is, so that
    its size grows with the picture."""
    made: dict[str, Any] = {"machine": platform.machine(), "sides": {}}
    model = models.load("torchvision:vgg16", shape=(3, 224, 224), classes=1000).eval()
    with torch.no_grad():
        for side in SIDES:
            x, rows = torch.zeros(1, 3, side, side), []
            for name, block in _parts(model, side).items():
                rows.append(
                    {"block": name, "macs": cost.macs(block, x), "bytes": cost.parameter_bytes(block),
                     "ms": cost.latency_ms(_call(block, x), repeat=7, warmup=2)}
                )  # fmt: skip
                x = block(x)
            made["sides"][str(side)] = rows
    return made


def _parts(model: nn.Module, side: int) -> dict[str, nn.Module]:
    """The five blocks of convolutions, and the dense layers."""
    parts: dict[str, nn.Module] = {}
    layers: list[nn.Module] = []
    features, _, classifier = model.children()
    for layer in features.children():
        layers.append(layer)
        if isinstance(layer, nn.MaxPool2d):
            parts[f"conv{len(parts) + 1}"], layers = nn.Sequential(*layers).eval(), []
    dense = list(classifier.children())
    dense[0] = nn.Linear(512 * (side // POOLS) ** 2, 4096)
    return parts | {"fc": nn.Sequential(nn.Flatten(), *dense).eval()}


def _call(block: nn.Module, x: torch.Tensor) -> Callable[[], Any]:
    return lambda: block(x)


def exponents() -> dict[str, list[float]]:
    """The slope of log milliseconds over log size, for several rounds: of Fisher's criterion in the number of people,
    channels and values of a channel."""
    made = {}
    for what, (sizes, at) in RANGES.items():
        times = np.array([[_criterion_ms(*at(size)) for size in sizes] for _ in range(ROUNDS)])
        made[what] = [float(np.polyfit(np.log(sizes), np.log(row), 1)[0]) for row in times]
    return made


def _criterion_ms(people: int, channels: int, values: int) -> float:
    generator = torch.Generator().manual_seed(0)
    z = torch.randn(people, channels, values, generator=generator)
    y = torch.randint(0, 10, (people,), generator=generator)
    return cost.latency_ms(lambda: fisher.criterion(z, y), repeat=3, warmup=1)
