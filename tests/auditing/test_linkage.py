"""Linkage: ranks by hand, ties that tell nothing, and that whitening finds a person under what varies within one."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from privet.attack import View
from privet.auditing import linkage
from privet.auditing.estimate import weights
from privet.auditing.panel import gallery_odds
from privet.auditing.wire import Observed
from privet.data.corpus import Corpus
from studies import people

EACH, PERSONS, WIDTH = 4, 30, 12


def persons(noise: float, loud: float = 0.0, constant: bool = False) -> tuple[Observed, Corpus]:
    """Thirty persons a part, each with a fingerprint of its own in four values; eight others say nothing, `loud`."""
    generator = np.random.default_rng(0)
    data = people(aux_train=EACH * PERSONS, aux_val=EACH * PERSONS, victim=EACH * PERSONS)
    views, parts = {}, {}
    for number, (role, part) in enumerate(data.parts.items()):
        if len(part) != EACH * PERSONS:
            parts[role] = part
            continue
        who = np.repeat(np.arange(PERSONS), EACH)
        fingerprint = generator.normal(size=(PERSONS, WIDTH))
        w = fingerprint[who] + noise * generator.normal(size=(len(who), WIDTH))
        w[:, 4:] = loud * generator.normal(size=(len(who), 1)) * np.linspace(1, 2, 8)
        w[:, 4:] += 0.05 * generator.normal(size=(len(who), 8))
        views[role] = View(torch.from_numpy(w * (not constant)).float())
        parts[role] = replace(part, groups=who + 1000 * number)
    observed = Observed([views["aux_train"]], views["aux_val"], views["victim"], {}, 0, 0, None)
    return observed, replace(data, parts=parts, person="name")


def test_ranks_by_hand() -> None:
    generator = np.random.default_rng(0)
    distances = np.array([[1.0, 2.0, 3.0], [1.0, 2.0, 3.0], [1.0, 2.0, 3.0]])
    np.testing.assert_array_equal(linkage.ranks(linkage.nearer(distances, generator)), [1, 2, 3])
    assert linkage.auc(np.array([[1, 2, 3]])) == pytest.approx((1 + 0.5 + 0) / 3)
    drawn = [linkage.ranks(linkage.nearer(np.zeros((3, 3)), generator)) for _ in range(600)]
    assert np.mean(drawn) == pytest.approx(2, abs=0.1)  # equally near: any place


def test_a_fingerprint_is_recognized() -> None:
    found = linkage.link(*persons(noise=0.1), seed=0)
    (ranks,) = (v for k, v in found.items() if k.endswith("/ranks"))
    assert ranks.shape == (linkage.MEETINGS, PERSONS)
    assert linkage.auc(ranks) > 0.93
    (who,) = (v for k, v in found.items() if k.endswith("/people"))
    assert len(np.unique(who)) == PERSONS


def test_whitening_sees_through_what_varies_within_a_person() -> None:
    """One direction that changes from picture to picture drowns the fingerprint for every distance that knows no
    persons."""
    found = linkage.link(*persons(noise=0.2, loud=20.0), seed=0)
    (name,) = {k.split("/")[1] for k in found}
    assert name == "whitened"
    assert linkage.auc(found["linkage/whitened/ranks"]) > 0.9


def test_a_constant_payload_links_nobody() -> None:
    found = linkage.link(*persons(noise=0.1, constant=True), seed=0)
    (ranks,) = (v for k, v in found.items() if k.endswith("/ranks"))
    assert linkage.auc(ranks) == pytest.approx(0.5, abs=0.1)


def test_no_persons_no_linkage() -> None:
    observed, data = persons(noise=0.1)
    assert linkage.link(observed, replace(data, person=""), seed=0) == {}
    alone = replace(data.victim, groups=np.arange(len(data.victim)) + 5000)
    assert linkage.link(observed, replace(data, parts=data.parts | {"victim": alone}), seed=0) == {}


def test_the_seed_alone_decides() -> None:
    observed, data = persons(noise=1.0)
    found = []
    for poison in (1, 2):
        np.random.seed(poison)
        found.append(linkage.link(observed, data, seed=3))
    assert found[0].keys() == found[1].keys()
    for key in found[0]:
        np.testing.assert_array_equal(found[0][key], found[1][key])


def test_what_is_known_anyway_links_nobody() -> None:
    """Persons of two kinds, told by a column of side information behind a constant payload."""
    observed, data = persons(noise=0.1, constant=True)

    def known(view: View, groups: np.ndarray) -> View:
        return View(torch.cat([view.flat, torch.from_numpy(groups % 2).float()[:, None]], 1))

    views = zip((observed.train[0], observed.val, observed.victims), ("aux_train", "aux_val", "victim"), strict=True)
    train, val, victims = (known(v, data.parts[role].groups) for v, role in views)
    more = replace(observed, train=[train], val=val, victims=victims)
    areas = []
    for side in (0, 1):
        (ranks,) = (v for k, v in linkage.link(more, data, 0, side).items() if k.endswith("/ranks"))
        areas.append(linkage.auc(ranks))
    assert areas[0] > 0.65
    assert areas[1] == pytest.approx(0.5, abs=0.1)


def test_a_person_who_is_drawn_twice_is_looked_for_twice_and_stands_twice_in_the_galleries() -> None:
    found = np.array([[0, 1, 0], [0, 0, 0], [1, 1, 0]], dtype=bool)  # row: who is nearer than the right one
    first, area = linkage.resampled(found, np.array([[1.0, 1.0, 1.0], [1.0, 2.0, 0.0]]))
    np.testing.assert_allclose(first, [1 / 3, 2 / 3])  # of a, b, b only b is ever the first
    np.testing.assert_allclose(area, [(0.5 + 1 + 0) / 3, (0 + 1 + 1) / 3])


def test_the_tables_begin_with_what_the_ranks_say() -> None:
    found = linkage.link(*persons(noise=1.0), seed=0)
    arrays = {key.split("/")[2]: value for key, value in found.items()}
    assert arrays["auc"].shape == arrays["first"].shape == (1 + linkage.REPLICATES,)
    assert arrays["auc"][0] == pytest.approx(linkage.auc(arrays["ranks"]))
    assert arrays["first"][0] == pytest.approx(gallery_odds(PERSONS - 1, PERSONS)[arrays["ranks"] - 1].mean())


def test_the_interval_holds_new_galleries_as_well() -> None:
    """Over drawn worlds the AUC's interval holds the truth, which one of the people looked for alone does not."""
    generator, spans = np.random.default_rng(1), []
    drawn = weights(np.arange(80), 200, seed=0)
    for _ in range(80):
        fingerprint = generator.normal(size=(80, 4)) * np.exp(0.5 * generator.normal(size=(80, 1)))
        a, b = (fingerprint + 0.6 * generator.normal(size=fingerprint.shape) for _ in range(2))
        found = linkage.nearer(np.square(a[:, None] - b).sum(2), generator)
        alone = drawn @ (1 - found.sum(1) / 79) / 80
        both = linkage.resampled(found, drawn)[1]
        spans.append([float(table[1:].std()) for table in (both, alone)] + [float(both[0])])
    both, alone, values = np.array(spans).T
    assert np.sqrt(np.square(both).mean()) > 0.9 * values.std() > np.sqrt(np.square(alone).mean())


def test_the_floor_links_by_the_answers_alone() -> None:
    """Persons of two kinds, and an answer that tells the kind: half of the others are farther away."""
    observed, data = persons(noise=0.1, constant=True)
    answers = data.victim.groups % 2
    found = linkage.link(observed, data, seed=0, answers=answers)
    assert linkage.auc(found["linkage/floor:answer/ranks"]) == pytest.approx(0.75, abs=0.05)
    assert linkage.auc(linkage.link(observed, data, seed=0, answers=0 * answers)["linkage/floor:answer/ranks"]) < 0.6
    assert not any("floor" in key for key in linkage.link(observed, data, seed=0))
