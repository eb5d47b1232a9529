"""Linear probe: multinomial logistic regression on the standardized payload (Alain and Bengio 2016, arXiv:1610.01644).

    minimize  CE(W payload + b, s)

Deviations: fitted by Adam with early stopping on aux_val; the weight decay is chosen there too.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View


@dataclass(frozen=True)
class LinearProbe:
    """One linear layer."""

    summary: ClassVar[str] = "logistic regression on the standardized payload"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-1), Setting(3e-4, 1.0), Setting(3e-3, 1e-3))
    standardize: ClassVar[bool] = True

    def features(self, view: View) -> Tensor:
        """The whole payload [N, P]."""
        return view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """Payload to logits."""
        layer = nn.Linear(view.flat.shape[1], output[0])
        nn.init.zeros_(layer.weight)
        nn.init.zeros_(layer.bias)
        return layer
