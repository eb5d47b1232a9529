"""Channel pruning by magnitude, static: keep the channels that are largest on the owner's data, for everybody and for
good (the activation criterion "mean-l1" of Li et al. 2016, "Pruning filters for efficient ConvNets", arXiv:1608.08710,
section 4.5; here the static baseline beside the learned filter of Singh et al. 2021, "DISCO").

    score_c = mean over people i and places p of |z_i,c,p|,   payload = z_c for the K largest scores,   z'_c = z_c or 0

K = C - floor(ratio * C); h minimizes CE(h(z'), y). Not `feature_l1`, which ranks by what the server's next layer weighs
and never looks at data: here the activations rank and the server is not asked, so any server will do.

Deviations: the criterion is what Li et al. compare their weight norms with, and found weaker at equal compression; they
take it in front of normalization and activation, here it is taken of z as the cut gives it. Channels leave the payload
and not the network. The mean is over task_train, labelled or not, and taken once. The server is fine-tuned behind the
mask, the edge is not; kept values are not rescaled.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import ClassVar, cast

from torch import Tensor

from privet.channels import FixedChannels, axis_of, check_ratio, count_kept, strongest
from privet.data.corpus import Corpus
from privet.defense import Defended, Progress
from privet.joint import device_of
from privet.split import Split
from privet.train import Effort, fine_tune_server, predict


@dataclass(frozen=True)
class ChannelL1:
    """Prune the share `ratio` of the channels (of the units of a vector, of the features of a sequence) whose mean
    magnitude is smallest."""

    summary: ClassVar[str] = "keeps the channels of largest mean magnitude on the owner's data, the same for everybody"
    adaptive: ClassVar[str] = (
        "the kept channels are known and travel as they are: every probe reads them, and a decoder fills in the pruned "
        "ones from what they share with the kept; a channel that is large is not one that is harmless"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "decoder", "inversion")
    ratio: float = 0.5

    def __post_init__(self) -> None:
        check_ratio(self.ratio)

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Rank the channels on task_train, then fine-tune the server half behind the mask, unless it is frozen."""
        split = split.copy()
        axis = axis_of(split.shape)
        channels = split.shape[axis]
        keep = count_kept(channels, self.ratio)
        split.edge.eval()

        def look(x: Tensor) -> Tensor:
            return magnitudes(cast(Tensor, split.edge(x)), axis)

        score = predict(look, corpus.task_train.x, device_of(split)).double().mean(0)
        index = [int(c) for c in strongest(score[None], keep)[0]]
        obfuscator = FixedChannels(split.shape, axis, index)
        log = fine_tune_server(split, obfuscator, corpus, effort=effort, seed=seed, progress=progress)
        share = float(score[index].sum() / score.sum().clamp_min(1e-30))
        why = "kept channels travel as they are; what they tell is measured by attack"
        found = Defended.of(split, obfuscator, why, kept=index, channels=channels, share_of_magnitude=share, **log)
        return replace(found, flags=("nothing_removed",) if keep == channels else ())


def magnitudes(z: Tensor, axis: int) -> Tensor:
    """Mean |z| of each channel of each example, over its places: z [B, *shape] to [B, C]."""
    size = z.abs().movedim(axis + 1, 1)
    return size.flatten(2).mean(2) if size.dim() > 2 else size
