"""Every file of `privet/attacks`: it says what it is, finds what is written out for it, and nothing where there is
nothing."""

from __future__ import annotations

import inspect
import random
import re
import sys
from collections.abc import Iterator
from dataclasses import MISSING, fields, is_dataclass, replace
from functools import cache
from typing import Any, get_args

import numpy as np
import pytest
import torch
from torch import nn

from privet import registry
from privet.attack import FOLDER, Goal, Need, Probe, Solver, View, slow
from privet.auditing import battery, floors
from privet.auditing.battery import Material, Outcome
from privet.auditing.pictures import scores
from studies import SMALL

NAMES = registry.names(FOLDER)
ATTRIBUTE = [n for n in NAMES if registry.find(FOLDER, n).goal == "attribute"]
RECONSTRUCT = [n for n in NAMES if registry.find(FOLDER, n).goal == "reconstruct"]
CLASSES, WIDTH = 3, 12
PARTS = {"train": 240, "val": 80, "victims": 150}
SERVER = nn.Sequential(nn.Linear(WIDTH, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).eval()
Labelled = dict[str, tuple[View, torch.Tensor]]


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


def view(z: np.ndarray) -> View:
    tensor = torch.from_numpy(z.astype(np.float32))
    return View(tensor, tensor, SERVER)


def crowd(kind: str, seed: int = 0) -> Labelled:
    """Parts of people whose payload is noise, and holds s as `kind` says."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, n in PARTS.items():
        s, z = generator.integers(0, CLASSES, n), generator.normal(size=(n, WIDTH))
        if kind == "constant":
            z[:] = 1.5
        if kind == "identity":
            z[:, :CLASSES] = 3 * np.eye(CLASSES)[s] + 0.1 * z[:, :CLASSES]
        made, labels = view(z), torch.from_numpy(s)
        if kind == "planted":
            made = made.planted(torch.stack([(labels & 1).float() * 2 - 1, (labels >> 1).float() * 2 - 1], 1))
        found[name] = made, labels
    return found


def attacked(name: str, parts: Labelled, seed: int = 0, labels: torch.Tensor | None = None) -> Outcome:
    attack = registry.parse(FOLDER, name)
    (train, s), (val, s_val) = parts["train"], parts["val"]
    material = Material([train], s if labels is None else labels, val, s_val, (CLASSES,))
    return battery.run(attack, material, parts["victims"][0], effort=SMALL, seed=seed)


@cache
def outcome(name: str, kind: str) -> tuple[Outcome, torch.Tensor]:
    parts = crowd(kind)
    return attacked(name, parts), parts["victims"][1]


def right(name: str, kind: str) -> float:
    found, s = outcome(name, kind)
    return float((found.victims.argmax(1) == s).float().mean())


def chance(s: torch.Tensor) -> float:
    """The share of the most frequent value, and three standard errors."""
    top = float(torch.bincount(s).max()) / len(s)
    return top + 3 * (top * (1 - top) / len(s)) ** 0.5


@pytest.mark.parametrize("name", NAMES)
def test_it_says_what_it_is(name: str) -> None:
    cls = registry.find(FOLDER, name)
    assert is_dataclass(cls)
    assert cls.__dataclass_params__.frozen  # type: ignore[attr-defined]
    assert cls.summary.strip()
    assert "\n" not in cls.summary
    assert not cls.summary.endswith(".")
    assert cls.goal in get_args(Goal)
    assert cls.needs <= set(get_args(Need))
    assert ("pairs" if cls.goal == "reconstruct" else "labels") in cls.needs
    page = inspect.getdoc(sys.modules[cls.__module__]) or ""
    assert "Deviations:" in page
    assert re.search(r"\d{4}|paper \d+", page), "where from"
    assert inspect.getdoc(cls)
    attack = cls()
    assert isinstance(attack, Probe) != isinstance(attack, Solver)
    assert registry.parse(FOLDER, registry.spell(attack)) == attack
    assert all(f.default is not MISSING for f in fields(cls))


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_identity_is_found(name: str) -> None:
    assert right(name, "identity") >= 0.97


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_a_planted_bit_is_found(name: str) -> None:
    assert right(name, "planted") >= 0.9


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_a_constant_payload_gives_one_answer(name: str) -> None:
    found, s = outcome(name, "constant")
    assert len(found.victims.argmax(1).unique()) == 1
    assert right(name, "constant") <= chance(s)


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_shuffled_labels_teach_nothing(name: str) -> None:
    parts = crowd("identity", seed=5)
    order = torch.from_numpy(np.random.default_rng(0).permutation(PARTS["train"]))
    held = torch.from_numpy(np.random.default_rng(1).permutation(PARTS["val"]))
    parts["val"] = parts["val"][0], parts["val"][1][held]
    found = attacked(name, parts, labels=parts["train"][1][order])
    s = parts["victims"][1]
    assert float((found.victims.argmax(1) == s).float().mean()) <= chance(s)


@pytest.mark.parametrize("name", ATTRIBUTE)
@pytest.mark.parametrize("kind", ["identity", "planted", "constant"])
def test_posteriors_are_posteriors(name: str, kind: str) -> None:
    found, _ = outcome(name, kind)
    for part, n in ((found.val, PARTS["val"]), (found.victims, PARTS["victims"])):
        assert part.shape == (n, CLASSES)
        assert bool(torch.isfinite(part).all())
        assert float(part.min()) >= 0
        assert torch.allclose(part.sum(1), torch.ones(n), atol=1e-5)


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_the_seed_alone_decides(name: str) -> None:
    parts = crowd("identity", seed=2)
    found = []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)
        torch.manual_seed(poison)
        found.append(attacked(name, parts, seed=7))
        assert torch.initial_seed() == poison
    assert torch.equal(found[0].victims, found[1].victims)
    assert torch.equal(found[0].val, found[1].val)
    assert found[0].log == found[1].log


@pytest.mark.parametrize("name", ATTRIBUTE)
def test_a_value_that_aux_never_shows(name: str) -> None:
    parts = crowd("identity", seed=3)
    train, s = parts["train"]
    rows = torch.nonzero(s != 1).flatten()
    parts["train"] = train.rows(rows), s[rows]
    found = attacked(name, parts)
    assert found.victims.shape == (PARTS["victims"], CLASSES)
    assert bool(torch.isfinite(found.victims).all())
    known = parts["victims"][1] != 1
    assert float((found.victims.argmax(1) == parts["victims"][1])[known].float().mean()) > 0.9


@pytest.mark.parametrize("name", [n for n in ATTRIBUTE if isinstance(registry.find(FOLDER, n)(), Probe)])
def test_networks_return_logits(name: str) -> None:
    """A softmax before cross-entropy would hide in the numbers; here it cannot."""
    probe = registry.parse(FOLDER, name)
    seen = crowd("identity")["train"][0]
    torch.manual_seed(0)
    network = probe.network(seen.rows(torch.arange(8)), (CLASSES,)).train()
    optimizer = torch.optim.SGD(network.parameters(), 0.1)
    features = probe.features(seen)
    loss = nn.functional.cross_entropy(network(features), torch.arange(len(features)) % CLASSES)
    loss.backward()
    optimizer.step()
    logits = network(features).detach()
    assert logits.shape == (len(seen), CLASSES)
    assert float(logits.min()) < 0
    assert float((logits.sum(1) - 1).abs().max()) > 1e-3
    assert not any(isinstance(m, nn.Softmax | nn.LogSoftmax) for m in network.modules())


def pictures(shape: tuple[int, ...], seed: int = 0) -> dict[str, torch.Tensor]:
    """Smooth inputs in [0, 1] of two degrees of freedom each."""
    generator = np.random.default_rng(seed)
    found = {}
    for name, n in PARTS.items():
        grid = np.meshgrid(*(np.linspace(-1, 1, side) for side in shape), indexing="ij")
        x = np.tensordot(generator.normal(size=(n, len(shape))), np.stack(grid), axes=1)
        found[name] = torch.from_numpy((1 / (1 + np.exp(-2 * x))).astype(np.float32))
    return found


SHAPES = ((1, 8, 8), (3, 10, 9), (12,))
SMALLER = {"irn": "irn:width=8,units=1"}
REBUILT = [
    pytest.param(
        name, shape, marks=[pytest.mark.heavy] if slow(registry.find(FOLDER, name)()) and shape != SHAPES[0] else []
    )
    for name in RECONSTRUCT
    for shape in SHAPES
]


@pytest.mark.parametrize(("name", "shape"), REBUILT, ids=str)
def test_reconstruction(name: str, shape: tuple[int, ...]) -> None:
    """The input as payload is drawn far better than the mean image, a constant payload no better than it."""
    x = pictures(shape)
    effort = replace(SMALL, decoder_epochs=40)
    attack = registry.parse(FOLDER, SMALLER.get(name, name))

    def decibel(send: Any) -> float:
        def match(candidate: torch.Tensor, payload: tuple[torch.Tensor, ...]) -> tuple[torch.Tensor, torch.Tensor]:
            return send(candidate.flatten(1)), payload[0]

        views = {k: View(send(v.flatten(1)), match=match, seen=((send(v.flatten(1)),),)) for k, v in x.items()}
        material = Material([views["train"]], x["train"], views["val"], x["val"], shape)
        drawn = battery.run(attack, material, views["victims"], effort=effort, seed=0).victims
        assert drawn.shape == x["victims"].shape
        assert bool(torch.isfinite(drawn).all())
        assert float(drawn.min()) >= 0
        assert float(drawn.max()) <= 1
        return float(scores(drawn, x["victims"])["psnr"].mean())

    floor = float(scores(floors.mean_image(x["train"], PARTS["victims"]), x["victims"])["psnr"].mean())
    assert decibel(lambda flat: flat) > floor + 6
    assert decibel(torch.zeros_like) < floor + 1
