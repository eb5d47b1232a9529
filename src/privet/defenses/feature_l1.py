"""L1 feature pruning: keep the features that the server's next layer weighs most (Li et al. 2016, "Pruning filters for
efficient ConvNets", arXiv:1608.08710; the unsupervised baseline of Samragh et al. 2021, arXiv:2104.11413, section 5.2).

    score_j = sum_o |W_oj|,   payload = z_j for the m' largest scores,   z'_j = z_j or 0;   h minimizes CE(h(z'), y)

In front of a convolution a feature is an input channel and its score the L1 norm of that channel's kernels.

Deviations: scores are those of the trained layer with any batch normalization in front of it folded in, and are taken
once; features are zeroed before that normalization. The server is fine-tuned as everywhere here (Adam, the best epoch
on task_val), since neither paper gives its schedule for this use.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from typing import Any, ClassVar

from torch import Tensor

from privet.channels import FixedChannels
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.errors import SpecError
from privet.operators import LinearOperator, find
from privet.split import Split
from privet.train import Effort, fine_tune_server


class KeptFeatures(FixedChannels):
    """z of any shape -> its kept features [B, m'] -> z with zeros for the rest."""

    def __init__(self, shape: tuple[int, ...], index: list[int]) -> None:
        super().__init__((math.prod(shape),), 0, index)
        self.shape = shape

    def encode(self, z: Tensor, *noise: Tensor) -> tuple[Tensor, ...]:
        return super().encode(z.flatten(1))

    def decode(self, *tensors: Tensor) -> Tensor:
        return super().decode(*tensors).reshape(-1, *self.shape)


@dataclass(frozen=True)
class FeatureL1:
    """Keep `keep` features of z: an integer is their number m', a fraction a share of them."""

    summary: ClassVar[str] = "keeps the features with the largest weights in the server's next layer, zeroes the rest"
    adaptive: ClassVar[str] = (
        "the kept features are known and travel as they are: every probe reads them; a decoder fills in the pruned "
        "ones from what they share with the kept"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mlp_probe", "decoder")
    keep: int | float = 8
    tune: bool = True

    def __post_init__(self) -> None:
        whole = isinstance(self.keep, int)
        sound = not isinstance(self.keep, bool) and math.isfinite(self.keep) and self.keep > 0
        if not sound or (not whole and self.keep > 1):
            raise SpecError(f"keep is a number of features (1, 2, ...) or a share of them in (0, 1], got {self.keep}")

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Rank the features by the server's first layer, then fine-tune the server, unless it is frozen.

        Raises CutError where the server does not begin with a fully connected layer or a convolution, SpecError where
        m' exceeds the number of features.
        """
        split = split.copy()
        operator = find(split.server, split.shape)
        score = scores(operator)
        kept = self._count(len(score))
        index = sorted(int(j) for j in score.argsort(descending=True, stable=True)[:kept])
        obfuscator: FixedChannels = (
            KeptFeatures(split.shape, index) if operator.conv is None else FixedChannels(split.shape, 0, index)
        ).to(score.device)
        log: dict[str, Any] = {"server_tuned": False, "why": "tune=false"}
        if self.tune:
            log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        share = float(score[index].sum() / score.sum().clamp_min(1e-30))
        why = "kept features travel as they are; what they tell is measured by attack"
        found = Defended.of(split, obfuscator, why, kept=index, features=len(score), share_of_norm=share, **log)
        return replace(found, flags=("nothing_removed",) if kept == len(score) else ())

    def check(self, split: Split) -> None:
        """Refuse a server that does not begin with a linear operator, and more features than there are."""
        self._count(len(scores(find(split.server, split.shape))))

    def _count(self, features: int) -> int:
        kept = self.keep if isinstance(self.keep, int) else math.ceil(self.keep * features - 1e-9)
        if kept > features:
            raise SpecError(
                f"keep={kept} exceeds the {features} features of this cut; the most that means anything is "
                f"keep={features}, which prunes nothing"
            )
        return kept


def scores(operator: LinearOperator) -> Tensor:
    """L1 norm of the weights that read each feature, float64: [n], or [C] in front of a convolution."""
    weight = operator.weight.abs()
    return weight.sum(0) if operator.conv is None else weight.sum((0, 2, 3))
