"""Both halves trained further, together: the owner's examples, a co-trained adversary, and the one loop over epochs
that the defenses which train the network share, so that their budgets are equal.

    minimize  CE(h(z'), y) + penalty(x) - gamma * min(CE(a(z'), s), H(s)),   while a minimizes CE(a(z'), s)

An adversary that does worse than the prior of s earns the defender nothing more, hence H(s): without that bound the
objective has no minimum, and a network "hides" s by making one adversary confidently wrong, which the next one undoes.
Everything here learns from task_train and is chosen on task_val; no other part of a corpus is read.
"""

from __future__ import annotations

import copy
import math
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.data.corpus import Corpus, Part
from privet.errors import CutError, DataError, SpecError, unknown
from privet.nets import reheaded
from privet.split import Split
from privet.train import Effort, Progress, batches, channels_last, inputs

RATE = 1e-3
WARM_UP = 5
STEPS = 5
FASTER = 100
VAL_BATCH = 256
Encode = Callable[[Tensor], tuple[Tensor, Tensor]]


def check_trainable(split: Split, method: str, halves: Iterable[str] = ("edge", "server")) -> None:
    """Refuse halves that a method has to train and cannot.

    Raises SpecError for a frozen half and for a place behind another link of a chain, CutError for a half traced by
    torch.export.
    """
    wanted = tuple(halves)
    if kept := [half for half in wanted if half in split.frozen]:
        raise SpecError(
            f"{method} trains the {' and '.join(kept)} half, which is frozen; leave out --freeze, or take a defense "
            f"for a fixed network, such as gaussian or signal_content"
        )
    if wanted and split.tracer == "export":
        raise CutError(
            f"{method} trains the network, and the cut {split.cut!r} was traced by torch.export, which bakes eval mode "
            f"in; give the halves yourself, Split(edge, server), or take a defense for a fixed network: gaussian, say"
        )
    if "edge" in wanted and hasattr(split.edge, "emits_noise"):
        raise SpecError(f"{method} trains the edge half, so no defense may stand before it; make it the chain's first")


def hidden_attribute(corpus: Corpus, name: str) -> str:
    """The attribute to hide: the named one, or the first where the name is empty. SpecError with the legal ones."""
    if name and name not in corpus.hidden:
        raise SpecError(unknown("hidden attribute", name, corpus.hidden))
    if not corpus.hidden:
        raise SpecError("this corpus hides no attribute, and the method needs one to hide; name it with --hidden")
    return name or corpus.hidden[0]


def check_weight(name: str, value: float, of: str) -> None:
    """Raise SpecError where the weight of a term of the objective is negative or not a number."""
    if not (math.isfinite(value) and value >= 0):
        raise SpecError(f"{name} weighs {of} and is a finite number of at least 0, got {value}")


def device_of(split: Split) -> torch.device:
    """Where the halves' parameters are (the CPU where there are none)."""
    parameters = (p.device for half in (split.edge, split.server) for p in half.parameters())
    return next(parameters, torch.device("cpu"))


@contextmanager
def seeded(seed: int, device: torch.device) -> Iterator[np.random.Generator]:
    """torch's generators set for dropout and fresh weights and put back afterwards; gives one for batches and noise."""
    with torch.random.fork_rng(devices=[device] if device.type == "cuda" else []):
        torch.manual_seed(seed)
        yield np.random.default_rng([seed, 11])


def cross_entropy(logits: Tensor, labels: Tensor) -> Tensor:
    """Mean over the labelled rows (-1 = missing) of logits [B, K], in nats; 0 where no row is labelled."""
    total = F.cross_entropy(logits, labels, ignore_index=-1, reduction="sum")
    return total / (labels >= 0).sum().clamp_min(1)


@dataclass(frozen=True)
class Batch:
    """Inputs x [B, *input], targets y [B] and hidden labels s [B], both -1 where missing."""

    x: Tensor
    y: Tensor
    s: Tensor


@dataclass(frozen=True)
class Examples:
    """The rows of one part that carry the target or the hidden label; s is -1 throughout where nothing is hidden."""

    x: np.ndarray[Any, Any]
    y: Tensor
    s: Tensor
    device: torch.device

    @classmethod
    def of(cls, part: Part, attribute: str | None, device: torch.device) -> Examples:
        """The labelled rows of a part."""
        s = part.s[attribute] if attribute else np.full(len(part), -1, np.int64)
        rows = np.flatnonzero((part.y >= 0) | (s >= 0))
        return cls(part.x[rows], torch.from_numpy(part.y[rows]), torch.from_numpy(s[rows]), device)

    def __len__(self) -> int:
        return len(self.y)

    def batch(self, index: np.ndarray[Any, Any] | slice) -> Batch:
        """Some of the rows, on the device."""
        x = inputs(self.x[index], self.device)
        return Batch(x, self.y[index].to(self.device), self.s[index].to(self.device))


