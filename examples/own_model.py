"""Audit a network of your own: give its factory and where to cut it."""

from __future__ import annotations

from pathlib import Path

from torch import nn

import privet


def factory(shape: tuple[int, ...], classes: int) -> nn.Module:
    """Your network: called with the input's shape and the number of classes; it returns logits."""
    height, width = shape[1:]
    return nn.Sequential(
        nn.Flatten(), nn.Linear(height * width, 64), nn.ReLU(), nn.Linear(64, 16), nn.ReLU(), nn.Linear(16, classes)
    )


if __name__ == "__main__":
    answer = privet.audit(
        "digits",
        f"{Path(__file__).resolve()}:factory",
        at="2",
        defenses=["signal_content:keep=2", "random_channels:ratio=0.8,draw=fixed"],
        attacks=["linear_probe", "boosted_trees"],
        effort="quick",
        seeds=1,
    )
    for defense, row in answer.headline("digit").items():
        print(f"{defense:40} target {row.utility}   digit {row.value}   floor {row.floor}")
