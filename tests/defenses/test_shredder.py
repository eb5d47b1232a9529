"""Shredder: the objective and the law of the noise written out once more; noise that is fresh, bounded and borne."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from scipy import stats
from torch import nn

from people import crowd, strangers
from privet import joint
from privet.data.corpus import Corpus
from privet.defense import Defended, parse
from privet.defenses.shredder import LaplaceNoise, Shredder, laplace, learn, objective
from privet.errors import DataError, SpecError
from privet.split import Split, split
from privet.train import fit_task, inputs, predict
from tiny import EFFORT, conv_split, corpus, pictures, seeded, vector_split

LEARNING = replace(EFFORT, task_epochs=30, tune_epochs=6, batch=32)
CPU = torch.device("cpu")


@lru_cache
def data() -> Corpus:
    return crowd()


@lru_cache
def trained() -> Split:
    """A split that answers the crowd's question."""
    given = vector_split()
    fit_task(nn.Sequential(given.edge, given.server), data(), effort=LEARNING, seed=0)
    return given


@lru_cache
def fit(**options: Any) -> Defended:
    return Shredder(**options).fit(trained(), data(), effort=LEARNING, seed=0)


def law(defended: Defended) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    assert isinstance(defended.obfuscator, LaplaceNoise)
    return defended.obfuscator.location.numpy(), defended.obfuscator.scale.numpy()


# What is sent -------------------------------------------------------------------------------------------------------


def test_the_inverse_distribution_function() -> None:
    generator = torch.Generator().manual_seed(0)
    location, scale = torch.randn(3, 2, generator=generator), torch.rand(3, 2, generator=generator)
    z, u = torch.randn(400, 3, 2, generator=generator), torch.rand(400, 3, 2, generator=generator)
    u[0], u[1], u[2] = 0.5, 2.0**-24, 1 - 2.0**-24
    wanted = z.double() + stats.laplace.ppf(u.double(), location.double(), scale.double())
    found = LaplaceNoise(location, scale)(z, u)
    torch.testing.assert_close(found.double(), wanted, atol=1e-5, rtol=1e-5)
    assert torch.equal(found[0], z[0] + location)


def test_noise_at_the_very_end_is_finite() -> None:
    """The generator's uniform numbers include 0."""
    obfuscator = LaplaceNoise(torch.zeros(2), torch.ones(2))
    ends = obfuscator(torch.zeros(1, 2), torch.tensor([[0.0, 1 - 2.0**-24]]))
    assert ends.isfinite().all()
    assert ends[0, 0] < -15
    assert ends[0, 1] > 15


def test_the_law_on_the_wire() -> None:
    """Payloads that travel, element by element, against the distribution that was fitted."""
    defended, x = fit(), inputs(data().victim.x[:1]).expand(4000, -1, -1, -1)
    sent = defended.decode(defended.encode(x, defended.draw(4000, np.random.default_rng(0))))
    noise = (sent - predict(defended.split.edge, x[:1])).numpy()
    location, scale = law(defended)
    assert (scale > 0.05 * defended.log["deviation"]).all()
    for j in range(12):
        assert stats.kstest(noise[:, j], stats.laplace(location[j], scale[j]).cdf).pvalue > 1e-4
    correlation = np.corrcoef(noise.T) - np.eye(12)
    assert np.abs(correlation).max() < 0.08


def test_two_payloads_of_one_picture_differ() -> None:
    defended, x = fit(), inputs(data().victim.x[:1])
    one, two = (defended.decode(defended.encode(x, defended.draw(1, np.random.default_rng(i)))) for i in (1, 2))
    assert ((one - two).abs() > 1e-3).all()
    pair = defended.decode(defended.encode(x.expand(2, -1, -1, -1), defended.draw(2, np.random.default_rng(1))))
    assert ((pair[0] - pair[1]).abs() > 1e-3).all(), "the examples of a batch do not share their noise"
    assert [(n.name, n.law, n.per) for n in defended.obfuscator.noise] == [("u", "uniform", "sample")]


# What is fitted -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("members", [2, 5, 8])
def test_the_likeliest_laplace_distribution(members: int) -> None:
    collection = torch.randn(members, 3, 2, generator=torch.Generator().manual_seed(members))
    location, scale = laplace(collection)
    for i in range(3):
        for j in range(2):
            values = collection[:, i, j].double().numpy()
            wanted = stats.laplace.fit(values)
            assert (float(location[i, j]), float(scale[i, j])) == pytest.approx(wanted, rel=1e-5, abs=1e-6)
            found = stats.laplace.logpdf(values, float(location[i, j]), float(scale[i, j])).sum()
            for shift in (-0.05, 0.05):
                assert stats.laplace.logpdf(values, location[i, j] + shift, scale[i, j]).sum() <= found + 1e-6
                assert stats.laplace.logpdf(values, location[i, j], scale[i, j] * (1 + shift)).sum() < found