@dataclass(frozen=True)
class Owner:
    """What the owner of the data learns from and chooses by."""

    train: Examples
    val: Examples

    @classmethod
    def of(cls, corpus: Corpus, attribute: str | None, device: torch.device) -> Owner:
        """task_train and task_val. Raises DataError where task_train has fewer than 2 examples with a target, or with
        the hidden label."""
        train = Examples.of(corpus.task_train, attribute, device)
        val = Examples.of(corpus.task_val, attribute, device)
        asked = ((corpus.target, train.y), *([(attribute, train.s)] if attribute else []))
        for name, labels in asked:
            if (known := int((labels >= 0).sum())) < 2:
                raise DataError(
                    f"the part task_train has {known} examples labelled with {name!r}; training needs at least 2"
                )
        return cls(train, val)


class Adversary:
    """a: the server's architecture with fresh weights, from z' [B, *shape] to logits [B, S] of the hidden attribute."""

    def __init__(self, split: Split, classes: int, s: Tensor) -> None:
        server = copy.deepcopy(split.server).cpu()
        self.network = reheaded(server, torch.zeros(2, *split.shape), classes).to(device_of(split))
        self.optimizer = adam(self.network)
        share = torch.bincount(s[s >= 0], minlength=classes).double() / max(1, int((s >= 0).sum()))
        self.prior = float(-(share * share.clamp_min(1e-300).log()).sum())

    def learn(self, z: Tensor, s: Tensor) -> None:
        """A few steps on CE(a(z'), s) in training mode; z' gets no gradient."""
        self.network.train()
        for _ in range(STEPS):
            descend(self.optimizer, cross_entropy(self.network(z.detach()), s))

    def confusion(self, z: Tensor, s: Tensor) -> tuple[Tensor, Tensor]:
        """min(CE(a(z'), s), H(s)) with a gradient for z' alone, and CE(a(z'), s) itself."""
        self.network.requires_grad_(False)
        loss = cross_entropy(self.network(z), s)
        self.network.requires_grad_(True)
        return loss.clamp_max(self.prior), loss.detach()


