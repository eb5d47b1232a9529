"""Fine-tuned probe: the server's own weights, trained on for the hidden attribute (transfer as in Song and Shmatikov
2019, "Overlearning reveals sensitive attributes", section 3: features learned for one task serve another).

    minimize  CE(h'(z'), s),  h' starting from the server's weights

Deviations: the last layer is drawn anew, with as many outputs as the attribute has values; all layers learn; learning
rate chosen on aux_val.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from torch import Tensor, nn

from privet.attack import Goal, Need, Setting, View, public, template
from privet.nets import reheaded


@dataclass(frozen=True)
class FinetunedProbe:
    """The server half, trained on for another question."""

    summary: ClassVar[str] = "the server's own weights, trained on for the hidden attribute"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset({"labels", "obfuscator", "architecture"})
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3, 1e-2), Setting(3e-4, 1e-1), Setting(3e-3, 1e-4))
    standardize: ClassVar[bool] = False

    def features(self, view: View) -> Tensor:
        """The public representation z' [N, *shape]."""
        return public(self, view)

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        """z' to logits."""
        return reheaded(template(self, view), self.features(view), output[0], keep=True)
