"""One more layer: the cut moves behind the server's first activation (the control that any attacker without a limit of
compute reaches from `linear_split`; cf. Samragh et al. 2021, arXiv:2104.11413, Figure 3, where depth alone hides).

    payload = a = act(W z + b);   the server goes on from a

Whoever holds W z computes a, so for the price of the same layer on the edge this hides at least as much as removing the
null content of z does, and it distorts as little: not at all.

Deviations: a reference, not a published method. The activation is the first operator behind W that is not affine, a
pooling included where it comes first.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar

import torch
from torch import nn

from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.linear_split import Applied, Shifted
from privet.defenses.none import RawObfuscator
from privet.operators import advance, find
from privet.split import Split
from privet.train import Effort


@dataclass(frozen=True)
class OneMoreLayer:
    """Run the server's first linear operator and its activation on the edge."""

    summary: ClassVar[str] = "the cut moves behind the server's first activation"
    moves_cut: ClassVar[bool] = True
    adaptive: ClassVar[str] = "nothing in it can fool an attacker: it is an ordinary split one layer deeper"
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "decoder", "inversion")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Nothing to learn; operator and activation move to the edge.

        Raises CutError where the server does not begin with a fully connected layer or a convolution that an activation
        follows.
        """
        split = split.copy()
        operator = find(split.server, split.shape)
        activation, behind = advance(operator.rest)
        moved_edge = nn.Sequential(split.edge, Applied(operator), Shifted(replace(operator, rest=activation))).eval()
        with torch.no_grad():
            a = Shifted(replace(operator, rest=activation))(torch.zeros_like(operator.constant)[None].float())
        moved = replace(
            split, edge=moved_edge, server=behind.eval(), cut=f"{split.cut} (activation)", shape=tuple(a.shape[1:])
        )
        log = {"values_sent": a.numel(), "values_at_cut": operator.inputs}
        why = "an ordinary cut one layer deeper; what it hides is measured by attack"
        return Defended.of(moved, RawObfuscator(moved.shape), why, **log)

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear operator and an activation."""
        advance(find(split.server, split.shape).rest)