def test_the_fitted_distribution_is_that_of_the_collection() -> None:
    """The whole of `fit`, in other words: begin at Laplace(mu, b), learn, fit."""
    defense, given = Shredder(members=3, mu=0.2, b=0.7, cap=2.0), trained()
    owner = joint.Owner.of(data(), (), CPU)
    size = float(predict(given.edge, data().task_train.x).std(correction=0))
    begin = np.random.default_rng([0, 13]).laplace(0.2, 0.7, (3, 12)).clip(-2, 2).astype(np.float32)
    collection = learn(given, owner, torch.from_numpy(begin) * size, 0.1, 2.0, size, LEARNING, 0)
    location, scale = law(defense.fit(given, data(), effort=LEARNING, seed=0))
    wanted = [stats.laplace.fit(collection[:, j].double().numpy()) for j in range(12)]
    np.testing.assert_allclose(np.stack([location, scale], 1), wanted, rtol=1e-5, atol=1e-6)


def test_members_begin_at_their_laplace_distribution() -> None:
    begin = Shredder(mu=1.0, b=0.5, cap=50.0)._begin((4000,), 0)
    assert begin.shape == (8, 4000)
    assert stats.kstest(begin[0].numpy(), stats.laplace(1.0, 0.5).cdf).pvalue > 1e-3
    assert not torch.equal(begin[0], begin[1])


# What is learned ----------------------------------------------------------------------------------------------------


def test_objective() -> None:
    given = trained()
    z = torch.randn(5, 12, generator=torch.Generator().manual_seed(1))
    noise = torch.randn(12, generator=torch.Generator().manual_seed(2))
    y = torch.tensor([0, 1, 1, 0, 1])
    with torch.no_grad():
        logits = given.server(z + noise)
        found = float(objective(given, noise, z, y, 0.3, 2.0))
    nats = [
        math.log(sum(math.exp(v) for v in row)) - row[k] for row, k in zip(logits.tolist(), y.tolist(), strict=True)
    ]
    wanted = sum(nats) / 5 - 0.3 * sum(abs(v) for v in noise.tolist()) / 12 / 2.0
    assert found == pytest.approx(wanted, abs=1e-5)


def test_members_go_down_the_objective() -> None:
    given, owner = trained(), joint.Owner.of(data(), (), CPU)
    z, y = predict(given.edge, data().task_train.x), torch.from_numpy(data().task_train.y)
    size = float(z.std(correction=0))
    begin = Shredder()._begin((12,), 3) * size
    learned = learn(given, owner, begin, 0.1, 3.0, size, LEARNING, 3)
    for before, after in zip(begin, learned, strict=True):
        with torch.no_grad():
            assert objective(given, after, z, y, 0.1, size) < objective(given, before, z, y, 0.1, size)


def test_noise_grows_with_lambda_up_to_the_cap() -> None:
    weights = (0.0, 0.02, 0.2, 100.0)
    logs = [fit(lam=lam).log for lam in weights]
    for name in ("size_learned", "scale_mean", "noise_to_signal"):
        sizes = [log[name] for log in logs]
        assert sizes[1] > 1.1 * sizes[0]
        assert sizes[2] > 1.1 * sizes[1]
    assert logs[0]["share_at_cap"] < 0.1
    assert logs[-1]["share_at_cap"] > 0.99, "without the cap the objective has no minimum"
    for log, lam in zip(logs, weights, strict=True):
        assert log["size_learned"] <= 3
        location, scale = law(fit(lam=lam))
        assert max(np.abs(location).max(), scale.max()) <= 3.0001 * log["deviation"]
    assert fit(lam=100.0, cap=1.0).log["size_learned"] == pytest.approx(1, abs=0.01)


def test_noise_costs_accuracy_and_the_log_says_how_much() -> None:
    quiet, loud = fit(lam=0.0, b=0.05).log, fit(lam=100.0).log
    assert quiet["accuracy_undefended"] == loud["accuracy_undefended"] > 0.95
    assert quiet["accuracy_fresh"] > 0.95
    assert loud["accuracy_fresh"] < 0.8
    assert fit().log["accuracy_members"] > 0.95
    defended, part = fit(), data().task_val
    x, generator = inputs(part.x), np.random.default_rng(5)
    right = [
        (defended.server(defended.encode(x, defended.draw(len(x), generator))).argmax(1).numpy() == part.y).mean()
        for _ in range(60)
    ]
    assert abs(float(np.mean(right)) - defended.log["accuracy_fresh"]) < 0.06


