"""The audit distrusts itself: a calibration passes where attacks work, and fails where they are blind or cheat."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any, ClassVar

import pytest
import torch
from torch import Tensor, nn

from privet.attack import Goal, Need, Posterior, Setting, View
from privet.attacks.linear_probe import LinearProbe
from privet.attacks.mlp_probe import MlpProbe
from privet.auditing import checks, wire
from privet.auditing.checks import BATTERY, Check
from privet.auditing.flags import FLAGS
from privet.auditing.threat import Threat
from studies import SMALL, people, undefended

EFFORT = replace(SMALL, attack_epochs=80, attack_steps=600, patience=12)
SERVER = Threat.named("server")


@dataclass(frozen=True)
class Blind:
    """A solver that never looks."""

    summary: ClassVar[str] = "blind"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset()

    def fit(self, train: View, s: Tensor, val: View, s_val: Tensor, **rest: Any) -> Posterior:
        return lambda view: torch.full((len(view), rest["classes"]), 1 / rest["classes"])


@dataclass(frozen=True)
class Clairvoyant:
    """A solver that knows the victims whatever the payload says: what a leak of labels into the battery looks like."""

    summary: ClassVar[str] = "cheats"
    goal: ClassVar[Goal] = "attribute"
    needs: ClassVar[frozenset[Need]] = frozenset()
    truth: Any = None

    def fit(self, train: View, s: Tensor, val: View, s_val: Tensor, **rest: Any) -> Posterior:
        def posterior(view: View) -> Tensor:
            known = self.truth if len(view) == len(self.truth) else s_val
            return torch.eye(rest["classes"])[known[: len(view)]]

        return posterior


@dataclass(frozen=True)
class Black:
    """A reconstruction that is always black."""

    summary: ClassVar[str] = "black"
    goal: ClassVar[Goal] = "reconstruct"
    needs: ClassVar[frozenset[Need]] = frozenset()
    grid: ClassVar[tuple[Setting, ...]] = (Setting(1e-3),)
    standardize: ClassVar[bool] = False

    def features(self, view: View) -> Tensor:
        return view.flat

    def network(self, view: View, output: tuple[int, ...]) -> nn.Module:
        layer = nn.Linear(view.flat.shape[1], output[0])
        return nn.Sequential(layer, nn.Threshold(1e9, 0.0))


def calibrated(attacks: dict[str, Any]) -> dict[tuple[str, str], Check]:
    corpus = people(leak=0.3)
    seen = wire.observe(undefended(corpus), corpus, SERVER, 0)
    found = checks.calibrate(seen, corpus, SERVER, attacks, effort=EFFORT, seed=0)
    return {(c.check, c.attack): c for c in found}


def test_working_attacks_pass() -> None:
    found = calibrated({"linear_probe": LinearProbe(), "mlp_probe": MlpProbe()})
    assert set(found) == {
        ("constant", "linear_probe"), ("constant", "mlp_probe"), ("planted_bit", "linear_probe"),
        ("planted_bit", "mlp_probe"), ("planted_bit", BATTERY), ("shuffled_labels", "linear_probe"),
        ("shuffled_labels", "mlp_probe"),
    }  # fmt: skip
    assert all(c.passed for c in found.values()), found


def test_many_classes_are_calibrated_on_enough_people(monkeypatch: pytest.MonkeyPatch) -> None:
    """A code of 40 classes cannot be learned from one person of each, by nobody's fault."""
    corpus = people(leak=0.0, classes=40, width=8, aux_train=800, aux_val=100)
    seen = wire.observe(undefended(corpus), corpus, SERVER, 0)
    effort = replace(EFFORT, calibration=40, attack_epochs=15, attack_steps=150)
    verdicts = []
    for people_of_each in (checks.PER_CLASS, 1):
        monkeypatch.setattr(checks, "PER_CLASS", people_of_each)
        found = checks.calibrate(seen, corpus, SERVER, {"mlp_probe": MlpProbe()}, effort=effort, seed=0)
        verdicts.append(next(c.passed for c in found if (c.check, c.attack) == ("planted_bit", BATTERY)))
    assert verdicts == [True, False]


def test_a_blind_attack_fails_alone() -> None:
    found = calibrated({"blind": Blind(), "mlp_probe": MlpProbe()})
    assert not found["planted_bit", "blind"].passed
    assert found["planted_bit", BATTERY].passed
    assert not calibrated({"blind": Blind()})["planted_bit", BATTERY].passed


def test_finding_something_in_nothing_fails() -> None:
    truth = torch.from_numpy(people(leak=0.3).victim.s["s"])
    found = calibrated({"cheat": Clairvoyant(truth)})
    assert not found["constant", "cheat"].passed
    assert found["constant", "cheat"].value == 1.0


def test_a_reconstruction_that_draws_nothing_fails() -> None:
    found = calibrated({"black": Black()})
    assert set(found) == {("identity", "black"), ("identity", BATTERY)}
    assert not found["identity", "black"].passed


def test_calibration_uses_the_selection_on_aux_val() -> None:
    """The battery's own line is the value of the attack that aux_val chose, not the best value on victims."""
    found = calibrated({"blind": Blind(), "mlp_probe": MlpProbe()})
    assert found["planted_bit", BATTERY].value == found["planted_bit", "mlp_probe"].value


@pytest.mark.parametrize("name", sorted(FLAGS))
def test_every_flag_says_when_what_and_what_to_do(name: str) -> None:
    flag = FLAGS[name]
    assert flag.raised_if
    assert not flag.raised_if.endswith(".")
    assert flag.explanation.endswith(".")
    assert flag.what_to_do.endswith(".")
