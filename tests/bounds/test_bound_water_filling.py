"""Reverse water-filling and Fano: distortion met, information as in the formula, exact levels, refusals."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from privet.bounds.water_filling import Filling, fano, fill, information
from privet.errors import SpecError

Array = np.ndarray[Any, Any]
VARIANCES, SINGULAR = np.array([4.0, 1.0, 0.25, 9.0]), np.array([1.0, 2.0, 1.0, 0.1])  # energies 4, 4, .25, .09


def spent(filling: Filling, singular: Array) -> float:
    return float((singular**2 * filling.distortions).sum())


def test_by_hand() -> None:
    """D = 2.34: the two small energies are under water, (2.34 - .34) / 2 = 1 is left for each of the others."""
    found = fill(VARIANCES, SINGULAR, 2.34)
    assert found.theta == pytest.approx(1)
    np.testing.assert_allclose(found.distortions, [1, 0.25, 0.25, 9])
    np.testing.assert_allclose(found.gains, [0.75, 0.75, 0, 0])
    np.testing.assert_allclose(found.noise, [math.sqrt(0.75), math.sqrt(0.75 / 4), 0, 0])
    assert found.nats == pytest.approx(math.log(4))


def test_monte_carlo_distortion_and_channel() -> None:
    """Non-Gaussian, dependent coefficients through a real W: the distortion is D within 2 %."""
    rng = np.random.default_rng(0)
    w = rng.standard_normal((5, 7)) * np.array([3, 2, 1, 0.5, 0.1])[:, None]
    z = rng.exponential(size=(200_000, 7)) @ rng.standard_normal((7, 7)) + 1
    _, s, vt = np.linalg.svd(w, full_matrices=False)
    mean = z.mean(0)
    alpha = (z - mean) @ vt.T
    whole = float((s**2 * alpha.var(0)).sum())
    for share in (0.02, 0.3, 0.8):
        found = fill(alpha.var(0), s, share * whole)
        sent = found.gains * alpha + found.noise * rng.standard_normal(alpha.shape)
        met = np.square((z - mean - sent @ vt) @ w.T).sum(1).mean()
        assert met == pytest.approx(share * whole, rel=0.02)
        # Gaussian capacity of each coordinate, from what was really sent: signal to noise
        kept = found.gains > 0
        noise = (sent - found.gains * alpha)[:, kept].var(0)
        capacity = 0.5 * np.log1p((found.gains * alpha)[:, kept].var(0) / noise).sum()
        assert capacity == pytest.approx(found.nats, rel=0.02)


def test_information_of_a_gaussian_channel_is_met() -> None:
    """z Gaussian, one coefficient: I = -ln(1 - rho^2) / 2 with rho the correlation of alpha and alpha'."""
    rng = np.random.default_rng(1)
    alpha = 3 * rng.standard_normal(200_000)
    found = fill(np.array([9.0]), np.array([0.5]), 0.4)
    sent = found.gains[0] * alpha + found.noise[0] * rng.standard_normal(len(alpha))
    assert -0.5 * math.log(1 - np.corrcoef(alpha, sent)[0, 1] ** 2) == pytest.approx(found.nats, rel=0.02)


numbers = st.floats(0, 100).map(lambda v: round(v, 3))


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(numbers, numbers), min_size=1, max_size=12), st.floats(0.001, 0.999), st.floats(0.1, 0.9))
def test_level_is_exact_and_information_falls(pairs: list[tuple[float, float]], share: float, less: float) -> None:
    """Zeros and ties among them: the distortion is spent to rounding, and more information buys less distortion."""
    variances, singular = np.array(pairs).T
    energy = singular**2 * variances
    whole = float(energy.sum())
    if whole == 0:
        return
    found, finer = fill(variances, singular, share * whole), fill(variances, singular, less * share * whole)
    assert spent(found, singular) == pytest.approx(share * whole, rel=1e-9)
    np.testing.assert_allclose(singular**2 * found.distortions, np.minimum(energy, found.theta), rtol=1e-9)
    assert finer.nats > found.nats > 0
    assert finer.theta < found.theta
    assert information(found, variances) == pytest.approx(found.nats, rel=1e-6, abs=1e-12)
    assert ((found.gains >= 0) & (found.gains < 1) & np.isfinite(found.noise)).all()
    assert (found.gains[energy == 0] == 0).all()


def test_no_channel_of_this_distortion_tells_less() -> None:
    """Any other way to spread D over the coefficients has a larger Gaussian rate."""
    rng = np.random.default_rng(2)
    best = fill(VARIANCES, SINGULAR, 1.5)
    energy = SINGULAR**2 * VARIANCES
    for _ in range(500):
        other = np.minimum(energy, rng.dirichlet(np.ones(4)) * 1.5)
        other *= min(1.0, 1.5 / other.sum())
        assert 0.5 * np.log(energy / other).sum() >= best.nats - 1e-12


