"""Water-filling on a server's first operator: the distortion that was asked for, the information that was promised."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privet.bounds.water_filling import fano
from privet.coefficients import CoefficientObfuscator
from privet.data.corpus import Corpus, Part
from privet.defense import Defended, parse
from privet.defenses.water_filling import WaterFilling, promise
from privet.errors import CutError, SpecError
from privet.operators import find
from privet.split import Split
from privet.train import predict
from tiny import EFFORT, SPLITS, corpus, pictures, vector_split

DRAWS = 400
cuts = pytest.mark.parametrize("cut", SPLITS)


@pytest.fixture(scope="module")
def data() -> Corpus:
    return corpus()


def fit(data: Corpus, cut: str = "vector", given: Split | None = None, **options: Any) -> Defended:
    return WaterFilling(**options).fit(given or SPLITS[cut](), data, effort=EFFORT, seed=0)


def images(defended: Defended, cut: str, z: torch.Tensor, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """W z + constant and what the server's first operator is given for the payload of z, both [B, m]."""
    obfuscator = defended.obfuscator
    assert isinstance(obfuscator, CoefficientObfuscator)
    noise = [torch.from_numpy(n) for n in defended.draw(len(z), np.random.default_rng(seed))]
    with torch.no_grad():
        received = obfuscator.projection.lift(obfuscator.codec.decode(*obfuscator.encode(z, *noise)))
        given = find(SPLITS[cut]().server, SPLITS[cut]().shape)(z)
    return given.flatten(1), received.flatten(1)


@cuts
@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_distortion_is_the_share_asked_for(data: Corpus, cut: str, share: float) -> None:
    """E||W (z - z')||^2 over the owner's data is `distortion` of E||W (z - z_bar)||^2, within 2 %."""
    defended = fit(data, cut, distortion=share)
    z = predict(SPLITS[cut]().edge, data.task_train.x)
    given, received = images(defended, cut, z.repeat(DRAWS, *[1] * (z.dim() - 1)), 0)
    energy = (given[: len(z)] - given[: len(z)].mean(0)).pow(2).sum(1).mean()
    assert float((given - received).pow(2).sum(1).mean() / energy) == pytest.approx(share, rel=0.02)


@pytest.mark.parametrize("share", [0.05, 0.3, 0.8])
def test_information_and_noise_by_the_formula(data: Corpus, share: float) -> None:
    """An independent way: theta by bisection, sum ln(sigma_k^2 / D_k) / 2, noise sqrt(c_k D_k) on the wire."""
    defended = fit(data, distortion=share)
    w = vector_split().server[0].weight.detach().double()
    _, s, vt = torch.linalg.svd(w, full_matrices=False)
    z = predict(vector_split().edge, data.task_train.x).double()
    sigma2 = ((z - z.mean(0)) @ vt.T).var(0)
    energy = s**2 * sigma2
    low, high = 0.0, float(energy.max())
    for _ in range(200):
        theta = (low + high) / 2
        low, high = (theta, high) if energy.clamp_max(theta).sum() < share * energy.sum() else (low, theta)
    kept = energy > theta
    assert defended.log["theta"] == pytest.approx(theta)
    assert defended.log["kept"] == int(kept.sum())
    d = torch.minimum(sigma2, theta / s**2)
    held_out = ((predict(vector_split().edge, data.task_val.x).double()) @ vt.T).var(0)
    c = 1 - d / sigma2
    nats = 0.5 * float(torch.log1p(c * torch.maximum(sigma2, held_out) / d)[kept].sum())
    assert nats >= 0.5 * float((sigma2 / d).log().sum()) - 1e-9
    assert defended.log["nats"] == pytest.approx(nats, rel=1e-4)
    x = pictures(1).repeat(20_000, 1, 1, 1)
    sent = defended.encode(x, defended.draw(len(x), np.random.default_rng(0))).floats()["alpha"]
    np.testing.assert_allclose(sent.std(0), (c * d).sqrt()[kept], rtol=0.03)
    own = defended.obfuscator.projection.basis.double()
    alpha = (vector_split().edge(pictures(1)).detach().double() - z.mean(0))[0] @ own  # a basis has signs of its own
    np.testing.assert_allclose(sent.mean(0), c[kept] * alpha, atol=0.02)


