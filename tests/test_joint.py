"""Training both halves together: the objective's terms, who gets which gradient, the epoch kept, and the refusals."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace
from types import SimpleNamespace
from typing import cast

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet import joint
from privet.adversaries import Adversaries, cross_entropy, descend
from privet.data.corpus import Corpus
from privet.defense import EmittingEdge
from privet.defenses.none import RawObfuscator
from privet.errors import CutError, DataError, SpecError
from privet.split import Split, split
from tiny import EFFORT, SHAPE, corpus, pictures, seeded, vector_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def labels(*values: int) -> Tensor:
    return torch.tensor(values)[:, None]


def table(encode: Callable[[Tensor], tuple[Tensor, Tensor]], halves: Split, gamma: float, data: Corpus) -> joint.Game:
    """A game of a given split with an adversary for s."""
    owner = joint.Owner.of(data, ("s",), CPU)
    with joint.seeded(1, CPU):
        opponents = Adversaries(halves, owner.train.s, [3])
    return joint.Game(encode, halves.server, (halves.edge, halves.server), opponents, gamma)


def raw(halves: Split) -> Callable[[Tensor], tuple[Tensor, Tensor]]:
    return lambda x: (halves.edge(x), torch.zeros(()))


def test_objective_is_the_equation(data: Corpus) -> None:
    """CE(h(z'), y) + penalty - gamma * min(CE(a(z'), s), H(s)), written out once more."""
    halves = vector_split()
    game = table(raw(halves), halves, 0.7, data)
    assert game.adversaries is not None
    batch = joint.Batch(pictures(6), torch.tensor([0, 1, -1, 1, 0, 0]), labels(2, -1, 0, 1, 1, 0))
    (network,) = game.adversaries.networks
    network.eval()
    with torch.no_grad():
        z = halves.edge(batch.x)
        loss, seen = game.objective(batch, z, torch.tensor(0.25))
        target = -halves.server(z).log_softmax(1)[[0, 1, 3, 4, 5], [0, 1, 1, 0, 0]].mean()
        hidden = -network(z).log_softmax(1)[[0, 2, 3, 4, 5], [2, 0, 1, 1, 0]].mean()
    torch.testing.assert_close(seen["adversary"], hidden)
    credit = min(float(hidden), game.adversaries.prior)
    assert float(loss) == pytest.approx(float(target) + 0.25 - 0.7 * credit, abs=1e-6)


def test_players_raise_the_cross_entropy_of_the_adversary(data: Corpus) -> None:
    """The sign of Equation 3: one step of (f, h) makes the adversary as it is err more; not at gamma = 0."""
    moved = {}
    for gamma in (0.0, 50.0):
        halves = vector_split()
        game = table(raw(halves), halves, gamma, data)
        assert game.adversaries is not None
        batch = joint.Owner.of(data, ("s",), CPU).train.batch(slice(0, 40))
        z, penalty = game.encode(batch.x)
        before = float(game.adversaries.credit(z, batch.s)[1])
        game.adversaries.all[0].prior = 1e9
        optimizer = torch.optim.SGD([*halves.edge.parameters(), *halves.server.parameters()], lr=1e-3)
        descend(optimizer, game.objective(batch, z, penalty)[0])
        moved[gamma] = float(game.adversaries.credit(game.encode(batch.x)[0], batch.s)[1]) - before
    assert moved[50.0] > 1e-4 > abs(moved[0.0])


def play(halves: Split, data: Corpus, epochs: int = 10, **given: object) -> dict[str, list[float]]:
    owner = joint.Owner.of(data, (), CPU)
    game = joint.Game(raw(halves), halves.server, (halves.edge, halves.server))
    plan = joint.Plan(joint.adam(halves.edge, halves.server))
    effort = replace(EFFORT, task_epochs=epochs)
    with joint.seeded(0, CPU) as generator:
        return joint.play(game, plan, owner, effort=effort, generator=generator, **given)  # type: ignore[arg-type]


@pytest.mark.parametrize("epochs", [1, 2, 10])
def test_epoch_kept_is_the_best_of_the_last_fifth(data: Corpus, epochs: int) -> None:
    halves = vector_split()
    log = play(halves, data, epochs)
    history = log["task_val_objective"]
    assert len(history) == epochs
    last = history[min(round(0.8 * epochs), epochs - 1) :]
    kept = int(log["epoch_kept"])  # type: ignore[call-overload]
    assert kept > epochs - len(last)
    assert history[kept - 1] == min(last)
    with torch.no_grad():
        logits = halves.server(halves.edge(joint.Owner.of(data, (), CPU).val.batch(slice(0, 8)).x))
    value = float(cross_entropy(logits, torch.from_numpy(data.task_val.y)))
    assert value == pytest.approx(history[kept - 1], abs=1e-6), "the halves are those of the epoch kept"
    assert not halves.edge.training
    assert not halves.server.training


def test_adversaries_come_back_with_the_epoch_kept(data: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """The first of the last epochs is judged best: everybody is as they were then, opponents included."""
    halves = vector_split()
    game = table(raw(halves), halves, 0.5, data)
    assert game.adversaries is not None
    met: list[list[Tensor]] = []

    def everything() -> list[Tensor]:
        assert game.adversaries is not None
        networks = (*game.players, *game.adversaries.networks)
        return [p.detach().clone() for network in networks for p in network.parameters()]

    def judged(*_: object) -> float:
        met.append(everything())
        return float(len(met))

    monkeypatch.setattr(joint, "judged", judged)
    owner = joint.Owner.of(data, ("s",), CPU)
    plan = joint.Plan(joint.adam(halves.edge, halves.server))
    with joint.seeded(0, CPU) as generator:
        log = joint.play(game, plan, owner, effort=replace(EFFORT, task_epochs=10), generator=generator)
    assert (log["epoch_kept"], log["judged"], len(met)) == (9, 1.0, 2)
    assert all(torch.equal(a, b) for a, b in zip(everything(), met[0], strict=True))
    assert not all(torch.equal(a, b) for a, b in zip(met[0], met[1], strict=True))


def test_judged_by_adversaries_with_fresh_weights(data: Corpus) -> None:
    """Whatever the trained adversary says, the objective counts what fresh ones leave; they leave it as it was."""
    halves, found = vector_split(), []
    owner = joint.Owner.of(data, ("s",), CPU)
    for fooled in (False, True):
        game = table(raw(halves), halves, 0.5, data)
        assert game.adversaries is not None
        (network,) = game.adversaries.networks
        if fooled:
            with torch.no_grad():
                for p in network.parameters():
                    p.mul_(50)
        before = [p.detach().clone() for p in network.parameters()]
        with joint.seeded(3, CPU) as generator:
            found.append(joint.judged(game, owner, replace(EFFORT, batch=16), generator))
        assert all(torch.equal(a, b) for a, b in zip(before, network.parameters(), strict=True))
    assert found[0] == pytest.approx(found[1], abs=1e-5)


def test_rates() -> None:
    """Fresh networks beside trained ones learn at 1e-2, or at the rate itself where that is higher."""
    one, other = nn.Linear(2, 2), nn.Linear(2, 2)
    for rate, wanted in ((1e-3, 1e-2), (1e-2, 1e-2), (0.1, 0.1)):
        assert [g["lr"] for g in joint.adam(one, fresh=other, rate=rate).param_groups] == [rate, wanted]
    assert [g["lr"] for g in joint.adam(one, noise=other).param_groups] == [1e-3, pytest.approx(0.1)]


def test_rate_falls_twice(data: Corpus) -> None:
    rates, halves = [], vector_split()
    plan = joint.Plan(joint.adam(halves.edge, halves.server, noise=nn.Linear(2, 2)))
    game = joint.Game(raw(halves), halves.server, (halves.edge, halves.server))
    with joint.seeded(0, CPU) as generator:
        joint.play(
            game, plan, joint.Owner.of(data, (), CPU), effort=replace(EFFORT, task_epochs=5), generator=generator,
            progress=lambda done, total: rates.append([g["lr"] for g in plan.optimizer.param_groups]),
        )  # fmt: skip
    wanted = [[r, 100 * r] for r in (1e-3, 1e-4, 1e-4, 1e-5, 1e-5)]
    np.testing.assert_allclose(rates, wanted, rtol=1e-9)


def test_progress_counts_the_adversary_alone(data: Corpus) -> None:
    halves, told = vector_split(), []
    game = table(raw(halves), halves, 1.0, data)
    with joint.seeded(0, CPU) as generator:
        joint.play(
            game, joint.Plan(joint.adam(halves.edge)), joint.Owner.of(data, ("s",), CPU),
            effort=replace(EFFORT, task_epochs=7), generator=generator, progress=lambda *n: told.append(n),
        )  # fmt: skip
    assert told == [(i, 12) for i in range(1, 13)]


def test_losses_that_are_no_numbers_are_refused(data: Corpus) -> None:
    halves = vector_split()
    game = joint.Game(lambda x: (halves.edge(x), torch.tensor(float("inf"))), halves.server, (halves.edge,))
    with joint.seeded(0, CPU) as generator, pytest.raises(SpecError, match="epoch 1"):
        joint.play(
            game, joint.Plan(joint.adam(halves.edge)), joint.Owner.of(data, (), CPU), effort=EFFORT,
            generator=generator,
        )  # fmt: skip


def test_labelled_rows_alone(data: Corpus) -> None:
    part = data.task_train
    y, s = part.y.copy(), part.s["s"].copy()
    y[:10], s[5:15] = -1, -1
    rows = joint.Examples.of(replace(part, y=y, s={"s": s}), ("s",), CPU)
    assert len(rows) == len(part) - 5
    assert len(joint.Examples.of(replace(part, y=y, s={"s": s}), (), CPU)) == len(part) - 10
    nobody = {**data.parts, "task_train": replace(part, s={"s": np.full_like(s, -1)})}
    with pytest.raises(DataError, match="0 examples labelled with 's'"):
        joint.Owner.of(replace(data, parts=nobody, digest=""), ("s",), CPU)


def test_attribute_to_hide(data: Corpus) -> None:
    assert joint.hidden_attributes(data, "") == joint.hidden_attributes(data, "s") == ("s",)
    many = cast(Corpus, SimpleNamespace(hidden=("s", "a/b", "a")))
    assert joint.hidden_attributes(many, "a/s/a") == ("a", "s")
    assert joint.hidden_attributes(many, "a/b") == ("a/b",)
    with pytest.raises(SpecError, match=r"no hidden attribute named 'age'.*known: s"):
        joint.hidden_attributes(data, "age")


@pytest.mark.parametrize("value", [-0.1, math.inf, math.nan])
def test_weights_are_finite_and_not_negative(value: float) -> None:
    with pytest.raises(SpecError, match="gamma weighs"):
        joint.check_weight("gamma", value, "the adversary's failure")


def test_what_cannot_be_trained_is_refused() -> None:
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match=f"trains the {half} half, which is frozen"):
            joint.check_trainable(vector_split(frozenset({half})), "it")
    joint.check_trainable(vector_split(frozenset({"edge"})), "it", ("server",))
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 2)))
    with pytest.raises(CutError, match=r"torch\.export"):
        joint.check_trainable(split(model, pictures(2), "2", tracer="export"), "it")
    joint.check_trainable(split(model, pictures(2), "2", tracer="fx"), "it")
    plain = vector_split()
    behind = replace(plain, edge=EmittingEdge(plain.edge, RawObfuscator((12,)), 0))
    with pytest.raises(SpecError, match="make it the chain's first"):
        joint.check_trainable(behind, "it")


def test_examples_go_where_the_halves_are() -> None:
    assert joint.device_of(Split(nn.Identity(), nn.Flatten(), "input", SHAPE)) == CPU
    meta = Split(nn.Identity(), nn.Linear(2, 2, device="meta"), "input", SHAPE)
    assert joint.device_of(meta).type == "meta"
