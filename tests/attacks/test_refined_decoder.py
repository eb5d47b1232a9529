"""Refined decoder: drawings of people whom the decoder has not met, the gradient it is given, the correction."""

from __future__ import annotations

import random
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from torch import Tensor

from privet.attack import View
from privet.attacks import refined_decoder
from privet.attacks.refined_decoder import Correction, RefinedDecoder, folded, residual
from privet.auditing import battery
from privet.auditing.battery import Material
from studies import SMALL
from tiny import pictures

EFFORT = replace(SMALL, decoder_epochs=3, attack_steps=10)
SHAPE = (1, 6, 6)


def seen(x: Tensor, times: int = 1) -> View:
    """Half of the pixels, squared, travel; seen so many times."""

    def send(c: Tensor) -> Tensor:
        return c.flatten(1)[:, ::2].square()

    return View(send(x), match=lambda c, p: (send(c), p[0]), seen=((send(x),),) * times)


def test_drawings_are_out_of_fold(monkeypatch: pytest.MonkeyPatch) -> None:
    """A decoder that says only what it was taught shows the mean of the other half; both halves are met, once."""
    x, x_val = pictures(40), pictures(8, 1)
    taught: list[Tensor] = []

    class Parrot(torch.nn.Module):
        def __init__(self, known: Tensor) -> None:
            super().__init__()
            self.known = known

        def forward(self, rows: Tensor) -> Tensor:
            return self.known.mean(0).expand(len(rows), *SHAPE)

    def learn(build: Any, lesson: Any, *_: Any, **__: Any) -> tuple[torch.nn.Module, float, int]:
        taught.append(lesson.known)
        return Parrot(lesson.known), 0.0, 1

    monkeypatch.setattr(refined_decoder, "learn", learn)
    drawn, draw = folded(seen(x), x, seen(x_val), x_val, effort=EFFORT, seed=0, device="cpu")
    halves = [{int(torch.nonzero((x == row).flatten(1).all(1))) for row in known} for known in taught]
    assert not halves[0] & halves[1]
    assert halves[0] | halves[1] == set(range(40))
    assert abs(len(halves[0]) - len(halves[1])) <= 1
    for own, other in (halves, halves[::-1]):
        torch.testing.assert_close(drawn[sorted(other)], x[sorted(own)].mean(0).expand(len(other), *SHAPE))
    both = (taught[0].mean(0) + taught[1].mean(0)) / 2
    torch.testing.assert_close(draw(seen(x_val)), both.expand(8, *SHAPE))


def test_two_payloads_of_one_person_stand_in_one_half(monkeypatch: pytest.MonkeyPatch) -> None:
    x, x_val = torch.cat([pictures(20)] * 2), pictures(8, 1)
    halves: list[Tensor] = []
    real = refined_decoder.learn

    def learn(build: Any, lesson: Any, *rest: Any, **named: Any) -> Any:
        halves.append(lesson.known)
        return real(build, lesson, *rest, **named)

    monkeypatch.setattr(refined_decoder, "learn", learn)
    folded(seen(x), x, seen(x_val), x_val, effort=EFFORT, seed=0, device="cpu")
    first, second = halves
    assert float(torch.cdist(first.flatten(1), second.flatten(1)).min()) > 0
    assert len(first) + len(second) == 40


@pytest.mark.parametrize("times", [1, 3])
def test_the_gradient_of_what_is_unexplained(times: int) -> None:
    """J^T (m - m(x)), of root mean square 1; zero where nothing travels."""
    x, guess = pictures(5), pictures(5, 1)
    flat, wanted = guess.flatten(1), torch.zeros(5, 36)
    wanted[:, ::2] = 2 * flat[:, ::2] * (x.flatten(1)[:, ::2].square() - flat[:, ::2].square())
    wanted = wanted / wanted.square().mean(1, keepdim=True).sqrt()
    torch.testing.assert_close(residual(seen(x, times), guess).flatten(1), wanted)
    blind = replace(seen(x), match=lambda c, p: (torch.zeros(len(c), 1), torch.zeros(len(c), 1)))
    assert not residual(blind, guess).any()


@pytest.mark.parametrize("shape", [(1, 6, 6), (3, 5, 7)], ids=str)
def test_a_correction_begins_with_none(shape: tuple[int, ...]) -> None:
    x = torch.rand(2, *shape, generator=torch.Generator().manual_seed(0))
    network = Correction(shape[0])
    found = network(torch.cat([x, x.flip(0), x * 0], 1))
    assert torch.equal(found, x)
    found.square().sum().backward()
    assert any(p.grad is not None and bool(p.grad.any()) for p in network.parameters())


def test_the_payload_is_fitted() -> None:
    """Pixels that travel are known after the search, whatever the decoder drew, and everybody is asked about."""
    x = {k: pictures(n, n) for k, n in (("train", 80), ("val", 20), ("victims", 12))}
    posterior = RefinedDecoder().fit(
        seen(x["train"]), x["train"], seen(x["val"]), x["val"], classes=0, effort=EFFORT, seed=0
    )
    errors = (posterior(seen(x["victims"])) - x["victims"]).square().flatten(1)
    assert float(errors[:, ::2].mean()) < 0.1 * float(errors[:, 1::2].mean())
    assert not hasattr(RefinedDecoder, "costly")


def test_a_solver_keeps_what_was_seen_of_several_draws() -> None:
    """Two draws of a random obfuscator, two payloads in each: four, of twice the people."""
    heard: list[View] = []

    class Listener:
        summary, goal, needs = "hears", "reconstruct", frozenset({"pairs"})

        def fit(self, train: View, s: Tensor, val: View, s_val: Tensor, **_: Any) -> Any:
            heard.append(train)
            return lambda view: torch.zeros(len(view), *SHAPE)

    x = pictures(6)
    draws = [
        replace(seen(x), seen=((torch.full((6, 2), 10.0 * d),), (torch.full((6, 2), 10.0 * d + 1),))) for d in (1, 2)
    ]
    battery.run(Listener(), Material(draws, x, seen(x), x, SHAPE), seen(x), effort=EFFORT, seed=0)  # type: ignore[arg-type]
    values = [field[:, 0].tolist() for (field,) in heard[0].seen]
    assert values == [[10.0] * 6 + [20.0] * 6, [11.0] * 6 + [21.0] * 6]


def test_the_seed_alone_decides() -> None:
    x = {k: pictures(n, n) for k, n in (("train", 40), ("val", 8), ("victims", 6))}
    views = {k: seen(v) for k, v in x.items()}
    material = Material([views["train"]], x["train"], views["val"], x["val"], SHAPE)
    found = []
    for poison in (1, 2):
        random.seed(poison)
        np.random.seed(poison)
        torch.manual_seed(poison)
        found.append(battery.run(RefinedDecoder(), material, views["victims"], effort=EFFORT, seed=7).victims)
        assert torch.initial_seed() == poison
    assert torch.equal(found[0], found[1])
