"""Reverse water-filling: the least information for a given distortion, and what it leaves an attacker (Cover and
Thomas 2006, Elements of information theory, sections 2.10, 9.4 and 10.3.3; Shannon 1959).

The server works on W (z - z_bar) with singular values s_k; alpha_k are the coefficients of z - z_bar on W's right
singular vectors, sigma_k^2 their variances. For a distortion D = E||W (z - z')||^2

    D_k = min(sigma_k^2, theta / s_k^2)   with theta such that   sum_k s_k^2 D_k = D
    c_k = 1 - D_k / sigma_k^2,            alpha'_k = c_k alpha_k + sqrt(c_k D_k) xi_k,      xi_k ~ N(0, 1), fresh

Then I(x; alpha') <= sum_k ln(sigma_k^2 / D_k) / 2 nats whatever the law of z: the noise is independent and Gaussian, so
I <= sum_k of the coordinates' (dependence among the alpha_k only lowers the entropy of alpha'), and of all laws of one
variance the Gaussian tells most through such a channel. Where z is Gaussian with independent alpha_k, no other
channel of this distortion tells less.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from privet.errors import SpecError

Array = npt.NDArray[Any]
Floats = npt.NDArray[np.float64]

HALVINGS = 200  # of the interval in `fano`: beyond the resolution of float64


@dataclass(frozen=True)
class Filling:
    """How the distortion is spread over r coefficients.

    theta: the water level. distortions: D_k [r]. gains: c_k [r], 0 where nothing is sent. noise: sqrt(c_k D_k) [r], the
    standard deviation to add. nats: I(x; payload) is at most this, for one payload and coefficients of these variances.
    """

    theta: float
    distortions: Floats
    gains: Floats
    noise: Floats
    nats: float


def fill(variances: Array, singular: Array, distortion: float) -> Filling:
    """Spread E||W (z - z')||^2 = distortion over coefficients of these variances [r] and singular values [r].

    theta is exact, from the sorted energies s_k^2 sigma_k^2. From their sum on nothing is sent. A coefficient without
    energy is never sent. `SpecError` for a distortion that is not positive and finite, or arrays that are not r >= 1
    finite numbers from 0 on.
    """
    variance, s = _checked("variances", variances), _checked("singular values", singular)
    if len(variance) != len(s):
        raise SpecError(f"{len(variance)} variances for {len(s)} singular values; give one each")
    if not (math.isfinite(distortion) and distortion > 0):
        raise SpecError(f"a distortion is a positive finite number, got {distortion}; without any, nothing is bounded")
    energy = np.square(s) * variance
    theta = _level(energy, distortion)
    kept = energy > theta
    distortions = variance.copy()
    distortions[kept] = theta / np.square(s[kept])
    gains = np.zeros_like(variance)
    gains[kept] = 1 - theta / energy[kept]
    nats = 0.5 * float(np.log(energy[kept] / theta).sum())
    return Filling(theta, distortions, gains, np.sqrt(gains * distortions), nats)


def information(filling: Filling, variances: Array) -> float:
    """The same bound in nats for a population whose coefficients have other variances [r]:
    sum_k ln(1 + c_k variance_k / D_k) / 2 over what is sent."""
    variance = _checked("variances", variances)
    if len(variance) != len(filling.gains):
        raise SpecError(f"{len(variance)} variances for a filling of {len(filling.gains)}; give one each")
    kept = filling.gains > 0
    return 0.5 * float(np.log1p(filling.gains[kept] * variance[kept] / filling.distortions[kept]).sum())


def fano(nats: float, entropy: float, classes: int) -> float:
    """The least error with which any attacker guesses an attribute of K classes, given I(x; payload) <= nats.

    The smallest P with h(P) + P ln(K - 1) >= H - I, H the attribute's entropy in nats and h(P) that of a coin that
    falls wrong with probability P (Fano's inequality in its tight form). 0 where the information suffices. It is the
    error on average over the population, not that for one person. `SpecError` for negative nats, K < 2 or an
    entropy outside [0, ln K].
    """
    if not nats >= 0:
        raise SpecError(f"information is a number of nats from 0 on, got {nats}")
    if classes < 2 or not 0 <= entropy <= math.log(classes) + 1e-9:
        raise SpecError(f"an attribute has 2 classes or more and an entropy in [0, ln K], got K={classes}, {entropy}")
    left = entropy - nats
    low, high = 0.0, 1 - 1 / classes  # the left side rises from 0 to ln K in between
    if left <= 0:
        return low
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        low, high = (middle, high) if _uncertainty(middle, classes) < left else (low, middle)
    return low


def _uncertainty(error: float, classes: int) -> float:
    """h(P) + P ln(K - 1), 0 < P < 1."""
    coin = -error * math.log(error) - (1 - error) * math.log1p(-error)
    return coin + error * math.log(classes - 1)


def _level(energy: Floats, distortion: float) -> float:
    """theta with sum_k min(energy_k, theta) = distortion, the largest energy where the sum of all is less.

    Once the j smallest energies are under water, the other r - j coefficients share what is left of the distortion.
    """
    rising = np.sort(energy)
    under = np.concatenate([[0.0], np.cumsum(rising)[:-1]])
    levels = (distortion - under) / np.arange(len(rising), 0, -1)
    fits = np.flatnonzero(levels <= rising)
    return float(levels[fits[0]]) if len(fits) else float(rising[-1])


def _checked(name: str, values: Array) -> Floats:
    array = np.asarray(values, np.float64)
    if array.ndim != 1 or not len(array) or not np.isfinite(array).all() or (array < 0).any():
        raise SpecError(f"{name} of shape {array.shape} must be [r] finite numbers from 0 on, r >= 1")
    return array
