"""One trial: a function of its settings and its seed, whatever the global generators do."""

from __future__ import annotations

import random
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from privet import models, trained
from privet.auditing import audit, battery
from privet.errors import ModelError, SpecError, ThreatError
from privet.experiment import trial
from privet.run import Run, name_of
from privet.setting import Setting, trial_name
from studies import people

CORPUS = people()
SETTING = Setting("mlp", "fc1", effort="tiny")
NOISY = "gaussian:sigma=0.5"


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def poisoned(number: int, out: Path, defense: str = NOISY, setting: Setting = SETTING, seed: int = 3) -> Run:
    random.seed(number)
    np.random.seed(number)
    torch.manual_seed(number)
    return trial(setting, CORPUS, defense, seed, out / str(number))


@pytest.mark.parametrize("defense", ["none", NOISY, "signal_content:keep=2", "random_channels:ratio=.5", "coin_flip"])
def test_the_seed_alone_decides(tmp_path: Path, defense: str) -> None:
    one, two = (poisoned(n, tmp_path, defense) for n in (1, 2))
    assert one.digest == two.digest
    assert one.folder.name == two.folder.name


def test_another_seed_is_another_run(tmp_path: Path) -> None:
    one, two = (poisoned(1, tmp_path / str(s), seed=s) for s in (0, 1))
    assert one.digest != two.digest
    assert one.folder.name != two.folder.name


def unseeded_load(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: models.load without its torch.manual_seed."""

    def faulty(
        reference: str, *, shape: tuple[int, ...], classes: int, weights: Any = None, seed: int = 0
    ) -> nn.Module:
        model = models._build(reference, models.resolve(reference), shape, classes)
        if weights is not None:
            models.load_weights(model, weights)
        return model

    monkeypatch.setattr(models, "load", faulty)


def unseeded_adversary(monkeypatch: pytest.MonkeyPatch) -> None:
    """The fault: an adversary whose initial weights come from the global generator."""
    probe, fresh = battery._fit_probe, torch.manual_seed

    def faulty(*arguments: Any, **more: Any) -> Any:
        monkeypatch.setattr(torch, "manual_seed", lambda seed: None)
        try:
            return probe(*arguments, **more)
        finally:
            monkeypatch.setattr(torch, "manual_seed", fresh)

    monkeypatch.setattr(battery, "_fit_probe", faulty)


@pytest.mark.parametrize("fault", [unseeded_load, unseeded_adversary])
def test_unseeded_initialization_is_seen(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, fault: Callable[[pytest.MonkeyPatch], None]
) -> None:
    fault(monkeypatch)
    one, two = (poisoned(n, tmp_path, "none") for n in (1, 2))
    assert one.digest != two.digest


def test_a_finished_trial_is_read_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    done = poisoned(1, tmp_path)

    def forbidden(*_: Any, **__: Any) -> Any:
        raise AssertionError("nothing may be trained again")

    monkeypatch.setattr(trained, "fit_task", forbidden)
    monkeypatch.setattr(audit, "attack", forbidden)
    again = poisoned(1, tmp_path)
    assert again.digest == done.digest
    assert set(again.arrays) == set(done.arrays)
    with pytest.raises(AssertionError):
        poisoned(2, tmp_path)


def test_the_network_of_a_seed_is_trained_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """And whoever reads it back gets the numbers of whoever trained it, to the last bit."""
    fresh = trial(SETTING, CORPUS, NOISY, 3, tmp_path / "fresh")
    trial(SETTING, CORPUS, "none", 3, tmp_path / "second")
    monkeypatch.setattr(trained, "fit_task", lambda *a, **k: pytest.fail("trained twice"))
    assert trial(SETTING, CORPUS, NOISY, 3, tmp_path / "second").digest == fresh.digest
    assert len(list((tmp_path / "second" / "models").glob("*.safetensors"))) == 1


def test_what_names_a_trial() -> None:
    def name(
        setting: Setting = SETTING, corpus: Any = CORPUS, defense: str = "none", seed: int = 0, first: bool = False
    ) -> str:
        return trial_name(setting, corpus, defense, seed, first)

    names = [
        name(),
        name(seed=1),
        name(first=True),
        name(defense=NOISY),
        name(corpus=people(seed=1)),
        name(replace(SETTING, at="fc2")),
        name(replace(SETTING, threat="repeated")),
        name(replace(SETTING, attacks=("mlp_probe",))),
        name(replace(SETTING, effort="quick")),
        name(replace(SETTING, freeze="both")),
        name(replace(SETTING, side=("t",))),
    ]
    assert len(set(names)) == len(names)
    assert name() == name(replace(SETTING, threat="server"))
    assert all(len(n) == 16 and n == n.lower() for n in names)
    assert name_of({}, {}) == name_of({}, {"x": 1})


def test_another_file_of_the_network_is_another_trial(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    code = "from torch import nn\ndef net(shape, classes):\n    return nn.Sequential(nn.Linear(shape[0], 4), nn.ReLU(), nn.Linear(4, classes))\n"  # noqa: E501
    file.write_text(code)
    setting = Setting(f"{file}:net", "0", effort="tiny")
    before = trial_name(setting, CORPUS, "none", 0, False)
    file.write_text(code.replace("ReLU", "Tanh"))
    assert trial_name(setting, CORPUS, "none", 0, False) != before


SOFT = """
from torch import nn
def soft(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes), nn.Softmax(1))
def hard(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes))
def log(shape, classes):
    return nn.Sequential(nn.Linear(shape[0], classes), nn.LogSoftmax(1))
