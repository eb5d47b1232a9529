"""Both halves trained further, together: the owner's examples and the one loop over epochs that the defenses which
train the network share, so that their budgets are equal.

    minimize  CE(h(z'), y) + penalty(x) - gamma * credit(z', s),   while each adversary minimizes CE(a(z'), s)

What credit is, `privet.adversaries` says: min(CE(a(z'), s), H(s)) where nothing else is chosen. Everything here learns
from task_train and is chosen on task_val; no other part of a corpus is read.
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

from privet.adversaries import RATE, Adversaries, cross_entropy, descend
from privet.data.corpus import Corpus, Part
from privet.errors import CutError, DataError, SpecError, unknown
from privet.split import Split
from privet.train import Effort, Progress, batches, channels_last, inputs

WARM_UP = 5
FRESH = 1e-2  # the rate of a fresh network beside trained ones
PROBED = 8  # epochs that a fresh probe learns
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


def check_both_learn(split: Split, method: str) -> None:
    """Refuse halves that cannot be trained, as `check_trainable` does, and with CutError an edge with nothing to
    train."""
    check_trainable(split, method)
    if not any(True for _ in split.edge.parameters()):
        raise CutError(f"the edge half at {split.cut!r} has no parameters, so it cannot learn to hide; cut later")


def hidden_attributes(corpus: Corpus, names: str) -> tuple[str, ...]:
    """The attributes to hide: those named, with a slash between them, or the first where nothing is named.

    SpecError with the legal ones."""
    if not corpus.hidden:
        raise SpecError("this corpus hides no attribute, and the method needs one to hide; name it with --hidden")
    chosen = (names,) if names in corpus.hidden else tuple(names.split("/")) if names else corpus.hidden[:1]
    for name in chosen:
        if name not in corpus.hidden:
            raise SpecError(unknown("hidden attribute", name, corpus.hidden))
    return tuple(dict.fromkeys(chosen))


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


@dataclass(frozen=True)
class Batch:
    """Inputs x [B, *input], targets y [B] and hidden labels s [B, attributes], both -1 where missing."""

    x: Tensor
    y: Tensor
    s: Tensor


@dataclass(frozen=True)
class Examples:
    """The rows of one part that carry the target or a hidden label."""

    x: np.ndarray[Any, Any]
    y: Tensor
    s: Tensor
    device: torch.device

    @classmethod
    def of(cls, part: Part, attributes: Sequence[str], device: torch.device) -> Examples:
        """The labelled rows of a part."""
        s = np.stack([part.s[name] for name in attributes], 1) if attributes else np.empty((len(part), 0), np.int64)
        rows = np.flatnonzero((part.y >= 0) | (s >= 0).any(1))
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
    def of(cls, corpus: Corpus, attributes: Sequence[str], device: torch.device) -> Owner:
        """task_train and task_val. Raises DataError where task_train has fewer than 2 examples with a target, or with
        a hidden label."""
        train = Examples.of(corpus.task_train, attributes, device)
        val = Examples.of(corpus.task_val, attributes, device)
        asked = ((corpus.target, train.y), *((name, train.s[:, i]) for i, name in enumerate(attributes)))
        for name, labels in asked:
            if (known := int((labels >= 0).sum())) < 2:
                raise DataError(
                    f"the part task_train has {known} examples labelled with {name!r}; training needs at least 2"
                )
        return cls(train, val)


@dataclass(frozen=True)
class Game:
    """Who learns what. `encode` maps x to z' and to the penalty of this representation (0 where there is none);
    `players` are in training mode while they learn, and the state of their best epoch is kept: that of the lowest
    objective on task_val, in which adversaries with fresh weights stand for those that were trained beside it."""

    encode: Encode
    server: nn.Module
    players: tuple[nn.Module, ...]
    adversaries: Adversaries | None = None
    gamma: float = 0.0

    def learn(self, batch: Batch, optimizer: torch.optim.Optimizer) -> None:
        """The adversaries' steps, then the players', on the same z'."""
        z, penalty = self.encode(batch.x)
        if self.adversaries is not None:
            self.adversaries.learn(z, batch.s)
        descend(optimizer, self.objective(batch, z, penalty)[0])

    def objective(self, batch: Batch, z: Tensor, penalty: Tensor) -> tuple[Tensor, dict[str, Tensor]]:
        """CE(h(z'), y) + penalty - gamma * credit(z', s), and sums to look at."""
        logits = self.server(z)
        loss = cross_entropy(logits, batch.y) + penalty
        seen = {"right": (logits.argmax(1) == batch.y).sum()}
        if self.adversaries is not None:
            credit, seen["adversary"] = self.adversaries.credit(z, batch.s)
            loss = loss - self.gamma * credit
        return loss, seen


