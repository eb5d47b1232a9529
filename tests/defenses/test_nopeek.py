"""NoPeek: distance correlation by its definition and its known values, and what pricing it does to a reconstruction."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from people import crowd, strangers
from privet import joint
from privet.data.corpus import Corpus
from privet.defense import Defended, check, parse
from privet.defenses.nopeek import NoPeek, distance_correlation, distances
from privet.errors import CutError, DataError, SpecError
from privet.split import Split, split
from privet.train import accuracy, predict
from tiny import EFFORT, SHAPE, conv_split, corpus, pictures, seeded, vector_split


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def normal(rows: int, columns: int, seed: int) -> Tensor:
    return torch.randn(rows, columns, generator=torch.Generator().manual_seed(seed))


def slow(x: np.ndarray[Any, Any], z: np.ndarray[Any, Any], power: float = 1.0) -> float:
    """dCor^2 by its definition, pair by pair, in double precision; power 2 takes squared distances."""

    def centered(rows: np.ndarray[Any, Any]) -> np.ndarray[Any, Any]:
        d = np.array([[np.sqrt(((a - b) ** 2).sum()) ** power for b in rows] for a in rows])
        return np.array(
            [[d[i, j] - d[i].mean() - d[:, j].mean() + d.mean() for j in range(len(d))] for i in range(len(d))]
        )

    a, b = centered(x.astype(float)), centered(z.astype(float))
    return float((a * b).mean() / np.sqrt((a * a).mean() * (b * b).mean()))


def rv(x: np.ndarray[Any, Any], z: np.ndarray[Any, Any]) -> float:
    """||Xc^T Zc||_F^2 / (||Xc^T Xc||_F ||Zc^T Zc||_F), Robert and Escoufier's coefficient."""
    a, b = x - x.mean(0), z - z.mean(0)
    return float((a.T @ b).__pow__(2).sum() / (np.linalg.norm(a.T @ a) * np.linalg.norm(b.T @ b)))


def test_it_is_the_definition() -> None:
    x, z = normal(20, 5, 0), normal(20, 3, 1)
    z = z + x[:, :3] ** 2
    assert float(distance_correlation(x, z)) ** 2 == pytest.approx(slow(x.numpy(), z.numpy()), abs=1e-5)
    shaped = distance_correlation(x.reshape(20, 1, 5), z.reshape(20, 3, 1))
    torch.testing.assert_close(shaped, distance_correlation(x, z))


def test_known_values() -> None:
    """1 for the same up to place, scale and rotation; for independence a bias that goes with 1 / sqrt(B)."""
    x = normal(64, 6, 0)
    turn = torch.linalg.qr(normal(6, 6, 1)).Q
    assert float(distance_correlation(x, x)) == pytest.approx(1, abs=1e-5)
    assert float(distance_correlation(x, 3 * x @ turn - 7)) == pytest.approx(1, abs=1e-4)
    apart = [
        np.mean([float(distance_correlation(normal(n, 3, 2 * i), normal(n, 3, 2 * i + 1))) for i in range(5)])
        for n in (64, 1024)
    ]
    assert 0.25 < apart[0] < 0.45
    assert apart[1] < apart[0] / 3
    assert float(distance_correlation(x, torch.full((64, 4), 3.0))) <= 1e-5


def test_squared_distances_would_be_rv_and_are_not_used() -> None:
    """A parabola is uncorrelated and dependent: RV, which squares give, sees nothing of it."""
    x = torch.linspace(-1, 1, 101)[:, None]
    z = x**2
    assert slow(x.numpy(), z.numpy(), power=2) == pytest.approx(rv(x.numpy(), z.numpy()), abs=1e-6)
    assert rv(x.numpy(), z.numpy()) < 1e-6
    assert float(distance_correlation(x, z)) > 0.4
    a, b = normal(24, 4, 0).numpy(), normal(24, 2, 1).numpy()
    b = b + a[:, :2]
    assert slow(a, b, power=2) == pytest.approx(rv(a, b), abs=1e-6)
    assert abs(float(distance_correlation(torch.from_numpy(a), torch.from_numpy(b))) - rv(a, b) ** 0.5) > 0.01


def test_gradients_are_numbers_where_rows_are_equal() -> None:
    x = normal(8, 4, 0)
    z = torch.cat([normal(4, 3, 1)] * 2).requires_grad_()
    distance_correlation(x, z).backward()
    assert z.grad is not None
    assert bool(z.grad.isfinite().all())
    assert float(z.grad.abs().max()) > 0
    assert bool((distances(z.detach()).diagonal(4).abs() == 0).all())
    flat = torch.full((8, 3), 2.0, requires_grad=True)
    distance_correlation(x, flat).backward()
    assert flat.grad is not None
    assert bool(flat.grad.isfinite().all())


def test_far_from_the_origin() -> None:
    """Rows near one another and far from zero are not rounded together."""
    x = normal(32, 8, 0)
    near = float(distance_correlation(x, x + 1000.0))
    assert near == pytest.approx(1, abs=1e-4)


def test_downhill_is_less(data: Corpus) -> None:
    """The sign, with the penalty alone."""
    edge, x = vector_split().edge, torch.from_numpy(data.task_train.x).float() / 255
    optimizer = torch.optim.Adam(edge.parameters(), lr=1e-2)
    before = float(distance_correlation(x, edge(x)).detach())
    for _ in range(30):
        joint.descend(optimizer, distance_correlation(x, edge(x)))
    assert float(distance_correlation(x, edge(x)).detach()) < before - 0.05


def fit(data: Corpus, given: Split | None = None, **options: Any) -> Defended:
    return NoPeek(**options).fit(given or conv_split(), data, effort=EFFORT, seed=0)