@cuts
def test_more_distortion_tells_less(data: Corpus, cut: str) -> None:
    found = [fit(data, cut, distortion=share) for share in (0.01, 0.1, 0.5, 0.95)]
    nats, kept, size = ([f(d) for d in found] for f in (_nats, _kept, lambda d: d.payload_bytes))
    assert nats == sorted(nats, reverse=True)
    assert len(set(nats)) == 4
    assert kept == sorted(kept, reverse=True)
    assert size[0] > size[-1]
    assert kept[-1] < found[0].log["rank"]


def _nats(defended: Defended) -> float:
    return float(defended.log["nats"])


def _kept(defended: Defended) -> int:
    return int(defended.log["kept"])


def test_places_of_a_convolution_add_up(data: Corpus) -> None:
    """The bound is at least what the places tell one by one, each a Gaussian channel of its own variance."""
    defended = fit(data, "conv", distortion=0.3)
    obfuscator = defended.obfuscator
    z = predict(SPLITS["conv"]().edge, data.task_train.x)
    with torch.no_grad():
        alpha = obfuscator.projection(z).double()
    gains, noise = (getattr(obfuscator.codec, name).double() for name in ("gains", "deviation"))
    each = 0.5 * torch.log1p(gains**2 * alpha.var(0) / noise**2)
    assert obfuscator.projection.places == 4
    assert defended.log["nats"] >= float(each.sum())
    assert defended.log["nats"] < 2 * float(each.sum())


def test_every_value_has_noise_of_its_own(data: Corpus) -> None:
    """Noise shared by places would subtract out between them, and the bound adds them up as independent."""
    defended = fit(data, "conv", distortion=0.3)
    x = pictures(1).repeat(5000, 1, 1, 1)
    sent = defended.encode(x, defended.draw(5000, np.random.default_rng(0))).floats()["alpha"]
    assert sent.shape[1] >= 8
    assert np.abs(np.corrcoef(sent.T) - np.eye(sent.shape[1])).max() < 0.08


