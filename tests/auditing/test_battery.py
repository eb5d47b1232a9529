"""The battery: fair to every attack, blind to the victims, a function of its seed."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.attack import Goal, Need, Posterior, Probe, Setting, View
from privet.attacks.boosted_trees import BoostedTrees
from privet.attacks.linear_probe import LinearProbe
from privet.attacks.mlp_probe import MlpProbe
from privet.auditing import battery
from privet.auditing.battery import Material, Outcome
from privet.train import Effort
from studies import SMALL


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@dataclass(frozen=True)
class Recorder:
    """A probe that is a mean of its features, and remembers the order in which it saw views."""

    summary: ClassVar[str] = "records"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset()
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-2), Setting(1e-9))
    standardize: ClassVar[bool] = False
    seen: ClassVar[list[int]] = []

    def features(self, view: View) -> Tensor:
        type(self).seen.append(len(view))
        return view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        return nn.Linear(view.flat.shape[1], output[0])


@dataclass(frozen=True)
class Constant:
    """A solver that answers with the value in a view's first column."""

    summary: ClassVar[str] = "answers"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(
        self,
        train: View,
        s: Tensor,
        val: View,
        s_val: Tensor,
        *,
        classes: int,
        effort: Effort,
        seed: int,
        device: str = "cpu",
    ) -> Posterior:
        assert len(train) == len(s)
        return lambda view: torch.stack([view.flat[:, 0], 1 - view.flat[:, 0]], 1)


def strangers(n: int, seed: int, width: int = 32) -> tuple[View, Tensor]:
    """People whose payload is theirs alone and says nothing about s."""
    generator = np.random.default_rng(seed)
    flat = torch.from_numpy(generator.normal(size=(n, width)).astype(np.float32))
    return View(flat), torch.from_numpy(generator.integers(0, 2, n))


def material(train: tuple[View, Tensor], val: tuple[View, Tensor]) -> Material:
    return Material([train[0]], train[1], val[0], val[1], (2,))


def correct(outcome: Outcome, s: Tensor) -> float:
    return float((outcome.victims.argmax(1) == s).float().mean())


@pytest.mark.parametrize("attack", [LinearProbe(), MlpProbe(), BoostedTrees()], ids=lambda a: type(a).__name__)
def test_an_adversary_trained_on_the_victims_is_seen(attack: Probe) -> None:
    """Fair material stays at the floor; the victims among the material leap over it."""
    victims = strangers(150, 3)
    fair = battery.run(attack, material(strangers(240, 1), strangers(80, 2)), victims[0], effort=SMALL, seed=0)
    limit = 0.5 + 3 * (0.25 / 150) ** 0.5
    assert correct(fair, victims[1]) <= limit
    unfair = battery.run(attack, material(victims, victims), victims[0], effort=SMALL, seed=0)
    assert correct(unfair, victims[1]) > limit + 0.1


def test_no_victim_is_seen_before_the_fit_has_ended() -> None:
    Recorder.seen.clear()
    battery.run(Recorder(), material(strangers(40, 1), strangers(30, 2)), strangers(20, 3)[0], effort=SMALL, seed=0)
    first = Recorder.seen.index(20)
    assert 40 in Recorder.seen[:first]
    assert set(Recorder.seen[first:]) == {20}


def test_the_grid_is_chosen_on_aux_val_and_cut_by_the_effort() -> None:
    train, val = ((View(torch.eye(2)[s]), s) for s in (torch.arange(60) % 2, torch.arange(40) % 2))
    both = replace(SMALL, grid=2)
    outcome = battery.run(Recorder(), material(train, val), val[0], effort=both, seed=0)
    assert len(outcome.log["settings"]) == 2
    good, idle = outcome.log["settings"]
    assert good["val_loss"] < idle["val_loss"]
    assert correct(outcome, val[1]) == 1.0
    assert len(battery.run(Recorder(), material(train, val), val[0], effort=SMALL, seed=0).log["settings"]) == 1


def test_underfit_says_that_the_last_epoch_was_the_best() -> None:
    train, val = ((View(torch.eye(2)[s]), s) for s in (torch.arange(60) % 2, torch.arange(40) % 2))
    short = replace(SMALL, attack_epochs=2, attack_steps=1)
    assert battery.run(Recorder(), material(train, val), val[0], effort=short, seed=0).log["underfit"]
    people, others = strangers(240, 1), strangers(80, 2)
    noise = battery.run(MlpProbe(), material(people, others), others[0], effort=SMALL, seed=0)
    assert not noise.log["underfit"]


def test_several_draws_of_aux_reach_a_solver_and_a_probe() -> None:
    train, s = strangers(30, 1)
    several = Material([train, train, train], s, train, s, (2,))
    battery.run(Constant(), several, train, effort=SMALL, seed=0)  # asserts that views and labels match
    other = View(train.flat * 0)
    alone = battery.run(LinearProbe(), replace(several, train=[train]), train, effort=SMALL, seed=0)
    mixed = battery.run(LinearProbe(), replace(several, train=[train, other]), train, effort=SMALL, seed=0)
    assert not torch.equal(alone.victims, mixed.victims)


def test_early_stopping_keeps_the_best_epoch() -> None:
    train, val = strangers(60, 1), strangers(60, 2)
    outcome = battery.run(MlpProbe(), material(train, val), val[0], effort=SMALL, seed=0)
    setting = outcome.log["settings"][0]
    loss = float(-outcome.val[torch.arange(60), val[1]].log().mean())
    assert loss == pytest.approx(setting["val_loss"], rel=1e-4)
    assert setting["best_epoch"] < setting["epochs"]


def test_features_that_do_not_vary_and_victims_far_out_do_no_harm() -> None:
    train, val, victims = strangers(60, 1), strangers(30, 2), strangers(10, 3)
    train[0].flat[:, 0] = 7.0
    victims[0].flat[:] = 1e6
    outcome = battery.run(MlpProbe(), material(train, val), victims[0], effort=SMALL, seed=0)
    assert bool(torch.isfinite(outcome.victims).all())


def test_training_that_diverges_can_still_be_recorded() -> None:
    """The log goes into a JSON file that has no infinity."""
    train, s = strangers(40, 1)
    broken = View(torch.full_like(train.flat, float("nan")))
    outcome = battery.run(Recorder(), material((broken, s), (broken, s)), train, effort=SMALL, seed=0)
    assert outcome.log["settings"][0]["val_loss"] is None
    assert bool(torch.isfinite(outcome.victims).all())