@dataclass(frozen=True)
class Game:
    """Who learns what. `encode` maps x to z' and to the penalty of this representation (0 where there is none);
    `players` are in training mode while they learn, and the state of their best epoch is kept."""

    encode: Encode
    server: nn.Module
    players: tuple[nn.Module, ...]
    adversary: Adversary | None = None
    gamma: float = 0.0

    def objective(self, batch: Batch, z: Tensor, penalty: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """CE(h(z'), y) + penalty - gamma * min(CE(a(z'), s), H(s)), and sums to look at."""
        logits = self.server(z)
        loss = cross_entropy(logits, batch.y) + penalty
        seen = {"right": (logits.argmax(1) == batch.y).sum()}
        if self.adversary is not None:
            credit, seen["adversary"] = self.adversary.confusion(z, batch.s)
            loss = loss - self.gamma * credit
        return loss, seen


@dataclass(frozen=True)
class Plan:
    """How the epochs run: the optimizer of the players, what surrounds the training of an epoch, and the states of the
    network under which task_val is judged (their mean counts)."""

    optimizer: torch.optim.Optimizer
    epoch: Callable[[], AbstractContextManager[Any]] = nullcontext
    views: Sequence[Callable[[], AbstractContextManager[Any]]] = field(default=(nullcontext,))


def adam(*networks: nn.Module, noise: nn.Module | None = None) -> torch.optim.Adam:
    """Adam at the rate that all of these methods share. Logarithms of noise scales learn a hundred times as fast: they
    have several units to go where weights have hundredths, and an effort may be a few hundred steps."""
    groups: list[dict[str, Any]] = [{"params": [p for network in networks for p in network.parameters()]}]
    if noise is not None:
        groups.append({"params": list(noise.parameters()), "lr": FASTER * RATE})
    return torch.optim.Adam([group for group in groups if group["params"]], lr=RATE, fused=True)


def descend(optimizer: torch.optim.Optimizer, loss: Tensor) -> None:
    """One step downhill."""
    optimizer.zero_grad(set_to_none=True)
    loss.backward()  # type: ignore[no-untyped-call]
    optimizer.step()


def play(
    game: Game, plan: Plan, owner: Owner, *, effort: Effort, generator: np.random.Generator, progress: Progress = None
) -> dict[str, Any]:
    """Train the players in place; returns the log.

    `effort.task_epochs` epochs with Adam's rate divided by ten after 40 % and 80 % of them (Samragh et al. 2021, 5.1,
    scaled to the effort). An adversary first learns alone, for at most 5 epochs; then, batch by batch, it takes five
    steps and the players one; its own rate stays. With a step for a step it runs after a network that only moves away,
    and a fresh adversary finds everything. The epoch kept is the one with the lowest objective on
    task_val among those at the lowest rate: earlier ones are better only because the game has not been played.

    Raises SpecError where the losses stop being numbers.
    """
    epochs = effort.task_epochs
    drops = [max(1, round(epochs * share)) for share in (0.4, 0.8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(plan.optimizer, drops)
    alone = min(WARM_UP, epochs) if game.adversary else 0
    learners = (*game.players, *([game.adversary.network] if game.adversary else []))
    best, states, history = math.inf, [copy.deepcopy(p.state_dict()) for p in game.players], []
    chosen = epochs
    with channels_last(*learners):
        _mode(game, training=False)
        for epoch in range(alone):
            for index in batches(len(owner.train), effort.batch, generator):
                _teach(game, owner.train.batch(index))
            if progress:
                progress(epoch + 1, alone + epochs)
        for epoch in range(epochs):
            _mode(game, training=True)
            with plan.epoch():
                for index in batches(len(owner.train), effort.batch, generator):
                    _round(game, plan, owner.train.batch(index))
            schedule.step()
            history.append(_judge(game, owner.val, plan.views))
            if not math.isfinite(history[-1]["objective"]):
                raise SpecError(f"training came apart in epoch {epoch + 1}: a loss is not a number; lower its weights")
            if epoch >= min(drops[1], epochs - 1) and history[-1]["objective"] <= best:
                best, chosen = history[-1]["objective"], epoch + 1
                states = [copy.deepcopy(p.state_dict()) for p in game.players]
            if progress:
                progress(alone + epoch + 1, alone + epochs)
    for player, state in zip(game.players, states, strict=True):
        player.load_state_dict(state)
    _mode(game, training=False)
    names = history[0] if history else ()
    return {f"task_val_{name}": [h[name] for h in history] for name in names} | {"epoch_kept": chosen}


def _mode(game: Game, *, training: bool) -> None:
    for player in game.players:
        player.train(training)


@torch.no_grad()
def _represent(game: Game, batch: Batch) -> Tensor:
    return game.encode(batch.x)[0]


def _teach(game: Game, batch: Batch) -> None:
    if game.adversary is not None:
        game.adversary.learn(_represent(game, batch), batch.s)


def _round(game: Game, plan: Plan, batch: Batch) -> None:
    """The adversary's steps, then the players', on the same z'."""
    z, penalty = game.encode(batch.x)
    if game.adversary is not None:
        game.adversary.learn(z, batch.s)
    descend(plan.optimizer, game.objective(batch, z, penalty)[0])


@torch.no_grad()
def _judge(game: Game, val: Examples, views: Sequence[Callable[[], AbstractContextManager[Any]]]) -> dict[str, float]:
    """Mean objective, accuracy and, where there is one, the adversary's cross-entropy (nats) on task_val, eval mode."""
    _mode(game, training=False)
    if game.adversary is not None:
        game.adversary.network.eval()
    sums = {"objective": 0.0, "accuracy": 0.0} | ({"adversary_nats": 0.0} if game.adversary else {})
    for view in views:
        with view():
            for start in range(0, len(val), VAL_BATCH):
                batch = val.batch(slice(start, start + VAL_BATCH))
                loss, seen = game.objective(batch, *game.encode(batch.x))
                sums["objective"] += float(loss) * len(batch.y) / len(val)
                sums["accuracy"] += float(seen["right"]) / max(1, int((val.y >= 0).sum()))
                if game.adversary is not None:
                    sums["adversary_nats"] += float(seen["adversary"]) * len(batch.y) / len(val)
    return {name: total / len(views) for name, total in sums.items()}
