"""MaxEnt-ARL: entropy goes up (and with which sign), each player has its own objective, and a fresh adversary finds
less."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import Tensor, nn

from people import crowd, strangers
from privet import joint
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses import maxent
from privet.defenses.maxent import MaxEnt
from privet.errors import CutError, SpecError
from privet.split import Split
from privet.train import accuracy, predict
from tiny import EFFORT, SHAPE, conv_split, corpus, pictures, vector_split

CPU = torch.device("cpu")


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return MaxEnt(**options).fit(given or conv_split(), data, effort=EFFORT, seed=3)


def entropy(logits: Tensor) -> float:
    """-sum p log p of each row, in nats, and its mean; written out once more."""
    p = logits.double().softmax(1).numpy()
    return float(-(p * np.log(p)).sum(1).mean())


def loud() -> Corpus:
    """A crowd whose lower half says s loudly."""
    data = crowd()
    for part in data.parts.values():
        part.x[:, :, 3:] = 100 * part.s["s"][:, None, None, None]
    return data


class Caught(Exception):
    """The game that was about to be played."""


def caught(data: Corpus, monkeypatch: pytest.MonkeyPatch, **options: Any) -> joint.Game:
    """The game that `fit` makes, before it is played."""

    def play(game: joint.Game, *_: Any, **__: Any) -> None:
        raise Caught(game)

    monkeypatch.setattr(maxent.joint, "play", play)
    with pytest.raises(Caught) as kept:
        fit(data, vector_split(), **options)
    monkeypatch.undo()
    game: joint.Game = kept.value.args[0]
    return game


def test_objective_is_the_equation(data: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    """CE(h(z), y) - alpha H(softmax a(z)): over all rows, with and without a hidden label."""
    game = caught(data, monkeypatch, alpha=0.7)
    assert game.adversaries is not None
    batch = joint.Batch(pictures(6), torch.tensor([0, 1, -1, 1, 0, 0]), torch.tensor([2, -1, 0, 1, 1, 0])[:, None])
    with torch.no_grad():
        z, penalty = game.encode(batch.x)
        loss, _ = game.objective(batch, z, penalty)
        target = -game.server(z).log_softmax(1)[[0, 1, 3, 4, 5], [0, 1, 1, 0, 0]].mean()
        undecided = entropy(game.adversaries.networks[0](z))
    assert float(loss) == pytest.approx(float(target) - 0.7 * undecided, abs=1e-5)
    assert 0 < undecided <= math.log(3)


def test_fifty_steps_raise_the_entropy_of_the_adversary(monkeypatch: pytest.MonkeyPatch) -> None:
    """T12: the sign. Against an adversary that knows s and stands still."""
    data, after, before = loud(), {}, {}
    batch = joint.Owner.of(data, ("s",), CPU).train.batch(slice(0, 320))
    for alpha in (0.0, 5.0):
        game = caught(data, monkeypatch, alpha=alpha)
        assert game.adversaries is not None
        with torch.no_grad():
            z = game.encode(batch.x)[0]
        for _ in range(200):
            game.adversaries.learn(z, batch.s)
        network, optimizer = game.adversaries.networks[0].eval(), joint.adam(*game.players)
        before[alpha] = entropy(network(z).detach())
        for _ in range(50):
            joint.descend(optimizer, game.objective(batch, *game.encode(batch.x))[0])
        after[alpha] = entropy(network(game.encode(batch.x)[0]).detach())
    assert before[5.0] < 0.85 * math.log(3)
    assert after[5.0] > before[5.0] + 0.1
    assert after[5.0] > after[0.0] + 0.05


def test_the_adversary_minimizes_its_cross_entropy(monkeypatch: pytest.MonkeyPatch) -> None:
    """It is trained on labels, never on the entropy, and the network's step leaves it as it is."""
    data = loud()
    game = caught(data, monkeypatch, alpha=5.0)
    assert game.adversaries is not None
    batch = joint.Owner.of(data, ("s",), CPU).train.batch(slice(0, 320))
    z, penalty = game.encode(batch.x)
    before = float(game.adversaries.credit(z, batch.s)[1])
    for _ in range(80):
        game.adversaries.learn(z, batch.s)
    assert float(game.adversaries.credit(z, batch.s)[1]) < before - 0.1
    state = [p.clone() for p in game.adversaries.networks[0].parameters()]
    joint.descend(joint.adam(*game.players), game.objective(batch, z, penalty)[0])
    pairs = zip(state, game.adversaries.networks[0].parameters(), strict=True)
    assert all(torch.equal(one, two) for one, two in pairs)