"""


def test_a_softmax_before_cross_entropy_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "mine.py"
    file.write_text(SOFT)
    with pytest.raises(ModelError, match="returns probabilities; return logits"):
        models.load(f"{file}:soft", shape=(6,), classes=3)
    assert models.load(f"{file}:hard", shape=(6,), classes=3)
    assert models.load(f"{file}:log", shape=(6,), classes=3)  # cross-entropy of log-probabilities is cross-entropy
    for name in models.BUILT_IN:
        assert models.load(name, shape=(1, 16, 16), classes=2)


@pytest.mark.parametrize("freeze", ["edge", "server", "both"])
def test_frozen_halves_are_not_trained(tmp_path: Path, freeze: str) -> None:
    setting = replace(SETTING, freeze=freeze)
    model = models.load("mlp", shape=CORPUS.shape, classes=2, seed=0)
    learned = trained.task_model(setting, CORPUS, 0, None)
    parts = {"edge": ("fc1",), "server": ("fc2", "fc3")}
    for half, prefixes in parts.items():
        same = all(
            torch.equal(p, dict(learned.named_parameters())[n])
            for n, p in model.named_parameters()
            if n.startswith(prefixes)
        )
        assert same == (freeze in (half, "both"))
    halves = trained.cut(learned, setting, CORPUS)
    assert halves.frozen == (frozenset({"edge", "server"}) if freeze == "both" else frozenset({freeze}))


def test_settings_are_checked_before_anything_is_loaded() -> None:
    SETTING.check()
    for wrong, error, message in (
        ({"freeze": "sever"}, SpecError, "did you mean 'server'"),
        ({"device": "gpu"}, SpecError, "the device 'gpu' cannot be used here"),
        ({"effort": "quik"}, SpecError, "did you mean 'quick'"),
        ({"threat": "sever"}, SpecError, "did you mean 'server'"),
        ({"attacks": ("liner_probe",)}, SpecError, "did you mean 'linear_probe'"),
        ({"attacks": ("server_probe",), "threat": "eavesdropper"}, ThreatError, "does not grant"),
    ):
        with pytest.raises(error, match=message):
            replace(SETTING, **wrong).check()


TRACED = """
from torch import nn
class Net(nn.Module):
    def __init__(self, width, classes):
        super().__init__()
        self.first, self.second = nn.Linear(width, 8), nn.Linear(8, classes)
    def forward(self, x):
        z = self.first(x)
        if z.shape[0] > 10**6:
            z = z * 2
        return self.second(z.relu())
def net(shape, classes):
    return Net(shape[0], classes)
