"""Linear split: the cut moves behind the server's first linear operator, before its bias (the control for Samragh et
al. 2021, arXiv:2104.11413, Definition 2: what keeping the whole signal content amounts to).

    W = U S V^T of rank r,   u = W z = U S (alpha_1 .. alpha_r),   alpha_k = u_k^T u / s_k;   payload = u

The r coefficients of the signal content and u are a linear bijection of each other: whoever sends all of them has run
one more linear layer on the edge and hidden nothing beyond that.

Deviations: a reference, not a published method. All m values of u travel, also where r < m; the log says which of u and
z is larger. What stands in front of the operator and is affine (batch normalization) is folded into W.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

from torch import Tensor, nn

from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.defenses.none import RawObfuscator
from privet.operators import LinearOperator, find
from privet.split import Split
from privet.train import Effort


class Applied(nn.Module):
    """z [B, *shape] -> W z, the server's first operator without its constant, as a layer of the edge."""

    weight: Tensor

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.operator = replace(operator, rest=nn.Identity())  # the edge does not carry the server's weights
        self.register_buffer("weight", operator.weight.float())

    def forward(self, z: Tensor) -> Tensor:
        return self.operator.linear(z, self.weight)


class Shifted(nn.Module):
    """u -> rest(u + constant): what the server still computes."""

    constant: Tensor

    def __init__(self, operator: LinearOperator) -> None:
        super().__init__()
        self.register_buffer("constant", operator.constant.float())
        self.rest = operator.rest

    def forward(self, u: Tensor) -> Tensor:
        return cast(Tensor, self.rest(u + self.constant))


@dataclass(frozen=True)
class LinearSplit:
    """Run the server's first linear operator on the edge and send its result without the bias."""

    summary: ClassVar[str] = "the cut moves behind the server's first linear layer: all that removing null content does"
    moves_cut: ClassVar[bool] = True
    adaptive: ClassVar[str] = (
        "nothing in it can fool an attacker: every probe reads W z as it stands, and whoever knows the public W can "
        "solve it for the signal content of z"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "inversion")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Nothing to learn; the operator moves to the edge.

        Raises CutError where the server does not begin with a fully connected layer or a convolution.
        """
        split = split.copy()
        operator = find(split.server, split.shape)
        moved = replace(
            split,
            edge=nn.Sequential(split.edge, Applied(operator)),
            server=Shifted(operator).eval(),
            cut=f"{split.cut} (linear)",
            shape=tuple(operator.constant.shape),
        )
        m, n = operator.outputs, operator.inputs
        log = {"values_sent": m, "values_at_cut": n, "larger": "z" if n > m else "u" if m > n else "neither"}
        why = "a linear map hides only its null space, and what it keeps is measured by attack"
        defended = Defended.of(moved, RawObfuscator(moved.shape), why, **log)
        return replace(defended, flags=("nothing_removed",) if m >= n else ())

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear operator."""
        find(split.server, split.shape)