def probe(defended: Defended, data: Corpus) -> float:
    """Accuracy of a fresh linear adversary on z, learned from aux_train and scored on victim."""
    z, z_victim = (predict(defended.split.edge, p.x).flatten(1).numpy() for p in (data.aux_train, data.victim))
    scale = z.std(0) + 1e-6
    model = LogisticRegression(max_iter=2000).fit(z / scale, data.aux_train.s["s"])
    return float(model.score(z_victim / scale, data.victim.s["s"]))


def test_a_fresh_adversary_finds_less() -> None:
    data, effort = crowd(), replace(EFFORT, task_epochs=40, batch=32)
    found, right = {}, {}
    for alpha in (0.0, 2.0):
        defended = MaxEnt(alpha).fit(vector_split(), data, effort=effort, seed=0)
        found[alpha] = probe(defended, data)
        right[alpha] = accuracy(nn.Sequential(defended.split.edge, defended.split.server), data.victim)
    assert found[0.0] > 0.8
    assert found[2.0] < found[0.0] - 0.05
    assert right[2.0] > 0.95


def test_only_the_task_parts_are_read(data: Corpus) -> None:
    one, two = fit(data, alpha=1.0), fit(strangers(data), alpha=1.0)
    x = pictures(8)
    assert one.encode(x).to_bytes() == two.encode(x).to_bytes()
    assert one.log == two.log


def test_hidden_labels_teach_the_adversary(data: Corpus) -> None:
    other = replace(data.task_train, s={"s": (data.task_train.s["s"] ** 2 + 1) % 3})
    changed = replace(data, parts={**data.parts, "task_train": other}, digest="")
    x = pictures(8)
    assert fit(data, alpha=5.0).encode(x).to_bytes() != fit(changed, alpha=5.0).encode(x).to_bytes()


def test_several_adversaries_and_attributes(data: Corpus, monkeypatch: pytest.MonkeyPatch) -> None:
    both = {role: replace(part, s={**part.s, "t": part.y.copy()}) for role, part in data.parts.items()}
    classes = {**data.classes, "t": ("no", "yes")}
    two = replace(data, parts=both, hidden=("s", "t"), classes=classes, digest="")
    game = caught(two, monkeypatch, attribute="s/t", adversaries=3)
    assert game.adversaries is not None
    assert len(game.adversaries.networks) == 6
    assert [one.column for one in game.adversaries.all] == [0, 0, 0, 1, 1, 1]
    assert fit(two, attribute="t").log["attribute"] == "t"
    assert fit(two).log["attribute"] == "s"


def test_sends_raw_z_of_the_trained_network(data: Corpus) -> None:
    given = conv_split()
    defended, x = fit(data, given), pictures(4)
    with torch.no_grad():
        z, before = defended.split.edge(x), given.edge(x)
    torch.testing.assert_close(defended.decode(defended.encode(x)), z, atol=1e-2, rtol=1e-2)
    assert (z - before).abs().max() > 1e-4
    assert defended.guarantee.statement is None
    assert 0 < defended.log["prior_nats"] <= math.log(3) + 1e-9


def test_refusals(data: Corpus) -> None:
    with pytest.raises(SpecError, match=r"no hidden attribute named 'age'; .*known: s"):
        fit(data, attribute="age")
    with pytest.raises(SpecError, match="alpha weighs"):
        MaxEnt(alpha=-1)
    for count in (0, 4, True):
        with pytest.raises(SpecError, match="1 to 3"):
            MaxEnt(adversaries=count)
    blind = Split(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), "input", SHAPE)
    with pytest.raises(CutError, match="no parameters"):
        check(MaxEnt(), blind)
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match="frozen"):
            check(MaxEnt(), conv_split(frozenset({half})))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian+maxent").fit(conv_split(), data, effort=EFFORT, seed=0)
