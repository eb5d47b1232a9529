"""Judges of rebuilt pictures: the closed form of a gallery, planted attributes, and a seed that decides alone."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

import tiny
from driver import TINY
from privet import trained
from privet.auditing import judges
from privet.auditing.panel import FLOOR, ORIGINAL, Panel, distances, found, gallery_odds
from privet.data.corpus import Corpus
from privet.setting import Setting
from privet.train import Effort, inputs

EFFORT = replace(Effort.named("quick"), name="judged", decoder_epochs=12, attack_steps=80, batch=32)


def corpus(*, labelled: bool = True) -> Corpus:
    """Pictures of 6x6 whose class and hidden attribute can both be seen."""
    generator = np.random.default_rng(0)
    sizes = {"task_train": 8, "task_val": 8, "aux_train": 240, "aux_val": 60, "victim": 130}
    parts = {role: tiny.part(10_000 * i, n, generator) for i, (role, n) in enumerate(sizes.items())}
    for part in parts.values():
        part.x[:, :, 3:, :2] += (30 * part.s["s"]).astype(np.uint8)[:, None, None, None]
    if not labelled:
        parts["victim"].s["s"][::2] = -1
    classes = {"y": ("dark", "bright"), "s": ("a", "b", "c")}
    return Corpus("tiny", "image", "y", ("s",), (), classes, parts)


@pytest.fixture(scope="module")
def panel() -> Panel:
    people = corpus()
    return Panel(people, judges.train(people, effort=EFFORT, seed=0), {})


# The gallery ---------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("nearer", [0, 1, 7, 60])
def test_the_odds_are_those_of_a_draw_without_replacement(nearer: int) -> None:
    others, size = 250, 20
    odds = gallery_odds(others, size)
    assert odds[nearer] == pytest.approx(math.comb(others - nearer, size - 1) / math.comb(others, size - 1))
    rng = np.random.default_rng(0)
    first = [rng.choice(others, size - 1, replace=False).min() >= nearer for _ in range(4000)]
    assert np.mean(first) == pytest.approx(odds[nearer], abs=0.025)


def test_who_knows_nothing_is_right_once_in_a_hundred_and_a_small_crowd_is_its_own_gallery() -> None:
    assert gallery_odds(430).mean() == pytest.approx(0.01)
    assert len(gallery_odds(430)) == 431
    assert gallery_odds(5).tolist() == [1, 0, 0, 0, 0, 0]


def test_a_constant_picture_finds_nobody_and_the_original_finds_itself() -> None:
    x = torch.rand(300, 12, generator=torch.Generator().manual_seed(0))
    people = groups = np.arange(300)
    assert found(x, x, people, groups).tolist() == [1.0] * 300
    assert found(x.mean(0).expand(300, 12), x, people, groups).mean() == pytest.approx(0.01, abs=1e-9)


def test_a_person_is_no_rival_of_their_own_and_equals_share_the_chance() -> None:
    x = torch.tensor([[0.0], [0.0], [5.0], [9.0]])
    drawn, people = torch.tensor([[0.0]]), np.array([0])
    assert found(drawn, x, people, np.array([0, 0, 1, 2])).tolist() == [1.0]
    assert found(drawn, x, people, np.arange(4)).tolist() == [0.5]
    assert found(torch.tensor([[9.0]]), x, people, np.arange(4), size=2).tolist() == pytest.approx([(1 / 3 + 0) / 2])


def test_distances_by_hand() -> None:
    one, other = torch.zeros(1, 2, 1, 2), torch.zeros(1, 2, 1, 2)
    one[0, 0], other[0, 0, 0, 0], other[0, 1, 0, 1] = 3.0, 7.0, 2.0  # the same direction, then a right angle
    assert distances([one], [one]).item() == 0
    assert distances([one], [other]).item() == pytest.approx((0 + 2) / 2)
    assert distances([one, one], [other, one]).item() == pytest.approx(0.5)


# The judge -----------------------------------------------------------------------------------------------------------


def test_it_reads_what_is_there_and_nothing_off_the_mean_picture(panel: Panel) -> None:
    everybody, x = np.arange(130), inputs(panel.corpus.victim.x)
    reference = panel.reference()
    rebuilt = panel.of("decoder", x, everybody)
    blank = panel.of("blank", inputs(panel.corpus.aux_train.x).mean(0).expand_as(x), everybody)
    for name in ("s", "y"):
        here = rebuilt[f"judged/input/decoder/attribute:{name}"]
        assert here.mean() > 0.9
        np.testing.assert_array_equal(here, reference[f"judged/input/{ORIGINAL}/attribute:{name}"])
        nothing = blank[f"judged/input/blank/attribute:{name}"].mean()
        shares = np.bincount(judges.labels(panel.corpus.victim, name, panel.corpus)) / 130
        assert nothing == pytest.approx(shares[np.abs(shares - nothing).argmin()])
        assert reference[f"judged/input/{FLOOR}/attribute:{name}"].mean() in shares
    assert rebuilt["judged/input/decoder/distance:judge"].max() < 1e-6
    assert reference[f"judged/input/{FLOOR}/distance:judge"].mean() > 0.05
    assert rebuilt["judged/input/decoder/found:pixels"].mean() > 0.99
    assert reference[f"judged/input/{FLOOR}/found:judge"].mean() == pytest.approx(0.01)


def test_who_was_not_asked_or_has_no_label_is_not_counted(panel: Panel) -> None:
    some = Panel(corpus(labelled=False), panel.own, {})
    people = np.arange(0, 130, 3)
    said = some.of("inversion", inputs(some.corpus.victim.x[people]), people)
    known = np.flatnonzero(np.isfinite(said["judged/input/inversion/attribute:s"]))
    assert known.tolist() == [i for i in people if i % 2]
    assert np.isfinite(said["judged/input/inversion/found:judge"]).sum() == len(people)


def test_it_follows_the_seed_and_never_meets_a_victim() -> None:
    people, effort = corpus(), replace(EFFORT, decoder_epochs=3, attack_steps=10)
    blind = {**people.parts, "victim": replace(people.victim, x=np.zeros_like(people.victim.x))}
    one = judges.train(people, effort=effort, seed=1).state_dict()
    torch.manual_seed(99)
    two = judges.train(replace(people, parts=blind), effort=effort, seed=1).state_dict()
    three = judges.train(people, effort=effort, seed=2).state_dict()
    assert all(torch.equal(one[key], two[key]) for key in one)
    assert not torch.equal(one["stages.0.0.weight"], three["stages.0.0.weight"])


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 50, 50), (1, 40, 64), (3, 200, 130)])
def test_it_looks_at_pictures_of_any_size(shape: tuple[int, ...]) -> None:
    network = judges.Judge(shape, {"a": 3, "b": 2}).eval()
    said = network(torch.rand(2, *shape))
    assert [tuple(v.shape) for v in said.values()] == [(2, 3), (2, 2)]
    assert judges.blurred(torch.full((2, *shape), 0.3), 4.0).allclose(torch.full((2, *shape), 0.3))


# A trial -------------------------------------------------------------------------------------------------------------


def test_it_is_trained_once_for_all_defenses_of_a_seed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    people, seeds, learn = corpus(), [], judges.train

    def counted(*arguments: object, **more: object) -> judges.Judge:
        seeds.append(more["seed"])
        return learn(*arguments, **more)

    monkeypatch.setattr(judges, "train", counted)
    setting = Setting("cnn3", "flatten", effort=TINY.name, attacks=("decoder",))
    one = trained.picture_judge(setting, people, 0, tmp_path)
    two = trained.picture_judge(replace(setting, threat="few_labels"), people, 0, tmp_path)
    assert one is not None
    assert two is not None
    assert seeds == [0]
    assert all(torch.equal(a, b) for a, b in zip(one.state_dict().values(), two.state_dict().values(), strict=True))
    assert trained.picture_judge(replace(setting, attacks=("mlp_probe",)), people, 0, tmp_path) is None
    assert seeds == [0]
