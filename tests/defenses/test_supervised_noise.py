"""Supervised noise: z' - z is exp(theta) times the noise handed in, and theta follows the signs of Equation 1."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from people import crowd, strangers
from privet.data.corpus import Corpus
from privet.defense import Defended, check
from privet.defenses.supervised_noise import HIGHEST, LOWEST, START, ScaledNoise, SupervisedNoise
from privet.errors import CutError, SpecError
from privet.split import Split, split
from privet.train import predict
from tiny import EFFORT, conv_split, corpus, pictures, seeded, vector_split

LONGER = replace(EFFORT, task_epochs=6)


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return SupervisedNoise(**options).fit(given or vector_split(), data, effort=LONGER, seed=0)


def theta(defended: Defended) -> torch.Tensor:
    assert isinstance(defended.obfuscator, ScaledNoise)
    return defended.obfuscator.theta


def test_equation() -> None:
    obfuscator = ScaledNoise((3, 2))
    with torch.no_grad():
        obfuscator.theta.copy_(torch.tensor([[0.0, math.log(2)], [-1.0, 1.0], [math.log(0.5), 0.0]]))
    z, xi = torch.randn(4, 3, 2), torch.randn(4, 3, 2)
    scale = torch.tensor([[1.0, 2.0], [math.exp(-1), math.e], [0.5, 1.0]])
    torch.testing.assert_close(obfuscator(z, xi), z + scale * xi)


def test_noise_begins_at_a_share_of_z_and_stays_in_its_range(data: Corpus) -> None:
    assert float(ScaledNoise((3,), size=5.0).theta.exp()[0].detach()) == pytest.approx(5 * math.exp(START))
    obfuscator = ScaledNoise((3,), size=5.0)
    with torch.no_grad():
        obfuscator.theta.copy_(torch.tensor([-50.0, 0.0, 50.0]))
    obfuscator.bound()
    wanted = [5 * math.exp(LOWEST), 1.0, 5 * math.exp(HIGHEST)]
    torch.testing.assert_close(obfuscator.theta.exp(), torch.tensor(wanted))
    loud = fit(data, alpha=1e4)
    size = float(predict(vector_split().edge, data.task_train.x).std())
    assert loud.log["scale_most"] <= size * math.exp(HIGHEST) * 1.001
    assert not theta(loud).requires_grad


def test_scales_grow_with_alpha_and_with_gamma(data: Corpus) -> None:
    """Both terms stand with a minus: more noise is a gain, and so is an adversary that errs."""
    plain = fit(data, alpha=0, gamma=0)
    assert fit(data, alpha=1.0, gamma=0).log["scale_mean"] > 1.2 * plain.log["scale_mean"]
    told, hidden = (fit(crowd(), alpha=0, gamma=gamma).log["scale_mean"] for gamma in (0.0, 5.0))
    assert hidden > 1.2 * told


def test_noise_at_random_is_spared_where_the_target_lives(data: Corpus) -> None:
    """A unit that carries nothing of the target gets more noise than the units that do."""
    edge = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    with torch.no_grad():
        left = torch.zeros(1, 6, 6)
        left[:, :3, :3] = 1 / 9
        edge[1].weight.copy_(torch.stack([left.flatten(), torch.zeros(36).index_fill(0, torch.tensor([35]), 0.2)]))
    server = nn.Linear(2, 2)
    with torch.no_grad():
        server.weight.copy_(torch.tensor([[-30.0, 0.0], [30.0, 0.0]]))
        server.bias.copy_(torch.tensor([11.0, -11.0]))
    given = Split(edge.eval(), server.eval(), "cut", (2,))
    found = theta(fit(data, given, alpha=0.1, gamma=0, tune=False))
    assert float(found[1] - found[0]) > 0.5


def test_only_the_server_and_the_scales_learn(data: Corpus) -> None:
    given = conv_split()
    tuned, still = fit(data, given), fit(data, given, tune=False)
    for defended in (tuned, still):
        after = defended.split.edge.state_dict()
        assert all(torch.equal(after[k], v) for k, v in given.edge.state_dict().items())
        assert float((theta(defended) - theta(defended).mean()).abs().max()) > 0.01
    moved = {d is tuned: not torch.equal(d.split.server[0].weight, given.server[0].weight) for d in (tuned, still)}
    assert moved == {True: True, False: False}


def test_only_the_task_parts_are_read(data: Corpus) -> None:
    one, two = fit(data, conv_split()), fit(strangers(data), conv_split())
    assert torch.equal(theta(one), theta(two))
    assert one.log == two.log


def test_people_without_the_hidden_label_teach_no_adversary(data: Corpus) -> None:
    known = data.task_train.s["s"]
    some = np.where(np.arange(len(known)) < 20, known, -1)
    parts = {**data.parts, "task_train": replace(data.task_train, s={"s": some})}
    defended = fit(replace(data, parts=parts, digest=""), gamma=1.0)
    share = np.bincount(known[:20], minlength=3) / 20
    assert defended.log["prior_nats"] == pytest.approx(float(-(share * np.log(share)).sum()))


def test_refusals(data: Corpus) -> None:
    for wrong in ({"gamma": -1.0}, {"alpha": math.nan}):
        with pytest.raises(SpecError, match="weighs"):
            SupervisedNoise(**wrong)
    with pytest.raises(SpecError, match="known: s"):
        fit(data, attribute="age")
    with pytest.raises(SpecError, match="trains the server half, which is frozen"):
        check(SupervisedNoise(), conv_split(frozenset({"server"})))
    check(SupervisedNoise(), conv_split(frozenset({"edge"})))
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 2)))
    traced = split(model, pictures(2), "2", tracer="export")
    with pytest.raises(CutError, match=r"torch\.export"):
        check(SupervisedNoise(), traced)
    for untouched in (traced, vector_split(frozenset({"edge", "server"}))):
        defended = fit(data, untouched, tune=False)
        x = pictures(5)
        with torch.no_grad():
            assert torch.equal(defended.split.server(defended.split.edge(x)), untouched.server(untouched.edge(x)))
