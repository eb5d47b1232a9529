"""One training step of DISCO, adversarial training and NoPeek: multiply-adds over what the mathematics needs, and
seconds over those of the same step with a forward and a backward pass for every loss.

One JSON line each: what, ours, baseline, ratio. What is needed is counted layer by layer on the networks alone: a
forward pass, the gradient of every weight that learns, and the gradient of an input wherever something behind it
learns. Seconds are medians of paired, interleaved steps in one thread, a batch of 64 pictures of 50x50."""

from __future__ import annotations

import json
import statistics
import time
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils.flop_counter import flop_registry

from privet import joint, models
from privet.adversaries import STEPS, Adversaries, cross_entropy, descend
from privet.channels import Filter, Masked, straight_through
from privet.defenses.nopeek import distance_correlation
from privet.filtering import CLIP, Filtering
from privet.split import Split, split
from privet.train import channels_last

BATCH, ROUNDS, WARM, CLASSES = 64, 15, 3, 5


class Counter(TorchDispatchMode):
    """Multiply-adds of every convolution and matrix product, forward and backward, as torch counts them. Its own
    counter follows modules, too, which stops at gradients that are asked for by name."""

    def __init__(self) -> None:
        super().__init__()
        self.total = 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        answer = func(*args, **(kwargs or {}))
        formula = flop_registry.get(func._overloadpacket)
        if formula is not None:
            self.total += formula(*args, **(kwargs or {}), out_val=answer) // 2
        return answer


def halves() -> Split:
    """The network of Samragh et al. 2021, Table 1, on 50x50 pictures, cut behind its third block."""
    model = models.load("cnn3", shape=(3, 50, 50), classes=2, seed=0).train()
    return split(model, torch.rand(2, 3, 50, 50), "block3")


def batch() -> joint.Batch:
    """Pictures and labels of nobody."""
    generator = torch.Generator().manual_seed(0)
    draw = torch.rand(BATCH, 3, 50, 50, generator=generator)
    return joint.Batch(draw, torch.arange(BATCH) % 2, (torch.arange(BATCH) % CLASSES)[:, None])


