"""Matched noise: the fall in accuracy that was asked for, measured again with other noise, or a refusal."""

from __future__ import annotations

import math
from dataclasses import replace
from functools import lru_cache
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from people import crowd, strangers
from privet.data.corpus import Corpus
from privet.defense import Defended
from privet.defenses.gaussian import Gaussian
from privet.defenses.matched_noise import HIGHEST, LOWEST, STEPS, MatchedNoise, search, share_right
from privet.errors import DataError, SpecError
from privet.split import Split
from privet.train import fit_task, inputs, predict
from tiny import EFFORT, conv_split, vector_split

TRAINING = replace(EFFORT, task_epochs=30, tune_epochs=4, batch=32)
SPLITS = {"conv": conv_split, "vector": vector_split}


@lru_cache
def data() -> Corpus:
    return crowd()


@lru_cache
def trained(cut: str) -> Split:
    """A split that answers the crowd's question."""
    given = SPLITS[cut]()
    fit_task(nn.Sequential(given.edge, given.server), data(), effort=TRAINING, seed=0)
    return given


@lru_cache
def fit(cut: str, drop: float, tune: bool, tolerance: float = 0.5) -> Defended:
    return MatchedNoise(drop, tolerance, tune).fit(trained(cut), data(), effort=TRAINING, seed=0)


def accuracy(defended: Defended, draws: int, seed: int) -> float:
    """Of the payloads that travel, on task_val, behind noise that the search has never seen."""
    part, generator = data().task_val, np.random.default_rng(seed)
    x = inputs(part.x)
    answers = [defended.server(defended.encode(x, defended.draw(len(x), generator))).argmax(1) for _ in range(draws)]
    return float(np.mean([(a.numpy() == part.y).mean() for a in answers]))


@pytest.mark.parametrize("tune", [False, True])
@pytest.mark.parametrize(("cut", "drop"), [("conv", 10.0), ("vector", 5.0)])
def test_the_fall_is_reached(cut: str, drop: float, tune: bool) -> None:
    defended = fit(cut, drop, tune)
    given, part = trained(cut), data().task_val
    before = float((predict(nn.Sequential(given.edge, given.server), part.x).argmax(1).numpy() == part.y).mean())
    assert before > 0.95, "the network has something to lose"
    assert defended.log["accuracy_undefended"] == pytest.approx(before)
    assert defended.log["matched"] is True
    assert abs(defended.log["drop_reached"] - drop) <= 0.5
    assert abs(100 * (before - accuracy(defended, 150, 77)) - drop) <= 0.5 + 1.0  # three errors of 9600 payloads


def test_equation() -> None:
    defended = fit("conv", 10.0, False)
    z, xi = torch.randn(4, 4, 6, 6), torch.randn(4, 4, 6, 6)
    assert torch.equal(defended.obfuscator(z, xi), z + defended.log["sigma"] * xi)
    assert [n.law for n in defended.obfuscator.noise] == ["normal"]
    size = float(predict(trained("conv").edge, data().task_val.x).std(correction=0))
    assert defended.log["sigma"] == pytest.approx(size * defended.log["sigma_in_deviations"])


@pytest.mark.parametrize(("cut", "tune"), [("conv", False), ("vector", False), ("vector", True)])
def test_sigma_grows_with_the_drop(cut: str, tune: bool) -> None:
    found = [fit(cut, drop, tune) for drop in (2.0, 5.0, 10.0, 20.0)]
    sigmas = [defended.log["sigma"] for defended in found]
    assert sigmas == sorted(sigmas)
    assert sigmas[-1] > 1.3 * sigmas[0]
    assert all(defended.log["matched"] for defended in found)


def test_a_tuned_server_bears_more_noise() -> None:
    assert fit("vector", 10.0, True).log["sigma"] > fit("vector", 10.0, False).log["sigma"]


def test_the_server_that_ships_is_the_one_that_was_measured() -> None:
    defended = fit("vector", 5.0, True)
    z, y = predict(defended.split.edge, data().task_val.x), torch.from_numpy(data().task_val.y)
    lost = 100 * (defended.log["accuracy_undefended"] - share_right(defended.split, defended.obfuscator, z, y, 0))
    assert lost == pytest.approx(defended.log["drop_reached"])
    before = trained("vector").server.state_dict()
    assert not all(torch.equal(v, before[k]) for k, v in defended.split.server.state_dict().items())
    for tune in (True, False):
        edge = fit("vector", 5.0, tune).split.edge.state_dict()
        assert all(torch.equal(v, edge[k]) for k, v in trained("vector").edge.state_dict().items())
    still = fit("vector", 5.0, False).split.server.state_dict()
    assert all(torch.equal(v, before[k]) for k, v in still.items())


@pytest.mark.parametrize("drop", [5.0, 20.0])
def test_every_sigma_is_tuned_from_the_server_given(drop: float) -> None:
    """So the result is the defense `gaussian` at the sigma found."""
    defended = fit("vector", drop, True)
    plain = Gaussian(defended.log["sigma"]).fit(trained("vector"), data(), effort=TRAINING, seed=0)
    state = zip(plain.split.server.state_dict().values(), defended.split.server.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in state)


