"""Adversarial training: it hides what it is told to hide, from task_train alone, and refuses what it cannot train."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

from people import crowd, strangers
from privet.data.corpus import Corpus
from privet.defense import ChainedObfuscator, Defended, check, parse
from privet.defenses.adversarial import Adversarial
from privet.errors import CutError, SpecError
from privet.split import Split
from privet.train import accuracy, predict
from tiny import EFFORT, SHAPE, conv_split, corpus, pictures, vector_split


def probe(defended: Defended, data: Corpus) -> float:
    """Accuracy of a fresh linear adversary on z, learned from aux_train and scored on victim."""
    z, z_victim = (predict(defended.split.edge, p.x).flatten(1).numpy() for p in (data.aux_train, data.victim))
    scale = z.std(0) + 1e-6
    model = LogisticRegression(max_iter=2000).fit(z / scale, data.aux_train.s["s"])
    return float(model.score(z_victim / scale, data.victim.s["s"]))


def test_a_fresh_adversary_finds_less() -> None:
    data, effort = crowd(), replace(EFFORT, task_epochs=40, batch=32)
    found, right = {}, {}
    for gamma in (0.0, 1.0):
        defended = Adversarial(gamma).fit(vector_split(), data, effort=effort, seed=0)
        found[gamma] = probe(defended, data)
        right[gamma] = accuracy(nn.Sequential(defended.split.edge, defended.split.server), data.victim)
    assert found[0.0] > 0.8
    assert found[1.0] < found[0.0] - 0.05
    assert right[1.0] > 0.95


def test_only_the_task_parts_are_read() -> None:
    data = corpus()
    one = Adversarial(1.0).fit(conv_split(), data, effort=EFFORT, seed=3)
    two = Adversarial(1.0).fit(conv_split(), strangers(data), effort=EFFORT, seed=3)
    x = pictures(8)
    assert one.encode(x).to_bytes() == two.encode(x).to_bytes()
    assert one.log == two.log


def test_hidden_labels_are_used_and_missing_ones_not() -> None:
    """Other labels of the labelled change the network; whoever is unlabelled teaches the target alone."""
    data = corpus()

    def fitted(s: np.ndarray) -> bytes:
        parts = {**data.parts, "task_train": replace(data.task_train, s={"s": s})}
        defended = Adversarial(5.0).fit(vector_split(), replace(data, parts=parts, digest=""), effort=EFFORT, seed=0)
        return defended.encode(pictures(8)).to_bytes()

    known = data.task_train.s["s"]
    some = np.where(np.arange(len(known)) < 20, known, -1)
    assert len({fitted(known), fitted((known + 1) % 3), fitted(some)}) == 3
    unknown_target = {
        **data.parts,
        "task_train": replace(data.task_train, y=np.where(known == 0, -1, data.task_train.y)),
    }
    Adversarial().fit(vector_split(), replace(data, parts=unknown_target, digest=""), effort=EFFORT, seed=0)


def test_sends_raw_z_of_the_trained_network() -> None:
    given = conv_split()
    defended = Adversarial().fit(given, corpus(), effort=EFFORT, seed=0)
    x = pictures(4)
    with torch.no_grad():
        z, before = defended.split.edge(x), given.edge(x)
    torch.testing.assert_close(defended.decode(defended.encode(x)), z, atol=1e-2, rtol=1e-2)
    assert (z - before).abs().max() > 1e-4
    assert defended.guarantee.statement is None
    assert defended.log["attribute"] == "s"
    assert 0 < defended.log["prior_nats"] <= np.log(3) + 1e-9


def test_refusals() -> None:
    data = corpus()
    with pytest.raises(SpecError, match=r"no hidden attribute named 'age'; .*known: s"):
        Adversarial(attribute="age").fit(conv_split(), data, effort=EFFORT, seed=0)
    with pytest.raises(SpecError, match="gamma weighs"):
        Adversarial(gamma=-1)
    blind = Split(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), "input", SHAPE)
    with pytest.raises(CutError, match="no parameters"):
        check(Adversarial(), blind)
    with pytest.raises(SpecError, match="frozen"):
        check(Adversarial(), conv_split(frozenset({"edge"})))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian+adversarial").fit(conv_split(), data, effort=EFFORT, seed=0)


def test_first_of_a_chain() -> None:
    defended = parse("adversarial:gamma=1+gaussian:sigma=1").fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    assert isinstance(defended.obfuscator, ChainedObfuscator)
    assert len(defended.obfuscator.noise) == 1
    assert defended.log["links"][0]["attribute"] == "s"
    alone = parse("adversarial:gamma=1").fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    x = pictures(3)
    with torch.no_grad():
        assert torch.equal(defended.split.edge(x), alone.split.edge(x))