@dataclass(frozen=True)
class Plan:
    """How the epochs run: the optimizer of the players, what surrounds the training of an epoch, and the states of the
    network under which task_val is judged (their mean counts)."""

    optimizer: torch.optim.Optimizer
    epoch: Callable[[], AbstractContextManager[Any]] = nullcontext
    views: Sequence[Callable[[], AbstractContextManager[Any]]] = field(default=(nullcontext,))


def adam(
    *networks: nn.Module, noise: nn.Module | None = None, fresh: nn.Module | None = None, rate: float = RATE
) -> torch.optim.Adam:
    """Adam at the rate that all of these methods share. Logarithms of noise scales learn a hundred times as fast: they
    have several units to go where weights have hundredths, and an effort may be a few hundred steps. A fresh network
    beside trained ones learns at 1e-2, for the same reason."""
    groups: list[dict[str, Any]] = [{"params": [p for network in networks for p in network.parameters()]}]
    for module, own in ((noise, 100 * rate), (fresh, max(FRESH, rate))):
        if module is not None:
            groups.append({"params": list(module.parameters()), "lr": own})
    return torch.optim.Adam([group for group in groups if group["params"]], lr=rate, fused=True)


def play(
    game: Game, plan: Plan, owner: Owner, *, effort: Effort, generator: np.random.Generator, progress: Progress = None
) -> dict[str, Any]:
    """Train the players in place; returns the log.

    `effort.task_epochs` epochs with Adam's rate divided by ten after 40 % and 80 % of them (Samragh et al. 2021, 5.1,
    scaled to the effort). Adversaries first learn alone, for at most 5 epochs; then, batch by batch, they take five
    steps and the players one; their own rate stays. The epoch kept is the one with the lowest objective on task_val
    among those at the lowest rate (earlier ones are better only because the game has not been played), by `judged`
    where adversaries play; they are put back into that epoch as well.

    Raises SpecError where the losses stop being numbers.
    """
    epochs = effort.task_epochs
    drops = [max(1, round(epochs * share)) for share in (0.4, 0.8)]
    schedule = torch.optim.lr_scheduler.MultiStepLR(plan.optimizer, drops)
    alone = min(WARM_UP, epochs) if game.adversaries else 0
    learners = (*game.players, *(game.adversaries.networks if game.adversaries else []))

    def now() -> tuple[list[dict[str, Any]], list[nn.Module]]:
        opponents = game.adversaries.networks if game.adversaries else []
        return [copy.deepcopy(p.state_dict()) for p in game.players], copy.deepcopy(opponents)

    best, chosen, history, (states, opponents) = math.inf, epochs, [], now()
    with channels_last(*learners):
        _mode(game, training=False)
        for epoch in range(alone):
            for index in batches(len(owner.train), effort.batch, generator):
                _teach(game, owner.train.batch(index))
            if progress:
                progress(epoch + 1, alone + epochs)
        for epoch in range(epochs):
            _mode(game, training=True)
            if game.adversaries is not None:
                game.adversaries.begin(epoch)
            with plan.epoch():
                for index in batches(len(owner.train), effort.batch, generator):
                    game.learn(owner.train.batch(index), plan.optimizer)
            schedule.step()
            history.append(_judge(game, owner.val, plan.views))
            if not math.isfinite(history[-1]["objective"]):
                raise SpecError(f"training came apart in epoch {epoch + 1}: a loss is not a number; lower its weights")
            last = epoch >= min(drops[1], epochs - 1)
            if not last:
                value = math.inf
            elif game.adversaries is None:
                value = history[-1]["objective"]
            else:
                value = judged(game, owner, effort, generator)
            if last and value <= best:
                best, chosen, (states, opponents) = value, epoch + 1, now()
            if progress:
                progress(alone + epoch + 1, alone + epochs)
    for player, state in zip(game.players, states, strict=True):
        player.load_state_dict(state)
    if game.adversaries is not None:
        game.adversaries.put_back(opponents)
    _mode(game, training=False)
    names = history[0] if history else ()
    return {f"task_val_{name}": [h[name] for h in history] for name in names} | {"epoch_kept": chosen, "judged": best}