@pytest.mark.parametrize("distortion", [8.34, 8.35, 1e9])
def test_enough_distortion_sends_nothing(distortion: float) -> None:
    found = fill(VARIANCES, SINGULAR, distortion)
    assert found.nats == 0
    assert not found.gains.any()
    assert not found.noise.any()
    np.testing.assert_array_equal(found.distortions, VARIANCES)


def test_little_distortion_sends_all() -> None:
    found = fill(VARIANCES, SINGULAR, 1e-9)
    assert (found.gains > 0.999_999).all()
    assert found.theta == pytest.approx(2.5e-10)
    assert found.nats > 40


def test_nothing_to_send() -> None:
    assert fill(np.zeros(3), np.ones(3), 1).nats == 0
    assert fill(np.ones(3), np.zeros(3), 1).gains.tolist() == [0, 0, 0]


def test_equal_energies() -> None:
    found = fill(np.ones(5), np.ones(5), 2)
    assert found.theta == pytest.approx(0.4)
    np.testing.assert_allclose(found.gains, 0.6)


def test_other_variances() -> None:
    found = fill(VARIANCES, SINGULAR, 2.34)
    wanted = 0.5 * (math.log1p(0.75 * 8 / 1) + math.log1p(0.75 * 1 / 0.25))
    assert information(found, np.array([8.0, 1, 50, 50])) == pytest.approx(wanted)
    with pytest.raises(SpecError, match="3 variances for a filling of 4"):
        information(found, np.ones(3))


@pytest.mark.parametrize(("nats", "error"), [(0.05, 0.343), (0.1, 0.280), (0.3, 0.134)])
def test_fano_of_a_balanced_coin(nats: float, error: float) -> None:
    found = fano(nats, math.log(2), 2)
    assert found == pytest.approx(error, abs=5e-4)
    assert -found * math.log(found) - (1 - found) * math.log(1 - found) == pytest.approx(math.log(2) - nats)


def test_fano_ends() -> None:
    assert fano(0, math.log(2), 2) == pytest.approx(0.5)
    assert fano(0, math.log(7), 7) == pytest.approx(6 / 7)
    assert fano(0, 0, 3) == fano(2, math.log(7), 7) == fano(math.inf, math.log(2), 2) == 0
    assert [fano(i, math.log(10), 10) for i in (0.1, 0.5, 1, 2)] == sorted(
        (fano(i, math.log(10), 10) for i in (0.1, 0.5, 1, 2)), reverse=True
    )


@settings(max_examples=200, deadline=None)
@given(st.integers(2, 6), st.integers(2, 6), st.integers(0, 2**32 - 1))
def test_no_channel_beats_fano(classes: int, messages: int, seed: int) -> None:
    """Random joint laws of attribute and message: the best guess errs at least as often as Fano says."""
    rng = np.random.default_rng(seed)
    p = rng.dirichlet(np.full(classes * messages, 0.5)).reshape(classes, messages) + 1e-12
    p /= p.sum()
    law = p.sum(1)
    entropy = float(-(law * np.log(law)).sum())
    nats = float((p * np.log(p / (law[:, None] * p.sum(0)))).sum())
    assert 1 - p.max(0).sum() >= fano(max(0.0, nats), entropy, classes) - 1e-9


@pytest.mark.parametrize("distortion", [0, -1, math.nan, math.inf])
def test_impossible_distortion(distortion: float) -> None:
    with pytest.raises(SpecError, match="positive finite"):
        fill(VARIANCES, SINGULAR, distortion)


@pytest.mark.parametrize(
    ("variances", "singular", "says"),
    [
        (-VARIANCES, SINGULAR, "variances"),
        (VARIANCES, -SINGULAR, "singular values"),
        (VARIANCES * math.nan, SINGULAR, "variances"),
        (VARIANCES, SINGULAR[:3], "4 variances for 3 singular values"),
        (VARIANCES[:0], SINGULAR[:0], "r >= 1"),
        (VARIANCES.reshape(2, 2), SINGULAR, "variances of shape"),
    ],
)
def test_refused(variances: Array, singular: Array, says: str) -> None:
    with pytest.raises(SpecError, match=says):
        fill(variances, singular, 1)


@pytest.mark.parametrize(("nats", "entropy", "classes"), [(-1, 0.1, 2), (math.nan, 0.1, 2), (0, 0.7, 2), (0, 0, 1)])
def test_fano_refused(nats: float, entropy: float, classes: int) -> None:
    with pytest.raises(SpecError, match=r"information|entropy"):
        fano(nats, entropy, classes)
