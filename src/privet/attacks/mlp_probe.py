"""MLP probe: two hidden layers on the standardized payload, the usual attribute-inference adversary (Song and Shmatikov
2019, "Overlearning reveals sensitive attributes").

    minimize  CE(mlp(payload), s)

Deviations: batch normalization and dropout; learning rate and weight decay chosen on aux_val.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View
from privet.nets import mlp


@dataclass(frozen=True)
class MlpProbe:
    """A perceptron with two hidden layers of `width`."""

    summary: ClassVar[str] = "two hidden layers on the standardized payload"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2), Setting(3e-4, 1.0), Setting(3e-3, 1e-4))
    standardize: ClassVar[bool] = True
    width: int = 256

    def features(self, view: View) -> Tensor:
        """The whole payload [N, P]."""
        return view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Payload to logits."""
        return mlp(view.flat.shape[1], (self.width, self.width), output[0])
