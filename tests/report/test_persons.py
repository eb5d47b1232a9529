"""Several payloads of one person: Bayes by hand, blocks that are used once, and galleries by simulation."""

from __future__ import annotations

import numpy as np
import pytest

from privet.auditing.panel import gallery_odds
from privet.report import persons


def test_evidence_adds_up() -> None:
    """A prior that favors b, payloads that each favor a a little: one is not enough, three are."""
    prior = np.array([0.3, 0.7])
    posterior = np.tile([0.45, 0.55], (6, 1))  # likelihood ratio (.45 / .3) / (.55 / .7) = 1.909 for a
    s, rows = np.zeros(6, np.int64), [np.arange(6)]
    assert persons.together(posterior, prior, s, rows, 1)[0] == 0.0
    assert persons.together(posterior, prior, s, rows, 2)[0] == 1.0  # .3 * 1.909^2 > .7


def test_what_everybody_knows_does_not_add_up() -> None:
    prior = np.array([0.6, 0.4])
    posterior = np.tile(prior, (50, 1))
    s = np.ones(50, np.int64)
    assert persons.together(posterior, prior, s, [np.arange(50)], 50)[0] == 0.0


def test_each_payload_is_in_one_block() -> None:
    posterior = np.eye(2)[np.array([0, 0, 0, 1, 1])]
    s = np.zeros(5, np.int64)
    share = persons.together(posterior, np.array([0.5, 0.5]), s, [np.arange(5)], 1)[0]
    assert share == pytest.approx(3 / 5)


def test_a_person_with_two_values_is_left_out() -> None:
    groups, s = np.array([1, 1, 2, 2, 3, 3]), np.array([0, 0, 0, 1, -1, 1])
    assert [own.tolist() for own in persons._constant(groups, s)] == [[0, 1], [5]]


def test_the_chance_of_being_first_is_that_of_a_drawn_gallery() -> None:
    generator = np.random.default_rng(0)
    people, gallery = 40, 10
    for rank in (1, 3, 12, 31, 40):
        draws = np.stack([generator.choice(people - 1, gallery - 1, replace=False) for _ in range(20000)])
        simulated = (draws >= rank - 1).all(1).mean()  # the rank - 1 nearer ones are the numbers below rank - 1
        found = gallery_odds(people - 1, gallery)[rank - 1]
        assert found == pytest.approx(simulated, abs=0.012)
    every = gallery_odds(people - 1, gallery)
    assert every.mean() == pytest.approx(1 / gallery)