def test_noise_is_spared_where_the_target_lives() -> None:
    """A unit that carries nothing of the target gets more noise than the unit that carries it all."""
    edge = nn.Sequential(nn.Flatten(), nn.Linear(36, 2, bias=False))
    with torch.no_grad():
        upper = torch.zeros(6, 6)
        upper[:3] = 1 / 3
        edge[1].weight.copy_(torch.stack([upper.flatten(), torch.full((36,), 0.1)]))
    server = nn.Linear(2, 2)
    z = predict(edge, data().task_train.x)
    middle = float(z[:, 0].median())
    with torch.no_grad():
        server.weight.copy_(torch.tensor([[-8.0, 0.0], [8.0, 0.0]]))
        server.bias.copy_(torch.tensor([8.0, -8.0]) * middle)
    given = Split(edge.eval(), server.eval(), "cut", (2,))
    _, scale = law(Shredder(lam=0.1).fit(given, data(), effort=LEARNING, seed=0))
    assert scale[1] > 1.5 * scale[0]


# What is not touched ------------------------------------------------------------------------------------------------


def test_both_halves_stay() -> None:
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 2)))
    traced = split(model, pictures(2), "2", tracer="export")
    for given in (conv_split(), conv_split(frozenset({"edge", "server"})), traced):
        defended = Shredder().fit(given, corpus(), effort=EFFORT, seed=0)
        for name in ("edge", "server"):
            before, after = (getattr(s, name).state_dict() for s in (given, defended.split))
            assert all(torch.equal(after[k], v) for k, v in before.items())
        assert all(p.grad is None for p in defended.split.server.parameters())
        assert defended.guarantee.statement is None


def test_only_the_task_parts_are_read() -> None:
    one, two = fit(), Shredder().fit(trained(), strangers(data()), effort=LEARNING, seed=0)
    assert one.log == two.log
    for mine, theirs in zip(law(one), law(two), strict=True):
        np.testing.assert_array_equal(mine, theirs)


def test_behind_another_defense() -> None:
    defended = parse("gaussian:sigma=0.1+shredder:members=2").fit(vector_split(), corpus(), effort=EFFORT, seed=0)
    assert [n.law for n in defended.obfuscator.noise] == ["normal", "uniform"]


def test_progress_counts_every_epoch_of_every_member() -> None:
    calls: list[tuple[int, int]] = []
    Shredder(members=3).fit(
        vector_split(), corpus(), effort=LEARNING, seed=0, progress=lambda done, total: calls.append((done, total))
    )
    assert calls == [(i + 1, 18) for i in range(18)]


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"lam": -0.1}, "lam weighs the size of the noise"),
        ({"lam": math.inf}, "lam weighs"),
        ({"members": 1}, "2 at least"),
        ({"members": 101}, "100 at most"),
        ({"members": True}, "2 at least"),
        ({"b": 0.0}, "cap bounds"),
        ({"b": 4.0}, "cap bounds"),
        ({"mu": -3.5}, "cap bounds"),
        ({"mu": math.nan}, "cap bounds"),
        ({"b": math.nan}, "cap bounds"),
        ({"cap": math.inf}, "cap bounds"),
        ({"cap": math.nan}, "cap bounds"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        Shredder(**options)


def test_labels() -> None:
    """Nobody labelled is refused; an unlabelled task_val costs the accuracies in the log alone."""
    part = corpus().task_train
    nobody = {**corpus().parts, "task_train": replace(part, y=np.full_like(part.y, -1))}
    with pytest.raises(DataError, match="0 examples labelled with 'y'"):
        Shredder().fit(vector_split(), replace(corpus(), parts=nobody, digest=""), effort=EFFORT, seed=0)
    val = corpus().task_val
    unjudged = {**corpus().parts, "task_val": replace(val, y=np.full_like(val.y, -1))}
    defended = Shredder().fit(vector_split(), replace(corpus(), parts=unjudged, digest=""), effort=EFFORT, seed=0)
    assert "accuracy_fresh" not in defended.log
    whole = Shredder().fit(vector_split(), corpus(), effort=EFFORT, seed=0)
    np.testing.assert_array_equal(law(whole)[1], law(defended)[1])
