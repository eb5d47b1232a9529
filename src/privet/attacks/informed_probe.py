"""Informed probe: a perceptron on the payload, a copy of it without its scale, and the server's deeper activations (the
white-box features of Nasr, Shokri and Houmansadr 2019, arXiv:1812.00910, section III; here for attribute inference).

    minimize  CE(mlp([payload, z' / |z'|, activations in front of the server's linear layers]), s)

Norms are taken for each channel of a map and for the whole of a vector, so that a defense that only rescales, as a
soft mask does, hides nothing. Deviations: no gradients among the features, since a payload has no loss of its own; what
a threat does not grant is left out.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.attack import Goal, Need, Setting, View
from privet.nets import mlp


@dataclass(frozen=True)
class InformedProbe:
    """A perceptron with two hidden layers of `width` on everything that can be made of a payload."""

    summary: ClassVar[str] = "two hidden layers on the payload, its copy without scale, and the server's activations"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2), Setting(3e-4, 1.0), Setting(3e-3, 1e-4))
    standardize: ClassVar[bool] = True
    width: int = 256

    def features(self, view: View) -> Tensor:
        """The payload [N, P], z' of norm one (the payload's, where z' is not known) and the activations."""
        z = view.flat if view.z is None or view.z[0].numel() > view.flat.shape[1] else view.z  # else it came in chunks
        bare = F.normalize(z.flatten(2), dim=2) if z.dim() > 2 else F.normalize(z, dim=1)
        hidden = [] if view.hidden is None else [view.hidden]
        return torch.cat([view.flat, bare.flatten(1), *hidden], 1)

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Features to logits."""
        return mlp(self.features(view).shape[1], (self.width, self.width), output[0])