def test_held_out_people_who_vary_more_raise_the_bound(data: Corpus) -> None:
    """The promise stands on the larger of two rates: task_val here has four times as much contrast as task_train."""
    x = data.task_train.x
    calm = replace(data.task_train, x=(96 + x // 4).astype(np.uint8))
    wide = replace(data, parts={**data.parts, "task_train": calm}, digest="")
    found = fit(wide, distortion=0.3)
    narrow = fit(replace(wide, parts={**wide.parts, "task_val": _other(calm)}, digest=""), distortion=0.3)
    assert found.log["theta"] == narrow.log["theta"]
    assert found.log["nats"] > narrow.log["nats"] + 0.5


def _other(part: Part) -> Part:
    """The same pictures in another role, under new ids and groups."""
    return replace(part, ids=np.array([f"f{i:015x}" for i in range(len(part))]), groups=part.groups + 10**6)


def test_what_is_dropped_is_not_sent(data: Corpus) -> None:
    """Moving z along a direction under water, or in the null space, changes nothing; along a kept one it does."""
    defended = fit(data, distortion=0.5)
    w = vector_split().server[0].weight.detach()
    basis = defended.obfuscator.projection.basis
    z = vector_split().edge(pictures(4)).detach()
    noise = [torch.from_numpy(n) for n in defended.draw(4, np.random.default_rng(0))]
    before = defended.obfuscator.encode(z, *noise)[0]
    for v in torch.linalg.svd(w)[2]:
        moved = (defended.obfuscator.encode(z + v, *noise)[0] - before).abs().max()
        assert (moved > 1e-4) == bool((v @ basis).abs().max() > 0.9)


def test_noise_is_fresh(data: Corpus) -> None:
    """A hundred payloads of one person tell their mean: the noise averages out, as its card says."""
    defended = fit(data, distortion=0.3)
    x = pictures(1).repeat(4000, 1, 1, 1)
    sent = defended.encode(x, defended.draw(4000, np.random.default_rng(0))).floats()["alpha"].reshape(40, 100, -1)
    np.testing.assert_allclose(sent.mean(1).std(0) / sent.std(1).mean(0), 0.1, rtol=0.4)


@cuts
def test_tuning_behind_the_operator(data: Corpus, cut: str) -> None:
    """The first operator stays, what is behind it learns, and server_half is still the server on the public view."""
    given = SPLITS[cut]()
    wrong = {
        role: replace(part, y=1 - predict(nn.Sequential(given.edge, given.server), part.x).argmax(1).numpy())
        for role, part in data.parts.items()
    }
    contrary = replace(data, parts=wrong, digest="")  # so that there is something to learn
    plain, effort = (
        fit(contrary, given=given, distortion=0.3),
        replace(EFFORT, tune_epochs=400 if cut == "vector" else 10),
    )
    tuned = WaterFilling(0.3, tune=True).fit(given, contrary, effort=effort, seed=0)
    assert tuned.log["server_tuned"] is True
    assert tuned.log["nats"] == plain.log["nats"]
    x = pictures(6)
    noise = plain.draw(6, np.random.default_rng(0))
    assert plain.encode(x, noise).to_bytes() == tuned.encode(x, noise).to_bytes()
    payload = tuned.encode(x, noise)
    assert (tuned.server(payload) - plain.server(payload)).abs().max() > 1e-4
    with torch.no_grad():
        view = tuned.split.server.eval()(tuned.decode(payload))
    torch.testing.assert_close(tuned.server(payload), view, atol=1e-5, rtol=1e-5)
    frozen = fit(data, cut, SPLITS[cut](frozen=frozenset({"server"})), tune=True)
    assert frozen.log["server_tuned"] is False


def test_promise() -> None:
    given = promise(0.1)
    assert given.statement is not None
    assert given.statement.startswith("I(x; payload) <= 0.1 nats on average")
    assert "more than 72.0 % of them" in given.statement  # 1 - .2804, rounded up
    assert "nothing is promised to any one person" in given.statement
    for words in ("not a bound for an individual", "one payload a person", "vary no more"):
        assert words in given.scope
    assert "too much to bound the guesses of a binary attribute" in str(promise(0.7).statement)


def test_the_guarantee_of_a_fit(data: Corpus) -> None:
    defended = fit(data, distortion=0.9)
    assert defended.guarantee == promise(defended.log["nats"])
    assert defended.log["least_error_on_a_balanced_binary"] == fano(defended.log["nats"], math.log(2), 2) > 0


def test_no_guess_beats_the_promise() -> None:
    """z Gaussian, s the sign of the strongest coefficient, the best guess the sign of its payload: under the bound, and
    far enough above chance for that to mean something. Without the noise it would be right always."""
    defended = fit(corpus(), distortion=0.9)
    obfuscator = defended.obfuscator
    assert isinstance(obfuscator, CoefficientObfuscator)
    basis = obfuscator.projection.basis
    with torch.no_grad():
        z = predict(vector_split().edge, corpus().task_train.x)
        spread = obfuscator.projection(z).std(0)
        alpha = spread * torch.randn(50_000, len(spread), generator=torch.Generator().manual_seed(0))
        noise = torch.randn(50_000, len(spread), generator=torch.Generator().manual_seed(1))
        sent = obfuscator.encode(obfuscator.projection.mean + alpha @ basis.T, noise)[0]
    gains, deviation = obfuscator.codec.gains, obfuscator.codec.deviation
    best = int((gains.squeeze() * spread / deviation.squeeze()).argmax())
    right = float(((sent[:, best] > 0) == (alpha[:, best] > 0)).float().mean())
    most = 1 - defended.log["least_error_on_a_balanced_binary"]
    assert 0.55 < right < most
    assert float((((gains * alpha)[:, best] > 0) == (alpha[:, best] > 0)).float().mean()) > most


@pytest.mark.parametrize("distortion", [0, 1, -0.1, 1.5, math.nan, math.inf])
def test_impossible_distortion(distortion: float) -> None:
    with pytest.raises(SpecError, match="share of the signal's energy"):
        WaterFilling(distortion)


def test_spelling() -> None:
    assert parse("water_filling:distortion=0.25") == WaterFilling(0.25)


def test_unfit_servers_refused(data: Corpus) -> None:
    given = vector_split()
    behind = Split(given.edge, nn.Sequential(nn.ReLU(), *given.server).eval(), "cut", (12,))
    with pytest.raises(CutError, match="begin with a linear layer"):
        WaterFilling().check(behind)
    with pytest.raises(CutError, match="begin with a linear layer"):
        fit(data, given=behind)
    with torch.no_grad():
        given.server[0].weight.zero_()
    with pytest.raises(CutError, match="the same for all"):
        fit(data, given=given)
    still = nn.Sequential(nn.Flatten(), nn.Linear(36, 12), nn.Tanh()).eval()
    with torch.no_grad():
        still[1].weight.zero_()
    with pytest.raises(CutError, match="the same for all of the owner's people"):
        fit(data, given=Split(still, vector_split().server, "cut", (12,)))
