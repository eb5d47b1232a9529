"""Fisher's criterion: the oracle of scipy, both ways to it, streams, luck taken off, and channels that tell nothing."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.linalg
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from sklearn.covariance import ledoit_wolf

from privet.errors import DataError, SpecError
from privet.planner import fisher


def people(n: int, channels: int, d: int, classes: int, seed: int = 0) -> tuple[torch.Tensor, torch.Tensor]:
    """Values of which channel 0 says most of the class and the last nothing, far from zero."""
    generator = torch.Generator().manual_seed(seed)
    y = torch.arange(n) % classes
    z = torch.randn(n, channels, d, generator=generator) + 5
    strength = torch.linspace(1, 0, channels)[:, None] if channels > 1 else torch.ones(1, 1)
    return z + strength * y[:, None, None], y


def oracle(z: torch.Tensor, y: torch.Tensor, shrinkage: float) -> np.ndarray:
    """lambda_max of S_b p = lambda A p, channel by channel, from the definitions."""
    found = []
    for channel in range(z.shape[1]):
        v, labels = z[:, channel].flatten(1).double().numpy(), y.numpy()
        between = within = np.zeros((v.shape[1],) * 2)
        for k in np.unique(labels):
            own = v[labels == k]
            away = (own.mean(0) - v.mean(0))[:, None]
            between = between + len(own) * away @ away.T
            within = within + (own - own.mean(0)).T @ (own - own.mean(0))
        a = within + shrinkage * np.trace(within) / len(within) * np.eye(len(within))
        found.append(scipy.linalg.eigh(between, a, eigvals_only=True)[-1])
    return np.array(found)


@pytest.mark.parametrize(
    ("n", "channels", "d", "classes"), [(200, 4, 9, 3), (60, 3, 25, 5), (90, 2, 1, 2), (30, 2, 64, 4)]
)
@pytest.mark.parametrize("shrinkage", [1e-3, 0.1])
def test_it_is_the_generalized_eigenvalue(n: int, channels: int, d: int, classes: int, shrinkage: float) -> None:
    """METHODS T4: to 1e-6; the last case has more values than people and goes by the Gram matrix."""
    z, y = people(n, channels, d, classes)
    found = fisher.criterion(z, y, shrinkage=shrinkage).numpy()
    np.testing.assert_allclose(found, oracle(z, y, shrinkage), rtol=1e-6)


@settings(max_examples=20, deadline=None)
@given(n=st.integers(6, 40), d=st.integers(1, 30), classes=st.integers(2, 5), seed=st.integers(0, 999))
def test_both_ways_agree(n: int, d: int, classes: int, seed: int) -> None:
    z, y = people(max(n, classes + 1), 2, d, classes, seed)
    straight = fisher.Moments(classes)
    straight.add(z, y)
    gram = fisher.by_gram(z, y[None], classes)[0]
    np.testing.assert_allclose(straight.criterion()[0].numpy(), gram.numpy(), rtol=1e-6)


def test_a_stream_says_what_the_whole_says() -> None:
    z, y = people(500, 5, 16, 4)
    moments = fisher.Moments(4)
    for rows in torch.arange(500).split(37):
        moments.add(z[rows], y[rows])
    np.testing.assert_allclose(moments.criterion()[0].numpy(), fisher.criterion(z, y).numpy(), rtol=1e-9)


def test_channels_by_parts_are_channels_together(monkeypatch: pytest.MonkeyPatch) -> None:
    z, y = people(120, 6, 9, 3)
    whole = fisher.criterion(z, y)
    monkeypatch.setattr(fisher, "SQUARES", 2 * 8 * 81)
    monkeypatch.setattr(fisher, "ROOM", 1)
    monkeypatch.setattr(fisher, "BATCH", 50)
    np.testing.assert_allclose(fisher.criterion(z, y).numpy(), whole.numpy(), rtol=1e-9)


def test_scale_and_place_do_not_matter() -> None:
    z, y = people(150, 3, 8, 3)
    found = fisher.criterion(z, y)
    np.testing.assert_allclose(fisher.criterion(1e-3 * z.double() - 7, y).numpy(), found.numpy(), rtol=1e-6)
    np.testing.assert_allclose(fisher.criterion(1e4 * z.double(), y).numpy(), found.numpy(), rtol=1e-6)


def test_what_is_planted_comes_first_and_luck_is_taken_off() -> None:
    y = torch.arange(120) % 4
    nothing = torch.randn(120, 8, 40, generator=torch.Generator().manual_seed(9))
    planted = nothing.clone()
    planted[:, 3, 0] += 2 * y
    assert int(fisher.criterion(planted, y).argmax()) == 3
    lucky = fisher.criterion(nothing, y)
    fair = fisher.criterion(nothing, y, permutations=20, generator=torch.Generator().manual_seed(1))
    assert float(lucky.mean()) > 0.5, "40 values tell 120 people apart by luck"
    assert abs(float(fair.mean())) < 0.25 * float(lucky.mean()), "eight channels, each a draw of its own"


def test_labels_dealt_anew_share_their_sums_and_the_seed_decides() -> None:
    z, y = people(80, 2, 5, 2)
    torch.manual_seed(1)
    one = fisher.criterion(z, y, permutations=3, generator=torch.Generator().manual_seed(4))
    torch.manual_seed(2)
    two = fisher.criterion(z, y, permutations=3, generator=torch.Generator().manual_seed(4))
    assert one.equal(two)
    generator = torch.Generator().manual_seed(4)
    dealt = [y[torch.randperm(80, generator=generator)] for _ in range(3)]
    by_hand = fisher.criterion(z, y) - torch.stack([fisher.criterion(z, labels) for labels in dealt]).mean(0)
    np.testing.assert_allclose(one.numpy(), by_hand.numpy(), rtol=1e-9)


@pytest.mark.parametrize("d", [4, 400])
def test_constant_channels_tell_nothing_and_points_everything(d: int) -> None:
    z, y = people(50, 3, d, 2)
    z[:, 1] = 0.1
    z[:, 2] = y[:, None].float() + 100
    found = fisher.criterion(z, y)
    assert found[0] > 0
    assert found[1] == 0
    assert found[2] == float("inf")


def test_ledoit_and_wolf_decide_for_each_channel() -> None:
    z, y = people(60, 2, 12, 3)
    found = fisher.criterion(z, y, shrinkage="ledoit_wolf")
    for channel in range(2):
        v = z[:, channel].double().numpy()
        means = np.stack([v[y.numpy() == k].mean(0) for k in range(3)])
        covariance, _ = ledoit_wolf(v - means[y.numpy()], assume_centered=True)
        away = (means - v.mean(0)) * np.sqrt(20)
        wanted = scipy.linalg.eigh(away.T @ away, 60 * covariance, eigvals_only=True)[-1]
        assert float(found[channel]) == pytest.approx(wanted, rel=1e-6)


def test_who_has_no_label_is_left_out_and_one_person_makes_a_class() -> None:
    z, y = people(61, 2, 6, 3)
    y[5], y[60] = -1, 2
    kept = y >= 0
    np.testing.assert_allclose(fisher.criterion(z, y).numpy(), oracle(z[kept], y[kept], 1e-3), rtol=1e-6)
    y[y == 2] = 1
    y[7] = 2  # a class of one: its mean counts, its spread is unknown
    np.testing.assert_allclose(fisher.criterion(z, y).numpy(), oracle(z[kept], y[kept], 1e-3), rtol=1e-6)


def test_what_cannot_be_judged_is_refused() -> None:
    z, y = people(20, 2, 3, 2)
    with pytest.raises(DataError, match="compares classes, and 1 of them"):
        fisher.criterion(z, torch.zeros(20, dtype=torch.int64))
    with pytest.raises(DataError, match="compares classes, and 0 of them"):
        fisher.criterion(z, torch.full((20,), -1))
    with pytest.raises(DataError, match="one person only"):
        fisher.criterion(z[:2], torch.tensor([0, 1]))
    with pytest.raises(SpecError, match="shrinkage is at least 0"):
        fisher.criterion(z, y, shrinkage=-1)
    with pytest.raises(SpecError, match="no inverse"):
        fisher.criterion(z.repeat(1, 1, 2), y, shrinkage=0)
    with pytest.raises(SpecError, match="more values than people"):
        fisher.criterion(torch.randn(4, 1, 9), torch.tensor([0, 1, 0, 1]), shrinkage=0)
    moments = fisher.Moments(2)
    moments.add(z, y)
    with pytest.raises(DataError, match="give batches of one network"):
        moments.add(z[:, :1], y)
