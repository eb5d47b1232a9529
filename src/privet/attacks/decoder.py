"""Decoder: a network that draws the input from the payload (Dosovitskiy and Brox 2016, arXiv:1506.02753; He et al.
2019, ACSAC, as the "inverse network" against split inference).

    minimize  mean (r(payload) - x)^2

Deviations: a light sub-pixel decoder with a low-rank dense shortcut; early stopping on aux_val; tables get a
perceptron.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View
from privet.nets import Decoder as DecoderNet
from privet.nets import mlp


@dataclass(frozen=True)
class Decoder:
    """Reconstruct the input from the payload."""

    summary: ClassVar[str] = "a network that reconstructs the input from the payload"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset({"pairs"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(2e-3),)
    standardize: ClassVar[bool] = True

    def features(self, view: View) -> Tensor:
        """The whole payload [N, P]."""
        return view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Payload to pictures, or to table rows."""
        inputs = view.flat.shape[1]
        if len(output) == 3:
            return DecoderNet(inputs, output)
        return nn.Sequential(mlp(inputs, (256, 256), output[0], dropout=0.0), nn.Sigmoid())