def opponents(cut: Split) -> Adversaries:
    """One adversary, the server's architecture."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(1)
        return Adversaries(cut, batch().s, [CLASSES])


def disco() -> Filtering:
    """The game as `disco` plays it."""
    cut = halves()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(2)
        chooser = Filter(cut.shape, 0)
    obfuscator = Masked(cut.shape, 0, 16, chooser)
    return Filtering(
        lambda x: (obfuscator(cut.edge(x)), torch.zeros(())), cut.server, (cut.edge, cut.server, chooser), gamma=1.0,
        edge=cut.edge, obfuscator=obfuscator, chooser=chooser, adversaries=opponents(cut), alpha=0.5, mode="ste",
        temperature=1 / 30, shield=True, frozen=frozenset(), soft=lambda: None,
    )  # fmt: skip


def adversarial() -> joint.Game:
    """The game as `adversarial` plays it."""
    cut = halves()
    return joint.Game(
        lambda x: (cut.edge(x), torch.zeros(())), cut.server, (cut.edge, cut.server), opponents(cut), gamma=0.5
    )


def nopeek() -> joint.Game:
    """The game as `nopeek` plays it."""
    cut = halves()

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        z = cut.edge(x)
        return z, 0.1 * distance_correlation(x, z)

    return joint.Game(encode, cut.server, (cut.edge, cut.server))


# What is needed -------------------------------------------------------------------------------------------------------


def layers(network: nn.Module, x: Tensor) -> list[int]:
    """Multiply-adds of the forward pass of each convolution and linear layer on x, in order."""
    found: list[int] = []

    def note(module: nn.Module, given: tuple[Tensor, ...], answer: Tensor) -> None:
        reads = module.weight[0].numel()  # type: ignore[index, union-attr]
        found.append(answer.numel() * reads)

    handles = [m.register_forward_hook(note) for m in network.modules() if isinstance(m, nn.Conv2d | nn.Linear)]
    with torch.no_grad():
        network(x)
    for handle in handles:
        handle.remove()
    return found


def learns(found: list[int], told: bool) -> int:
    """Forward, the gradients of all weights, and those of the inputs; of the first one only where `told`."""
    return 2 * sum(found) + sum(found if told else found[1:])


def needed(game: joint.Game, x: Tensor) -> int:
    """Multiply-adds of one step of a game."""
    edge = game.players[0]
    with torch.no_grad():
        z = edge(x)
    total = learns(layers(edge, x), told=False) + learns(layers(game.server, z), told=True)
    for network in game.adversaries.networks if game.adversaries else ():
        total += STEPS * learns(layers(network, z), told=False) + 2 * sum(layers(network, z))  # then forward, and z's
    if isinstance(game, Filtering):
        total += learns(layers(game.chooser, z), told=False)
    return total


def distances(x: Tensor, z: Tensor) -> int:
    """Multiply-adds that distance correlation itself costs: two Gram matrices, and the gradient of the one of z."""
    return BATCH * BATCH * (x[0].numel() + 2 * z[0].numel())


# The same with a pass for every loss ----------------------------------------------------------------------------------


def disco_apart(game: Filtering, one: joint.Batch, optimizer: torch.optim.Optimizer) -> None:
    """The same gradients, with a forward and a backward pass of its own for the target and for the filter."""
    z = game.edge(one.x)
    mask = straight_through(game.chooser(z.detach()), game.obfuscator.keep, game.temperature)
    game.adversaries.learn(game.obfuscator.prune(z, mask).detach(), one.s)
    optimizer.zero_grad(set_to_none=True)
    cross_entropy(game.server(game.obfuscator.prune(z, mask.detach())), one.y).backward()
    held = game.obfuscator.prune(z.detach(), mask)
    game.server.requires_grad_(False)
    hide = -game.adversaries.credit(held, one.s)[0]
    ((1 - game.alpha) * cross_entropy(game.server(held), one.y) + game.alpha * hide).backward()
    game.server.requires_grad_(True)
    nn.utils.clip_grad_norm_(game.chooser.parameters(), CLIP)
    optimizer.step()


def adversarial_apart(game: joint.Game, one: joint.Batch, optimizer: torch.optim.Optimizer) -> None:
    """The same step, with a pass of the edge for the adversary and another for the players."""
    assert game.adversaries is not None
    with torch.no_grad():
        sent = game.encode(one.x)[0]
    game.adversaries.learn(sent, one.s)
    z, penalty = game.encode(one.x)
    descend(optimizer, game.objective(one, z, penalty)[0])


def nopeek_apart(game: joint.Game, one: joint.Batch, optimizer: torch.optim.Optimizer) -> None:
    """The same step, with a pass for the target and another for the penalty."""
    optimizer.zero_grad(set_to_none=True)
    cross_entropy(game.server(game.encode(one.x)[0].clone()), one.y).backward()
    game.encode(one.x)[1].backward()
    optimizer.step()


def measured(name: str, build: Callable[[], joint.Game], apart: Callable[..., None]) -> None:
    """Two lines: multiply-adds against the need, seconds against the step taken apart."""
    ours, theirs = build(), build()
    one = batch()
    optimizers = [joint.adam(*game.players) for game in (ours, theirs)]
    with channels_last(*ours.players, *theirs.players):
        with Counter() as counter:
            ours.learn(one, optimizers[0])
        need = needed(ours, one.x)
        if name == "nopeek":
            need += distances(one.x, ours.players[0](one.x))
        line(f"multiply-adds of a step of {name}", counter.total, need, "need")
        times: dict[str, list[float]] = {"ours": [], "theirs": []}
        for number in range(ROUNDS + WARM):
            for which in ("ours", "theirs")[:: 1 if number % 2 else -1]:
                started = time.perf_counter()
                if which == "ours":
                    ours.learn(one, optimizers[0])
                else:
                    apart(theirs, one, optimizers[1])
                if number >= WARM:
                    times[which].append(time.perf_counter() - started)
    line(f"seconds of a step of {name}", *(statistics.median(times[w]) for w in ("ours", "theirs")), "a pass a loss")


def line(what: str, ours: float, baseline: float, against: str) -> None:
    """One result."""
    shown = {"ours": float(f"{ours:.4g}"), "baseline": float(f"{baseline:.4g}"), "against": against}
    print(json.dumps({"what": what} | shown | {"ratio": round(ours / baseline, 4)}), flush=True)


if __name__ == "__main__":
    torch.set_num_threads(1)
    measured("disco", disco, disco_apart)
    measured("adversarial", adversarial, adversarial_apart)
    measured("nopeek", nopeek, nopeek_apart)
