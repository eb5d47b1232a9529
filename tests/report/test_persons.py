"""Several payloads of one person: Bayes by hand, blocks that are used once, and galleries by simulation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache
from typing import Any

import numpy as np
import pytest

from privet.auditing.estimate import weights
from privet.auditing.panel import gallery_odds
from privet.report import html, persons, rows
from studies import people, study


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


@cache
def crowd() -> Any:
    """Four hundred people with one photo, six in ten of value 1, and six with 55 photos each, all of value 1; a
    constant adversary, and payloads that link as the answers do."""
    generator = np.random.default_rng(0)
    groups = 1_000_000 + np.concatenate([np.arange(400), 400 + np.repeat(np.arange(6), 55)])
    data = people(victim=len(groups))
    s = np.where(groups < 1_000_400, generator.random(len(groups)) < 0.6, 1).astype(np.int64)
    victim = replace(data.victim, groups=groups, s=dict(data.victim.s) | {"s": s})
    data = replace(data, parts=data.parts | {"victim": victim}, person="name")
    frequencies = np.bincount(data.aux_train.s["s"], minlength=data.n_classes("s")) + 0.0
    frequencies[1] = 2 * frequencies.max()
    priors = [frequencies / frequencies.sum(), np.array([0.34, 0.36, 0.3])]  # few labels: other ones for each seed
    drawn = weights(np.arange(20), 400, seed=0)

    def edit(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        blind = np.tile(priors[seed], (len(groups), 1))
        arrays["posterior/s/mlp_probe"] = blind
        if defense == "none":
            arrays |= {"floor/s/majority": blind, "floor/s/label_only": blind[:, ::-1]}
        for name, rate in (("cosine", 0.75), ("floor:answer", 0.25)):
            table = drawn @ (np.arange(20) < 20 * rate) / 20
            arrays |= {f"linkage/{name}/{kind}": table for kind in ("first", "auc")}
            arrays |= {f"linkage/{name}/people": np.arange(20), f"linkage/{name}/ranks": np.ones((5, 20), np.int64)}

    return rows.results(*study(data, {"none": {"mlp_probe": 0.0}}, edit=edit, seeds=2))


def test_the_floor_is_of_the_same_persons_and_as_many_payloads() -> None:
    results = crowd()
    (found,) = (m for m in results.many if m.attribute == "s")
    assert (found.persons, [n for n, _ in found.floors]) == (6, [n for n, _ in found.points])
    assert len(found.points) > 3
    assert {e.mean for _, e in found.points} == {1.0}
    assert found.floors == found.points
    assert next(r.floor.mean for r in results.rows if (r.attribute, r.metric) == ("s", "accuracy")) < 0.9
    page = html.render(results)
    assert '<th scope="row">without the payload</th>' in page
    assert "6 persons with 50 payloads or more" in page


def test_linkage_stands_beside_what_the_answers_link() -> None:
    (found,) = crowd().linked
    assert (found.distance, found.persons, found.gallery) == ("cosine", 20, 20)
    assert (found.first.mean, found.auc.mean) == (pytest.approx(0.75), pytest.approx(0.75))
    assert found.first_by_answer is not None
    assert found.first_by_answer.mean == pytest.approx(0.25)
    assert found.first.low < 0.6 < 0.75 < found.first.high
    assert "By the answers" in html.render(crowd())