def drawn(defended: Defended, data: Corpus) -> float:
    """Mean squared error of a fresh linear decoder on standardized z, from aux_train to victim, over the variance."""
    z, z_victim = (predict(defended.split.edge, p.x).flatten(1).double().numpy() for p in (data.aux_train, data.victim))
    x, x_victim = (p.x.reshape(len(p), -1) / 255 for p in (data.aux_train, data.victim))
    scale = z.std(0) + 1e-9
    ones = [np.hstack([(v - z.mean(0)) / scale, np.ones((len(v), 1))]) for v in (z, z_victim)]
    weights = np.linalg.solve(ones[0].T @ ones[0] + np.eye(ones[0].shape[1]), ones[0].T @ x)
    return float(((ones[1] @ weights - x_victim) ** 2).mean() / x_victim.var(0).mean())


def lit(data: Corpus) -> Corpus:
    """The same people, each in a light of their own, which is most of what a picture shows and says nothing of y."""
    generator, parts = np.random.default_rng(2), {}
    for role, part in data.parts.items():
        light = generator.integers(0, 120, (len(part), 1, 1, 1))
        parts[role] = replace(part, x=(part.x // 2 + light).astype(np.uint8))
    return replace(data, parts=parts, digest="")


def test_a_fresh_decoder_draws_less() -> None:
    """From a trained network, as in an audit: the answer stays, and the picture goes."""
    data = lit(crowd())
    trained = NoPeek(0.0).fit(vector_split(), data, effort=replace(EFFORT, task_epochs=60, batch=32), seed=0).split
    error, right, dcor = {}, {}, {}
    for alpha in (0.0, 1.0):
        defended = NoPeek(alpha).fit(trained, data, effort=replace(EFFORT, task_epochs=40, batch=64), seed=0)
        error[alpha], dcor[alpha] = drawn(defended, data), defended.log["task_val_dcor"]
        right[alpha] = accuracy(nn.Sequential(defended.split.edge, defended.split.server), data.victim)
    assert dcor[1.0] < dcor[0.0] - 0.2
    assert error[1.0] > 1.4 * error[0.0]
    assert right[1.0] > 0.95


@pytest.mark.parametrize(("rows", "size", "wanted"), [(80, 64, {64}), (100, 32, {32}), (40, 64, {40}), (40, 16, {16})])
def test_short_batches_are_not_priced(
    data: Corpus, monkeypatch: pytest.MonkeyPatch, rows: int, size: int, wanted: set[int]
) -> None:
    """At least 64 rows, or the effort's batch, or all there are."""
    seen: set[int] = set()

    def counted(x: Tensor, z: Tensor) -> Tensor:
        if z.requires_grad:
            seen.add(len(x))
        return distance_correlation(x, z)

    monkeypatch.setattr("privet.defenses.nopeek.distance_correlation", counted)
    part = crowd().task_train
    some = replace(
        part, ids=part.ids[:rows], groups=part.groups[:rows], x=part.x[:rows], y=part.y[:rows],
        s={"s": part.s["s"][:rows]},
    )  # fmt: skip
    few = replace(data, parts={**data.parts, "task_train": some}, digest="")
    NoPeek().fit(vector_split(), few, effort=replace(EFFORT, batch=size), seed=0)
    assert seen == wanted


def test_only_the_task_parts_are_read_and_no_hidden_label(data: Corpus) -> None:
    one, two = fit(data), fit(strangers(data))
    other = replace(data.task_train, s={"s": (data.task_train.s["s"] + 1) % 3})
    three = fit(replace(data, parts={**data.parts, "task_train": other}, digest=""))
    x = pictures(8)
    assert one.encode(x).to_bytes() == two.encode(x).to_bytes() == three.encode(x).to_bytes()
    assert one.log == two.log == three.log


def test_sends_raw_z_of_the_trained_network(data: Corpus) -> None:
    given = conv_split()
    defended, x = fit(data, given), pictures(4)
    with torch.no_grad():
        z, before = defended.split.edge(x), given.edge(x)
        held = torch.from_numpy(data.task_val.x).float() / 255
        dcor = [float(distance_correlation(held, half.eval()(held))) for half in (given.edge, defended.split.edge)]
    torch.testing.assert_close(defended.decode(defended.encode(x)), z, atol=1e-2, rtol=1e-2)
    assert (z - before).abs().max() > 1e-4
    assert [defended.log["task_val_dcor_before"], defended.log["task_val_dcor"]] == pytest.approx(dcor, abs=1e-5)
    assert defended.guarantee.statement is None


def test_refusals(data: Corpus) -> None:
    for wrong in (-0.1, float("inf"), float("nan")):
        with pytest.raises(SpecError, match="alpha weighs"):
            NoPeek(wrong)
    blind = Split(nn.Identity(), nn.Sequential(nn.Flatten(), nn.Linear(36, 2)), "input", SHAPE)
    with pytest.raises(CutError, match="no parameters"):
        check(NoPeek(), blind)
    for half in ("edge", "server"):
        with pytest.raises(SpecError, match="frozen"):
            check(NoPeek(), vector_split(frozenset({half})))
    model = seeded(nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh(), nn.Linear(12, 2)))
    with pytest.raises(CutError, match=r"torch\.export"):
        check(NoPeek(), split(model, pictures(2), "2", tracer="export"))
    with pytest.raises(SpecError, match="make it the chain's first"):
        parse("gaussian+nopeek").fit(conv_split(), data, effort=EFFORT, seed=0)
    unknown = replace(data.task_train, y=np.full(len(data.task_train), -1))
    with pytest.raises(DataError, match="0 examples"):
        fit(replace(data, parts={**data.parts, "task_train": unknown}, digest=""))
