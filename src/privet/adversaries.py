"""Adversaries trained beside a defense: fresh networks that read z' and the three ways in which failing them counts.

    error     min(CE(a(z'), s), H(s))        maximize what the adversary gets wrong, up to chance
    prior     -KL(pi || softmax a(z'))       make it answer with the shares pi that everybody knows
    entropy   H(softmax a(z'))               make it answer with anything, evenly

An adversary that does worse than the prior of s earns the defender nothing more, hence H(s) in the first: without that
bound the objective has no minimum, and a network "hides" s by making one adversary confidently wrong, which the next
one undoes. The other two are bounded as they stand.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from typing import Literal

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.nets import mlp, reheaded
from privet.split import Split

RATE = 1e-3
STEPS = 5
LARGEST = 3
Hide = Literal["error", "prior", "entropy"]


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled rows (-1 = missing) of logits [B, K], in nats; 0 where no row is labelled."""
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step downhill."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


class Adversary:
    """a: a network with fresh weights, from z' [B, *shape] to logits [B, S] of one hidden attribute, the `column` of s.

    `known` are the labels to learn from (-1 = missing); their shares are pi, and `prior` is H(s) in nats."""

    def __init__(
        self, build: Callable[[], nn.Module], known: Tensor, classes: int, column: int = 0, rate: float = RATE
    ) -> None:
        self.build, self.column, self.rate = build, column, rate
        share = torch.bincount(known[known >= 0], minlength=classes).double() / max(1, int((known >= 0).sum()))
        self.share = share.float()
        self.prior = float(-(share * share.clamp_min(1e-300).log()).sum())
        self.renew()

    def renew(self) -> None:
        """Forget everything."""
        self.network = self.build()
        self.optimizer = torch.optim.Adam(self.network.parameters(), lr=self.rate, fused=True)

    def learn(self, z: Tensor, s: Tensor) -> None:
        """A step on CE(a(z'), s) in training mode; z' gets no gradient."""
        self.network.train()
        descend(self.optimizer, cross_entropy(self.network(z.detach()), s[:, self.column]))

    def credit(self, z: Tensor, s: Tensor, hide: Hide = "error") -> tuple[Tensor, Tensor]:
        """What the defender earns, with a gradient for z' alone, and CE(a(z'), s) itself."""
        labels = s[:, self.column]
        self.network.requires_grad_(False)
        logits = self.network(z)
        self.network.requires_grad_(True)
        nats = cross_entropy(logits, labels)
        if hide == "error":
            return nats.clamp_max(self.prior), nats.detach()
        log = logits.log_softmax(1)
        if hide == "entropy":
            return -(log.exp() * log).sum(1).mean(), nats.detach()
        share = self.share.to(log)
        return (share * (log - share.clamp_min(1e-12).log())).sum(1).mean(), nats.detach()


class Adversaries:
    """One to three adversaries for every hidden attribute: the server's architecture, then a perceptron, then a linear
    one. All read the same z' [B, *shape]; every `renewed` epochs they start afresh (never where None)."""

    def __init__(
        self,
        split: Split,
        s: Tensor,
        classes: Sequence[int],
        *,
        count: int = 1,
        hide: Hide = "error",
        rate: float = RATE,
        renewed: int | None = None,
    ) -> None:
        self.hide, self.renewed = hide, renewed
        self.all = [
            Adversary(build, s[:, column], size, column, rate)
            for column, size in enumerate(classes)
            for build in architectures(split, size)[:count]
        ]

    @property
    def networks(self) -> list[nn.Module]:
        """Their networks, as they are now."""
        return [one.network for one in self.all]

    @property
    def prior(self) -> float:
        """The mean of H(s), in nats."""
        return sum(one.prior for one in self.all) / len(self.all)

    def first(self, names: Sequence[str]) -> dict[str, nn.Module]:
        """For each attribute, in the order of the columns, the adversary of the server's architecture."""
        found = {one.column: one.network.eval() for one in reversed(self.all)}
        return {name: found[column] for column, name in enumerate(names)}

    def put_back(self, networks: Sequence[nn.Module]) -> None:
        """Networks of an earlier epoch in place of those there are; nothing is to be learned after it."""
        for one, network in zip(self.all, networks, strict=True):
            one.network = network

    def probes(self) -> list[Adversary]:
        """For each attribute an adversary of the first architecture, with fresh weights of its own."""
        found = [copy.copy(one) for one in {a.column: a for a in reversed(self.all)}.values()]
        for one in found:
            one.renew()
        return found

    def begin(self, epoch: int) -> None:
        """Start afresh where this epoch (0, 1, ...) says so."""
        if self.renewed and epoch and epoch % self.renewed == 0:
            for one in self.all:
                one.renew()

    def learn(self, z: Tensor, s: Tensor) -> None:
        """A few steps of each on z' [B, *shape] and s [B, attributes]; with a step for a step they would run after a
        network that only moves away, and a fresh adversary would find everything."""
        for one in self.all:
            for _ in range(STEPS):
                one.learn(z, s)

    def credit(self, z: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """The means of what they earn the defender and of their cross-entropies."""
        earned, nats = zip(*(one.credit(z, s, self.hide) for one in self.all), strict=True)
        return torch.stack(earned).mean(), torch.stack(nats).mean()


def architectures(split: Split, classes: int) -> list[Callable[[], nn.Module]]:
    """Builders of fresh networks from z' [B, *shape] to logits [B, classes], where the halves are."""
    device = next((p.device for half in (split.edge, split.server) for p in half.parameters()), torch.device("cpu"))
    server, z = copy.deepcopy(split.server).cpu(), torch.zeros(2, *split.shape)
    width = z[0].numel()
    return [
        lambda: reheaded(server, z, classes).to(device),
        lambda: nn.Sequential(nn.Flatten(), mlp(width, (128,), classes)).to(device),
        lambda: nn.Sequential(nn.Flatten(), nn.Linear(width, classes)).to(device),
    ]