"""


def test_a_network_that_only_export_can_trace(tmp_path: Path) -> None:
    """Its halves have their modes baked in; every attack, the server's own architecture included, runs all the same."""
    file = tmp_path / "mine.py"
    file.write_text(TRACED)
    setting = Setting(f"{file}:net", "first", effort="tiny")
    assert trained.cut(trained.task_model(setting, CORPUS, 0, None), setting, CORPUS).tracer == "export"
    done = trial(setting, CORPUS, NOISY, 0, tmp_path)
    attacks = set(done.record["results"]["selection"]["s"])
    assert {"server_probe", "linear_probe", "mlp_probe", "boosted_trees"} <= attacks


TRAINED = replace(SETTING, training="content_training", attacks=("linear_probe",))


def test_further_training_makes_another_network_for_all_defenses(tmp_path: Path) -> None:
    """What a training defense makes of the network is where every defense of the study starts, the reference too."""
    plain = trial(replace(TRAINED, training=None), CORPUS, "none", 0, tmp_path)
    done = trial(TRAINED, CORPUS, "none", 0, tmp_path)
    as_defense = trial(replace(TRAINED, training=None), CORPUS, "content_training", 0, tmp_path)
    assert len({r.folder for r in (plain, done, as_defense)}) == 3
    np.testing.assert_array_equal(
        done.arrays["posterior/s/linear_probe"], as_defense.arrays["posterior/s/linear_probe"]
    )
    assert (done.arrays["posterior/s/linear_probe"] != plain.arrays["posterior/s/linear_probe"]).any()
    assert done.record["results"]["training"]["after"].keys() == done.record["results"]["training"]["before"].keys()
    assert plain.record["results"]["training"] is None
    assert len(list((tmp_path / "models").glob("*.safetensors"))) == 2, "one of the task, one trained on from it"
    other = trial(TRAINED, CORPUS, "signal_content:keep=2,order=singular", 0, tmp_path)
    chained = trial(
        replace(TRAINED, training=None), CORPUS, "content_training+signal_content:keep=2,order=singular", 0, tmp_path
    )
    np.testing.assert_allclose(
        other.arrays["table/(target)/answer/accuracy"], chained.arrays["table/(target)/answer/accuracy"], atol=0.05
    )


def test_training_takes_methods_that_train(tmp_path: Path) -> None:
    with pytest.raises(SpecError, match=r"--training takes a defense that trains .* 'gaussian:sigma=1' does not"):
        replace(SETTING, training="gaussian:sigma=1").check()
    with pytest.raises(SpecError, match="frozen"):
        trial(replace(TRAINED, freeze="edge", weights=None), CORPUS, "none", 0, tmp_path)


def test_the_reference_records_its_content_and_everybody_the_owners_accuracy(tmp_path: Path) -> None:
    done = trial(SETTING, CORPUS, "none", 0, tmp_path)
    content = done.record["results"]["content"]
    assert [layer["layer"] for layer in content["trained"]] == ["fc1.linear", "fc2.linear", "fc3"]
    assert content["trained"] != content["untrained"]
    assert all(layer["content"] <= 1e-9 for kind in content.values() for layer in kind)
    defended = trial(SETTING, CORPUS, "signal_content:keep=1", 0, tmp_path)
    assert defended.record["results"]["content"] is None
    for run in (done, defended):
        assert 0 <= run.record["results"]["task_val_accuracy"] <= 1
    assert round(done.record["results"]["task_val_accuracy"] * len(CORPUS.task_val)) == pytest.approx(
        done.record["results"]["task_val_accuracy"] * len(CORPUS.task_val)
    )


def test_a_trial_keeps_the_messages_of_small_payloads(tmp_path: Path) -> None:
    done = trial(SETTING, CORPUS, "signal_content:keep=1,bits=2", 0, tmp_path)
    assert done.record["results"]["message_bits"] == 2
    assert set(done.arrays["victim/messages"].tolist()) <= {0, 1, 2, 3}
    assert (done.arrays["victim/message_errors"] <= 1).all()
    assert "victim/messages" not in trial(SETTING, CORPUS, "none", 0, tmp_path).arrays
