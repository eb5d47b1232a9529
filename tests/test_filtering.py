"""The game of learned pruning: who hears of which loss, against the same losses with a pass each."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch
from torch import Tensor, nn

from privet.adversaries import Adversaries, cross_entropy
from privet.channels import Filter, Masked, MaskedTokens, hard_mask, straight_through
from privet.filtering import CLIP, Filtering, Mode
from privet.joint import Batch
from privet.split import Split
from tiny import conv_split, pictures, seeded

Y, S = torch.tensor([0, 1, 1, 0, 1, 0, 0, 1]), torch.tensor([[0], [1], [2], [-1], [2], [1], [0], [1]])


class Still(torch.optim.Optimizer):
    """An optimizer that steps nowhere, so that gradients can be looked at."""

    def __init__(self, *networks: nn.Module) -> None:
        super().__init__([p for network in networks for p in network.parameters()], {})

    def step(self, closure: object = None) -> None:  # type: ignore[override]
        """Nowhere."""


class Standing(Adversaries):
    """Adversaries that do not learn."""

    def learn(self, z: Tensor, s: Tensor) -> None:
        assert not z.grad_fn


def table(
    split: Split | None = None, *, alpha: float = 0.3, shield: bool = True, frozen: frozenset[str] = frozenset(),
    mode: Mode = "ste", kind: type[Masked] = Masked, kept: int = 2, through: bool = False,
) -> Filtering:  # fmt: skip
    """The game on a split of two convolutions, its networks in eval mode, so that nothing depends on the order."""
    split = split or conv_split()
    axis = 1 if len(split.shape) == 2 and kind is Masked else 0
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(6)
        chooser = Filter(split.shape, axis).eval()
        shape = (kept, *split.shape[1:]) if kind is MaskedTokens else split.shape
        opponents = Standing(replace(split, shape=shape), S, [3])
        opponents.networks[0].eval()
        opponents.all[0].prior = 9.0  # a fresh adversary is worse than the prior, and would earn nothing more
    obfuscator = kind(split.shape, axis, kept, chooser)

    def encode(x: Tensor) -> tuple[Tensor, Tensor]:
        z = split.edge(x)
        return obfuscator.prune(z, hard_mask(chooser(z), kept)), z.new_zeros(())

    return Filtering(
        encode, split.server, (split.edge, split.server, chooser), gamma=1.0, edge=split.edge, obfuscator=obfuscator,
        chooser=chooser, adversaries=opponents, alpha=alpha, mode=mode, temperature=0.5, shield=shield, frozen=frozen,
        soft=lambda: None, through=through,
    )  # fmt: skip


def grads(*networks: nn.Module) -> list[Tensor]:
    return [torch.zeros(0) if p.grad is None else p.grad.clone() for n in networks for p in n.parameters()]


def batch() -> Batch:
    return Batch(pictures(8), Y, S)


def apart(game: Filtering) -> tuple[list[Tensor], list[Tensor], list[Tensor]]:
    """The gradients of METHODS' table, each loss built and differentiated on its own: those of f, h and q."""
    one = batch()
    z = game.edge(one.x)
    mask = straight_through(game.chooser(z.detach()), game.obfuscator.keep, game.temperature)
    task = cross_entropy(game.server(game.obfuscator.prune(z, mask.detach())), Y)
    client, server = list(game.edge.parameters()), list(game.server.parameters())
    of_task = torch.autograd.grad(task, [*client, *server])
    held = game.obfuscator.prune(z.detach(), mask)
    hide = -game.adversaries.credit(held, S)[0]
    both = (1 - game.alpha) * cross_entropy(game.server(held), Y) + game.alpha * hide
    of_filter = list(torch.autograd.grad(both, list(game.chooser.parameters())))
    norm = torch.stack([g.norm() for g in of_filter]).norm()
    of_filter = [g * min(1.0, float(CLIP / (norm + 1e-6))) for g in of_filter]
    return list(of_task[: len(client)]), list(of_task[len(client) :]), of_filter


@pytest.mark.parametrize("alpha", [0.0, 0.3, 0.9])
def test_one_pass_gives_everybody_the_gradients_of_losses_taken_apart(alpha: float) -> None:
    game = table(alpha=alpha)
    wanted = apart(game)
    game.learn(batch(), Still(*game.players))
    for network, expected in zip((game.edge, game.server, game.chooser), wanted, strict=True):
        for found, value in zip(grads(network), expected, strict=True):
            torch.testing.assert_close(found, value, atol=1e-6, rtol=1e-4)
    assert all(p.grad is None for p in game.adversaries.networks[0].parameters())
    assert min(float(g.abs().max()) for g in grads(game.chooser)) > 0, "a filter with a dead layer shows nothing"


