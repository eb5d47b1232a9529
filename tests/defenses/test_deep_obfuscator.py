"""DeepObfuscator: a differentiable SSIM that is the metrics' own, the signs and the ends of both credits, and what they
do to fresh attackers."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from people import crowd, strangers
from privet import joint, metrics
from privet.adversaries import Adversaries
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.deep_obfuscator import DeepObfuscator, Obfuscating, Painter, chance_of, ssim
from privet.errors import CutError, SpecError
from privet.split import Split
from privet.train import accuracy, predict
from tiny import EFFORT, SHAPE, conv_split, corpus, pictures, vector_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return DeepObfuscator(**options).fit(given or conv_split(), data, effort=EFFORT, seed=3)


def table(halves: Split, data: Corpus, gamma: float, beta: float, chance: float = -1.0) -> Obfuscating:
    """A game of a given split with both opponents."""
    owner = joint.Owner.of(data, ("s",), CPU)
    with joint.seeded(1, CPU):
        adversaries = Adversaries(halves, owner.train.s, [3])
        painter = Painter(halves.shape, SHAPE, chance, CPU)
    return Obfuscating(
        lambda x: (halves.edge(x), torch.zeros(())), halves.server, (halves.edge, halves.server), adversaries, gamma,
        painter=painter, beta=beta,
    )  # fmt: skip


def batch_of(data: Corpus) -> joint.Batch:
    return joint.Owner.of(data, ("s",), CPU).train.batch(slice(0, 40))


# The score ------------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("size", [(7, 9), (16, 16), (17, 20), (50, 50)])
def test_ssim_is_that_of_the_metrics(size: tuple[int, int]) -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.rand(5, 3, *size, generator=generator)
    near = (x + 0.2 * torch.randn(x.shape, generator=generator)).clamp(0, 1)
    wanted = metrics.ssim(x.numpy(), near.numpy(), data_range=1)
    np.testing.assert_allclose(ssim(near, x).numpy(), wanted, atol=1e-4)
    assert 0.1 < wanted.mean() < 0.95
    torch.testing.assert_close(ssim(x, x), torch.ones(5))


@pytest.mark.parametrize(("side", "window"), [(6, 5), (5, 5), (4, 3), (3, 3)])
def test_ssim_of_the_smallest_by_hand(side: int, window: int) -> None:
    generator = torch.Generator().manual_seed(side)
    a, b = torch.rand(2, 1, 1, side, side, generator=generator).double()
    taps = np.exp(-0.5 * (np.arange(window) - window // 2) ** 2 / 1.5**2)
    w = np.outer(taps, taps) / taps.sum() ** 2
    values = []
    for i in range(side - window + 1):
        for j in range(side - window + 1):
            p, q = (v[0, 0, i : i + window, j : j + window].numpy() for v in (a, b))
            mp, mq = (w * p).sum(), (w * q).sum()
            vp, vq, c = (w * (p - mp) ** 2).sum(), (w * (q - mq) ** 2).sum(), (w * (p - mp) * (q - mq)).sum()
            top = (2 * mp * mq + 1e-4) * (2 * c + 9e-4)
            values.append(top / ((mp**2 + mq**2 + 1e-4) * (vp + vq + 9e-4)))
    assert float(ssim(a, b)) == pytest.approx(np.mean(values), abs=1e-9)


def test_ssim_has_a_gradient_uphill() -> None:
    x = pictures(4)
    drawn = pictures(4, 1).requires_grad_()
    value = ssim(drawn, x).mean()
    value.backward()
    assert drawn.grad is not None
    assert float(ssim(drawn.detach() + 0.1 * drawn.grad / drawn.grad.abs().max(), x).mean()) > float(value.detach())


def test_chance_is_the_mean_picture(data: Corpus) -> None:
    train = joint.Owner.of(data, ("s",), CPU).train
    x = train.batch(slice(0, len(train))).x
    wanted = float(ssim(x.mean(0, keepdim=True).expand_as(x), x).mean())
    assert chance_of(train) == pytest.approx(wanted, abs=1e-5)
    assert fit(data).log["chance_ssim"] == pytest.approx(wanted, abs=1e-5)


# The game -------------------------------------------------------------------------------------------------------------


def test_objective_is_the_equation(data: Corpus) -> None:
    """CE(h(z), y) - gamma min(CE(a(z), s), H(s)) - beta min(1 - SSIM(r(z), x), 1 - chance), written out once more."""
    halves = vector_split()
    batch = joint.Batch(pictures(6), torch.tensor([0, 1, -1, 1, 0, 0]), torch.tensor([2, -1, 0, 1, 1, 0])[:, None])
    for chance in (-1.0, 0.9):
        game = table(halves, data, 0.7, 0.3, chance)
        assert game.adversaries is not None
        game.painter.network.eval()
        with torch.no_grad():
            z = halves.edge(batch.x)
            loss, seen = game.objective(batch, z, torch.zeros(()))
            target = -halves.server(z).log_softmax(1)[[0, 1, 3, 4, 5], [0, 1, 1, 0, 0]].mean()
            hidden = -game.adversaries.networks[0](z).log_softmax(1)[[0, 2, 3, 4, 5], [2, 0, 1, 1, 0]].mean()
            score = float(ssim(game.painter.network(z), batch.x).mean())
        assert float(seen["ssim"]) == pytest.approx(score, abs=1e-6)
        assert score < 0.9
        earned = min(float(hidden), game.adversaries.prior), min(1 - score, 1 - chance)
        assert float(loss) == pytest.approx(float(target) - 0.7 * earned[0] - 0.3 * earned[1], abs=1e-5)


def test_the_decoder_learns_and_leaves_z_alone(data: Corpus) -> None:
    halves = vector_split()
    game, x = table(halves, data, 0.5, 1.0), batch_of(data).x
    z = halves.edge(x).detach().requires_grad_()
    before = float(game.painter.credit(z, x)[1])
    for _ in range(20):
        game.painter.learn(z, x)
    assert z.grad is None
    assert float(game.painter.credit(z, x)[1]) > before + 0.1


def test_both_players_step_away_from_their_opponents(data: Corpus) -> None:
    """The signs: a step at a large weight lowers SSIM or raises the cross-entropy, and at weight 0 it does neither."""
    moved: dict[tuple[float, float], tuple[float, float]] = {}
    for weights in ((0.0, 0.0), (50.0, 0.0), (0.0, 50.0)):
        halves = vector_split()
        game, batch = table(halves, data, *weights), batch_of(data)
        assert game.adversaries is not None
        z, penalty = game.encode(batch.x)
        for _ in range(10):
            game.painter.learn(z, batch.x)
        game.painter.network.eval()
        for one in game.adversaries.all:
            one.prior = 1e9
        before = float(game.painter.credit(z, batch.x)[1]), float(game.adversaries.credit(z, batch.s)[1])
        kept = [p.clone() for p in game.painter.network.parameters()]
        optimizer = torch.optim.SGD([*halves.edge.parameters(), *halves.server.parameters()], lr=1e-3)
        joint.descend(optimizer, game.objective(batch, z, penalty)[0])
        assert all(torch.equal(p, q) for p, q in zip(kept, game.painter.network.parameters(), strict=True))
        z = game.encode(batch.x)[0]
        after = float(game.painter.credit(z, batch.x)[1]), float(game.adversaries.credit(z, batch.s)[1])
        moved[weights] = after[0] - before[0], after[1] - before[1]
    assert abs(moved[0.0, 0.0][0]) < 1e-4
    assert abs(moved[0.0, 0.0][1]) < 1e-4
    assert moved[0.0, 50.0][0] < -1e-3
    assert moved[50.0, 0.0][1] > 1e-4


def test_a_decoder_that_knows_nothing_earns_nothing_more() -> None:
    painter = Painter((12,), SHAPE, -1.0, CPU)
    z, x = torch.randn(8, 12, generator=torch.Generator().manual_seed(0)).requires_grad_(), pictures(8)
    painter.network.eval()
    painter.credit(z, x)[0].backward()
    assert z.grad is not None
    assert float(z.grad.abs().max()) > 0
    assert all(p.grad is None and p.requires_grad for p in painter.network.parameters())
    painter.chance, z.grad = 0.99, None
    credit, seen = painter.credit(z, x)
    credit.backward()
    assert float(credit.detach()) == pytest.approx(0.01)
    assert float(seen) < 0.99
    assert float(z.grad.abs().max()) == 0


def test_shrinking_hides_nothing() -> None:
    painter = Painter((12,), SHAPE, 0.0, CPU)
    painter.network.train()
    z = torch.randn(16, 12, generator=torch.Generator().manual_seed(0))
    with torch.no_grad():
        torch.testing.assert_close(painter.network(z), painter.network(0.05 * z + 3), atol=0.02, rtol=0)


def test_warm_up_teaches_the_decoder_alone(data: Corpus) -> None:
    halves, owner = vector_split(), joint.Owner.of(data, ("s",), CPU)
    game = table(halves, data, 0.5, 1.0)
    before, kept = game.drawn(owner.val), [p.clone() for half in game.players for p in half.parameters()]
    game.warm_up(owner, replace(EFFORT, task_epochs=8), np.random.default_rng(0))
    after = game.drawn(owner.val)
    assert before is not None
    assert after is not None
    assert after > before + 0.05
    assert all(torch.equal(p, q) for p, q in zip(kept, [p for h in game.players for p in h.parameters()], strict=True))


# What it does ---------------------------------------------------------------------------------------------------------


def attacked(defended: Defended, data: Corpus) -> tuple[float, float]:
    """A fresh linear probe's accuracy on s and a fresh linear decoder's mean SSIM, from aux_train to victim."""
    z, z_victim = (predict(defended.split.edge, p.x).flatten(1).double() for p in (data.aux_train, data.victim))
    mean, scale = z.mean(0), z.std(0) + 1e-9
    z, z_victim = (torch.cat([(v - mean) / scale, torch.ones(len(v), 1)], 1) for v in (z, z_victim))
    model = LogisticRegression(max_iter=2000).fit(z.numpy(), data.aux_train.s["s"])
    x, x_victim = (torch.from_numpy(p.x).double() / 255 for p in (data.aux_train, data.victim))
    weights = torch.linalg.solve(z.T @ z + torch.eye(z.shape[1]), z.T @ x.flatten(1))
    drawn: Tensor = (z_victim @ weights).clamp(0, 1).reshape(x_victim.shape)
    return float(model.score(z_victim.numpy(), data.victim.s["s"])), float(ssim(drawn, x_victim).mean())


@pytest.mark.heavy
def test_fresh_attackers_find_and_draw_less() -> None:
    data, effort = crowd(), replace(EFFORT, task_epochs=40, batch=64)
    seen = []
    for gamma, beta in ((0.0, 0.0), (0.5, 5.0)):
        defended = DeepObfuscator(gamma, beta).fit(vector_split(), data, effort=effort, seed=0)
        seen.append(attacked(defended, data))
        assert accuracy(nn.Sequential(defended.split.edge, defended.split.server), data.victim) > 0.95
    (found, drawn), (found_less, drawn_less) = seen
    assert found > 0.8
    assert found_less < found - 0.1
    assert drawn_less < drawn - 0.03


def test_each_weight_reaches_the_game(data: Corpus) -> None:
    """Alone, each changes the network that plain training would give."""
    sent = {
        weights: DeepObfuscator(*weights)
        .fit(vector_split(), data, effort=EFFORT, seed=0)
        .encode(pictures(8))
        .to_bytes()
        for weights in ((0.0, 0.0), (5.0, 0.0), (0.0, 5.0))
    }
    assert len(set(sent.values())) == 3


def test_only_the_task_parts_are_read(data: Corpus) -> None:
    one, two = fit(data), fit(strangers(data))
    x = pictures(8)
    assert one.encode(x).to_bytes() == two.encode(x).to_bytes()
    assert one.log == two.log


def test_sends_raw_z_of_the_trained_network(data: Corpus) -> None:
    given = conv_split()
    defended, x = fit(data, given), pictures(4)
    with torch.no_grad():
        z, before = defended.split.edge(x), given.edge(x)
    torch.testing.assert_close(defended.decode(defended.encode(x)), z, atol=1e-2, rtol=1e-2)
    assert (z - before).abs().max() > 1e-4
    assert defended.guarantee.statement is None
    assert defended.log["attribute"] == "s"
    assert -1 <= defended.log["task_val_ssim"] <= 1


def test_refusals(data: Corpus) -> None:
    with pytest.raises(SpecError, match=r"no hidden attribute named 'age'; .*known: s"):
        fit(data, attribute="age")
    for wrong in ({"gamma": -1.0}, {"beta": float("nan")}):
        with pytest.raises(SpecError, match="weighs"):
            DeepObfuscator(**wrong)
    rows = {
        role: replace(part, x=(part.x[:, 0, :3].reshape(len(part), -1) / 255).astype(np.float32))
        for role, part in data.parts.items()
    }
    with pytest.raises(SpecError, match="hides pictures"):
        fit(replace(data, kind="table", parts=rows, digest=""), vector_split())
    strips = {role: replace(part, x=part.x[:, :, :2]) for role, part in data.parts.items()}
    with pytest.raises(SpecError, match="3 px and more"):
        fit(replace(data, parts=strips, digest=""))
    blind = Split(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), "input", SHAPE)
    with pytest.raises(CutError, match="no parameters"):
        check(DeepObfuscator(), blind)
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match="frozen"):
            check(DeepObfuscator(), conv_split(frozenset({half})))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian+deep_obfuscator").fit(conv_split(), data, effort=EFFORT, seed=0)