@torch.no_grad()
def represented(game: Game, rows: Examples) -> Tensor:
    """z' [N, ...] of some examples, as it will be sent, in eval mode."""
    _mode(game, training=False)
    return torch.cat([game.encode(rows.batch(slice(i, i + VAL_BATCH)).x)[0] for i in range(0, len(rows), VAL_BATCH)])


def judged(game: Game, owner: Owner, effort: Effort, generator: np.random.Generator) -> float:
    """The objective on task_val where the credit is what probes with fresh weights leave, which learn a few epochs on
    task_train, as cross-entropy up to H(s): an adversary that was trained beside a defense is the last to ask."""
    assert game.adversaries is not None
    z, held = (represented(game, rows) for rows in (owner.train, owner.val))
    earned = []
    for probe in game.adversaries.probes():
        for _ in range(PROBED):
            for index in batches(len(z), effort.batch, generator):
                probe.learn(z[index], owner.train.s[index].to(z.device))
        probe.network.eval()
        with torch.no_grad():
            nats = float(probe.credit(held, owner.val.s.to(held.device))[1])
        earned.append(min(nats, probe.prior))
    return _judge(game, owner.val, (nullcontext,), sum(earned) / len(earned))["objective"]


def _mode(game: Game, *, training: bool) -> None:
    for player in game.players:
        player.train(training)


@torch.no_grad()
def _represent(game: Game, batch: Batch) -> Tensor:
    return game.encode(batch.x)[0]


def _teach(game: Game, batch: Batch) -> None:
    if game.adversaries is not None:
        game.adversaries.learn(_represent(game, batch), batch.s)


@torch.no_grad()
def _judge(
    game: Game, val: Examples, views: Sequence[Callable[[], AbstractContextManager[Any]]], earned: float | None = None
) -> dict[str, float]:
    """Mean objective, accuracy and, where there is one, the adversary's cross-entropy (nats) on task_val, eval mode;
    with `earned` in place of what the adversaries' failure is worth."""
    _mode(game, training=False)
    for network in game.adversaries.networks if game.adversaries else ():
        network.eval()
    sums = {"objective": 0.0, "accuracy": 0.0} | ({"adversary_nats": 0.0} if game.adversaries else {})
    for view in views:
        with view():
            for start in range(0, len(val), VAL_BATCH):
                batch = val.batch(slice(start, start + VAL_BATCH))
                z, penalty = game.encode(batch.x)
                loss, seen = game.objective(batch, z, penalty)
                if earned is not None and game.adversaries is not None:
                    loss = loss + game.gamma * (game.adversaries.credit(z, batch.s)[0] - earned)
                sums["objective"] += float(loss) * len(batch.y) / len(val)
                sums["accuracy"] += float(seen["right"]) / max(1, int((val.y >= 0).sum()))
                if game.adversaries is not None:
                    sums["adversary_nats"] += float(seen["adversary"]) * len(batch.y) / len(val)
    return {name: total / len(views) for name, total in sums.items()}
