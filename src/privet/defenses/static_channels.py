"""Learned channels, the same for everybody: DISCO without its filter (the static control of Singh et al. 2021,
arXiv:2012.11025; one free score a channel, as Liu et al. 2017, arXiv:1708.06519, learn one to slim a network).

    M = 1 for the K = C - floor(ratio C) largest of the free scores s, else 0,   z' = M * z;   payload = the kept z
    f, h minimize CE(h(sg[M] * z), y),   a minimizes CE(a(z'), s),   the scores minimize what DISCO's filter minimizes

Both sides know the set, so no mask travels and none can tell. What DISCO of the same mode hides beyond this is what
choosing for each person is worth.

Deviations: those of `disco`; the scores have no penalty on their size, because K is given. Masks are soft at first
(`mode=soft`): under hard ones from the start, a free score that begins below the threshold rarely learns what its
channel is worth, since the server never sees it, and the draw decides instead of the target.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

import torch
from torch import Tensor, nn

from privet.channels import FixedChannels, FixedTokens, Masked, standardized, strongest
from privet.defense import Obfuscator
from privet.defenses.disco import Disco
from privet.filtering import Mode


class FreeScores(nn.Module):
    """A score for every channel, whatever z is: [B, *shape] -> [B, C]."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.scores = nn.Parameter(0.1 * torch.randn(1, channels))  # standardized below: a small start is a fast one

    def forward(self, z: Tensor) -> Tensor:
        return standardized(self.scores).expand(len(z), -1)


@dataclass(frozen=True)
class StaticChannels(Disco):
    """Prune the share `ratio` of the channels, the same for everybody, chosen in training to hide `attribute` (the
    first hidden one where empty) with weight `alpha`."""

    dynamic: ClassVar[bool] = False
    summary: ClassVar[str] = "one learned set of channels is pruned for everybody, to hide an attribute"
    adaptive: ClassVar[str] = (
        "the kept channels are known and travel as they are, and were chosen against the adversaries met in training: "
        "fresh attackers of every family read them, for every hidden attribute"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("server_probe", "informed_probe", "finetuned_probe")

    mode: Mode = "soft"

    def chooser(self, shape: tuple[int, ...], axis: int) -> nn.Module:
        """One free score a channel."""
        return FreeScores(shape[axis])

    def shipped(self, learned: Masked, keep: int) -> Obfuscator:
        """The set that was learned, without its scores."""
        assert learned.chooser is not None
        parameter = next(learned.chooser.parameters())
        index = strongest(learned.scores(parameter.new_zeros(1, *learned.shape)), keep)[0].tolist()
        kind = FixedTokens if self.prune == "tokens" else FixedChannels
        return kind(learned.shape, learned.axis, index, self.dtype).to(parameter.device)