def test_the_nearest_where_none_is_near_enough() -> None:
    log = fit("vector", 7.1234567, False, 1e-6).log
    assert log["matched"] is False
    assert len(log["tried"]) == STEPS + 2
    gaps = {abs(one["drop"] - 7.1234567): one["sigma"] for one in log["tried"]}
    assert log["sigma"] == gaps[min(gaps)]
    assert abs(log["drop_reached"] - 7.1234567) == min(gaps) > 1e-6


def test_a_frozen_server_is_left_alone() -> None:
    given = replace(trained("vector"), frozen=frozenset({"edge", "server"}))
    defended = MatchedNoise(10.0).fit(given, data(), effort=TRAINING, seed=0)
    assert defended.log["server_tuned"] is False
    assert "frozen" in defended.log["why"]
    assert defended.log["sigma"] == fit("vector", 10.0, False).log["sigma"]


@pytest.mark.parametrize("tune", [False, True])
def test_only_the_task_parts_are_read(tune: bool) -> None:
    one, other = fit("vector", 5.0, tune), strangers(data())
    two = MatchedNoise(5.0, tune=tune).fit(trained("vector"), other, effort=TRAINING, seed=0)
    assert one.log == two.log
    state = zip(one.split.server.state_dict().values(), two.split.server.state_dict().values(), strict=True)
    assert all(torch.equal(a, b) for a, b in state)


# The search alone, on curves that are known ------------------------------------------------------------------------


def curve(sigma: float) -> float:
    """Points lost: 50 at most, half of them at sigma = 3."""
    return 50 * sigma**2 / (9 + sigma**2)


def jagged(sigma: float) -> float:
    """The same with a ripple, so that it is not monotone."""
    return curve(sigma) + 2 * math.sin(40 * math.log(sigma))


def test_search_finds_the_sigma_of_a_known_curve() -> None:
    for drop in (1.0, 10.0, 25.0, 45.0):
        tried = search(curve, drop, 0.05)
        assert abs(tried[-1][1] - drop) <= 0.05
        assert tried[-1][0] == pytest.approx(3 * math.sqrt(drop / (50 - drop)), rel=0.02)
        assert len(tried) <= STEPS + 2
    assert search(curve, 25.0, 0.01, size=2.0)[0][0] == 2 * HIGHEST


def test_larger_drops_never_get_smaller_sigmas() -> None:
    for loss in (curve, jagged):
        ends = [search(loss, drop, 0.5)[-1] for drop in np.arange(3, 45, 0.6)]
        met = [
            sigma for (sigma, lost), drop in zip(ends, np.arange(3, 45, 0.6), strict=True) if abs(lost - drop) <= 0.5
        ]
        assert len(met) > 40
        assert met == sorted(met)


def test_search_refuses_what_the_ends_do_not_enclose() -> None:
    with pytest.raises(SpecError, match=r"drop=60 cannot be reached: .* costs only 50\.0 points"):
        search(curve, 60.0, 0.5)
    with pytest.raises(SpecError, match=r"drop=10 cannot be met: .* costs 20\.0 points .* already"):
        search(lambda sigma: 20.0 + sigma / HIGHEST, 10.0, 0.5)
    flat = search(lambda sigma: 50.0 * (sigma > LOWEST), 49.8, 0.5)  # the whole plateau is near enough
    assert flat[-1][0] < 8


def test_progress_ends_where_it_said(calls: list[tuple[int, int]]) -> None:
    search(curve, 10.0, 0.5, 1.0, lambda done, total: calls.append((done, total)))
    assert calls[-1] == (STEPS + 2, STEPS + 2)
    assert [done for done, _ in calls] == sorted(done for done, _ in calls)


@pytest.fixture
def calls() -> list[tuple[int, int]]:
    return []


# Refusals ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("tune", [False, True])
def test_what_no_noise_can_cost_is_refused(tune: bool) -> None:
    """Behind any noise the majority is still right about half of the time."""
    with pytest.raises(SpecError, match="drop=70 cannot be reached"):
        MatchedNoise(70.0, tune=tune).fit(trained("vector"), data(), effort=TRAINING, seed=0)


def test_labels_are_needed() -> None:
    part = data().task_val
    nobody = {**data().parts, "task_val": replace(part, y=np.full_like(part.y, -1))}
    with pytest.raises(DataError, match="task_val has no example labelled with 'y'"):
        MatchedNoise().fit(trained("vector"), replace(data(), parts=nobody, digest=""), effort=TRAINING, seed=0)
    some = {**data().parts, "task_val": replace(part, y=np.where(np.arange(len(part)) < 40, part.y, -1))}
    defended = MatchedNoise(tune=False).fit(
        trained("vector"), replace(data(), parts=some, digest=""), effort=TRAINING, seed=0
    )
    assert defended.log["matched"] is True


@pytest.mark.parametrize(
    ("options", "says"),
    [
        ({"drop": 0.0}, "between 0 and 100"),
        ({"drop": -3.0}, "between 0 and 100"),
        ({"drop": 100.0}, "between 0 and 100"),
        ({"drop": math.nan}, "between 0 and 100"),
        ({"tolerance": 0.0}, "near enough"),
        ({"tolerance": 6.0}, "near enough"),
        ({"tolerance": math.nan}, "near enough"),
    ],
)
def test_options_out_of_range(options: dict[str, Any], says: str) -> None:
    with pytest.raises(SpecError, match=says):
        MatchedNoise(**options)