def test_the_client_never_hears_of_the_adversaries() -> None:
    """Whatever hiding is worth, f and h get the target's gradient; without the shield f hears of it, h does not."""

    def heard(alpha: float, shield: bool) -> tuple[list[Tensor], list[Tensor]]:
        game = table(alpha=alpha, shield=shield)
        game.learn(batch(), Still(*game.players))
        return grads(game.edge), grads(game.server)

    quiet, loud, open_ = heard(0.1, True), heard(0.9, True), heard(0.9, False)
    assert all(torch.equal(a, b) for a, b in zip(quiet[0] + quiet[1], loud[0] + loud[1], strict=True))
    assert all(torch.equal(a, b) for a, b in zip(loud[1], open_[1], strict=True))
    assert max(float((a - b).abs().max()) for a, b in zip(loud[0], open_[0], strict=True)) > 1e-5


def test_without_the_shield_the_client_minimizes_the_sum() -> None:
    game = table(alpha=0.4, shield=False)
    one = batch()
    z = game.edge(one.x)
    mask = hard_mask(game.chooser(z.detach()), game.obfuscator.keep)
    sent = game.obfuscator.prune(z, mask)
    loss = cross_entropy(game.server(sent), Y) - 0.4 / 0.6 * game.adversaries.credit(sent, S)[0]
    wanted = torch.autograd.grad(loss, list(game.edge.parameters()))
    game.learn(one, Still(*game.players))
    for found, value in zip(grads(game.edge), wanted, strict=True):
        torch.testing.assert_close(found, value, atol=1e-6, rtol=1e-4)


def test_the_target_may_reach_the_client_through_the_filter() -> None:
    """With `through` f minimizes CE(h(M(z) z), y), the choice included and the adversaries still unheard; q and h learn
    as without it."""
    game, usual = table(alpha=0.7, through=True), table(alpha=0.7)
    one = batch()
    z = game.edge(one.x)
    mask = straight_through(game.chooser(z), game.obfuscator.keep, game.temperature)
    loss = cross_entropy(game.server(game.obfuscator.prune(z, mask)), Y)
    wanted = torch.autograd.grad(loss, list(game.edge.parameters()))
    found = []
    for g in (game, usual):
        g.learn(one, Still(*g.players))
        found.append([grads(network) for network in (g.edge, g.server, g.chooser)])
    for here, value in zip(found[0][0], wanted, strict=True):
        torch.testing.assert_close(here, value, atol=1e-6, rtol=1e-4)
    assert max(float((a - b).abs().max()) for a, b in zip(found[0][0], found[1][0], strict=True)) > 1e-5
    for here, there in zip(found[0][1] + found[0][2], found[1][1] + found[1][2], strict=True):
        torch.testing.assert_close(here, there)


@pytest.mark.parametrize("half", ["edge", "server"])
def test_a_frozen_half_gets_nothing_and_the_filter_still_learns(half: str) -> None:
    split = conv_split()
    getattr(split, half).requires_grad_(False)
    game = table(split, frozen=frozenset({half}))
    game.learn(batch(), Still(*game.players))
    assert all(p.grad is None for p in getattr(split, half).parameters())
    assert max(float(g.abs().max()) for g in grads(game.chooser)) > 0


@pytest.mark.parametrize("kind", [Masked, MaskedTokens])
def test_sequences(kind: type[Masked]) -> None:
    edge = nn.Sequential(nn.Flatten(2), nn.Linear(36, 30), nn.Tanh(), nn.Unflatten(2, (5, 6)), nn.Flatten(0, 1))
    split = Split(seeded(edge, 1), seeded(Mean(), 2), "cut", (5, 6))
    game = table(split, kind=kind)
    wanted = apart(game)
    game.learn(batch(), Still(*game.players))
    for network, expected in zip((game.edge, game.server, game.chooser), wanted, strict=True):
        for found, value in zip(grads(network), expected, strict=True):
            torch.testing.assert_close(found, value, atol=1e-6, rtol=1e-4)


class Mean(nn.Module):
    """Tokens [B, T, 6] -> logits [B, 2]."""

    def __init__(self) -> None:
        super().__init__()
        self.hidden, self.head = nn.Linear(6, 7), nn.Linear(7, 2)

    def forward(self, z: Tensor) -> Tensor:
        return self.head(self.hidden(z).tanh().mean(1))  # type: ignore[no-any-return]


def test_masks_of_the_modes() -> None:
    scores = torch.randn(400, 9, generator=torch.Generator().manual_seed(0))
    hard = hard_mask(scores, 2)
    torch.testing.assert_close(table().mask(scores), hard)
    warm = replace(table(), soft=lambda: 0.7)
    torch.testing.assert_close(warm.mask(scores), torch.sigmoid((scores - _middle(scores)) / 0.7))
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        drawn = table(mode="gumbel").mask(scores)
    assert torch.equal(drawn.round().sum(1), torch.full((400,), 2.0))
    assert 0.1 < float((drawn.round() != hard).float().mean()) < 0.4


def _middle(scores: Tensor) -> Tensor:
    return scores.sort(dim=1, descending=True).values[:, 1:3].mean(1, keepdim=True)
