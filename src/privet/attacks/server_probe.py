"""Server probe: the server's own architecture, fresh weights, trained on the hidden attribute, as the adversary of
Samragh et al. 2021 (section 5.1).

    minimize  CE(h'(z'), s)

Deviations: the last layer has as many outputs as the attribute has values; learning rate chosen on aux_val.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View, public, template
from privet.nets import reheaded


@dataclass(frozen=True)
class ServerProbe:
    """The server half, trained again for another question."""

    summary: ClassVar[str] = "the server's architecture, trained afresh on the public representation z'"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "obfuscator", "architecture"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2), Setting(3e-3, 1e-4), Setting(3e-4, 1.0))
    standardize: ClassVar[bool] = False

    def features(self, view: View) -> Tensor:
        """The public representation z' [N, *shape]."""
        return public(self, view)

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """z' to logits."""
        return reheaded(template(self, view), self.features(view), output[0])
