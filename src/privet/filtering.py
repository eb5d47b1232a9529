"""The game of learned channel pruning (Singh et al. 2021): a client, a filter, a server and adversaries, each with a
gradient of its own and one backward pass.

    adversaries   minimize CE(a(sg[z']), s)
    client, server  minimize CE(h(sg[M] * f(x)), y)
    filter        minimizes (1 - alpha) CE(h(z'), y) - alpha credit(z', s),   z' = M * sg[z],   M = mask(q(sg[z]))

Both last losses reach z' first: what they say there is worked out once and then handed to whoever may hear it. So the
client never hears of the adversaries, and no network is run through twice.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import torch
from torch import Tensor, nn

from privet.adversaries import Adversaries, cross_entropy
from privet.channels import Masked, soft_mask, straight_through
from privet.joint import Batch, Game

Mode = Literal["ste", "soft", "gumbel"]
CLIP = 1.0


@dataclass(frozen=True, kw_only=True)
class Filtering(Game):
    """Learned pruning as a game. `shield` keeps the adversaries' gradient from the client; `through` lets the target's
    reach it through the filter, too; `soft` gives the temperature of the soft mask while it is warming up, then None.
    """

    edge: nn.Module
    obfuscator: Masked
    chooser: nn.Module
    adversaries: Adversaries
    alpha: float
    mode: Mode
    temperature: float
    shield: bool
    frozen: frozenset[str]
    soft: Callable[[], float | None]
    through: bool = False

    def learn(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """One step of everybody, adversaries first."""
        with torch.set_grad_enabled("edge" not in self.frozen):
            z = self.edge(batch.x)
        seen = z.detach().requires_grad_(self.through)
        mask = self.mask(self.chooser(seen))
        gate, value = mask.detach().requires_grad_(), z.detach().clone().requires_grad_()
        pruned = self.obfuscator.prune(value, gate)
        sent = pruned.detach().requires_grad_()
        self.adversaries.learn(sent, batch.s)

        optimizer.zero_grad(set_to_none=True)
        credit, _ = self.adversaries.credit(sent, batch.s)
        hide = torch.autograd.grad(-credit, sent)[0]
        cross_entropy(self.server(sent), batch.y).backward()  # type: ignore[no-untyped-call]
        assert sent.grad is not None
        told = sent.grad if self.shield else sent.grad + self.alpha / (1 - self.alpha) * hide
        if z.requires_grad:
            heard = torch.autograd.grad(pruned, value, told, retain_graph=True)[0]
            if self.through:
                choice = torch.autograd.grad(pruned, gate, sent.grad, retain_graph=True)[0]
                heard = heard + torch.autograd.grad(mask, seen, choice, retain_graph=True)[0]
            z.backward(heard)
        wish = torch.autograd.grad(pruned, gate, (1 - self.alpha) * sent.grad + self.alpha * hide)[0]
        mask.backward(wish)  # type: ignore[no-untyped-call]
        nn.utils.clip_grad_norm_(self.chooser.parameters(), CLIP)
        optimizer.step()

    def mask(self, scores: Tensor) -> Tensor:
        """M [B, C] as training uses it: hard with the soft one's gradient, soft while warming up."""
        keep, heat = self.obfuscator.keep, self.soft()
        if heat is not None:
            return soft_mask(scores, keep, heat)
        if self.mode == "gumbel":
            scores = scores - torch.rand_like(scores).clamp(1e-9, 1 - 1e-7).log().neg().log()
        return straight_through(scores, keep, self.temperature)
