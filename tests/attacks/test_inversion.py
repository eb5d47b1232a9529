"""Inversion: what it minimizes, where it begins, and that it looks at nothing but payloads."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from privet.attack import Fields, Solver, View
from privet.attacks.gaussian_map import GaussianMap
from privet.attacks.generative_prior import GenerativePrior
from privet.attacks.inversion import Inversion, Plan, descend
from privet.auditing import audit, battery, wire
from privet.auditing.battery import Material
from privet.auditing.pictures import asked, shown
from privet.auditing.threat import Threat
from privet.auditing.wire import Wire
from privet.defense import parse
from privet.searching import nearest, objective, total_variation
from studies import SMALL
from tiny import SHAPE, conv_split, corpus, pictures

EFFORT = replace(SMALL, inversion_steps=300, asked=8)
PLAIN = Plan(0.0, 0.0, 0.05)


def linear(n: int, outputs: int, noise: Tensor | float = 0.0, times: int = 1, seed: int = 0) -> tuple[View, Tensor]:
    """People of 12 numbers behind a known matrix, seen `times` times with noise of its own."""
    matrix = torch.randn(12, outputs, generator=torch.Generator().manual_seed(3))
    generator = torch.Generator().manual_seed(seed)
    x = torch.rand(n, 12, generator=generator)
    seen = tuple((x @ matrix + noise * torch.randn(n, outputs, generator=generator),) for _ in range(times))
    flat = torch.stack([p for (p,) in seen]).mean(0)
    return View(flat, match=lambda c, p: (c @ matrix, p[0]), seen=seen), x


def test_the_objective() -> None:
    """||m(x) - m||^2 / ||m||^2 over the payloads, the length of the gradient, the distance from the start."""
    view, x = linear(5, 20, noise=0.1, times=2)
    start = torch.full_like(x, 0.5)
    wanted = 0
    for (seen,) in view.seen:
        wanted = wanted + ((view.match(x, (seen,))[0] - seen) ** 2).sum(1) / (seen**2).sum(1) / 2  # type: ignore[misc]
    wanted = wanted + 3 * ((x - start) ** 2).mean(1)
    torch.testing.assert_close(objective(view, x, x - start, Plan(7.0, 3.0, 0.1)), wanted)  # rows have no variation


def test_total_variation() -> None:
    """A step of one between two halves of a 4x4 picture: four places of sixteen have a gradient, of length one."""
    x = torch.zeros(2, 1, 4, 4)
    x[1, :, :, 2:] = 1
    torch.testing.assert_close(total_variation(x), torch.tensor([0.0, 0.25]), atol=2e-4, rtol=0)


def test_what_determines_the_input_gives_it_back() -> None:
    view, x = linear(40, 20)
    found, least = descend(view, torch.full_like(x, 0.5), PLAIN, 500)
    assert float((found - x).abs().max()) < 0.01
    assert float(least.max()) < 1e-4


def test_what_does_not_determine_it_fits_all_the_same() -> None:
    """Four numbers of twelve: the payload is explained, the input is another."""
    view, x = linear(40, 4)
    found, least = descend(view, torch.full_like(x, 0.5), PLAIN, 500)
    assert float(least.max()) < 1e-3
    assert float((found - x).abs().mean()) > 0.1


CHANGES = {"moved": (1.0, 300.0), "a value a thousandfold": (torch.tensor([1000.0] + [1.0] * 19), 0.0)}


def changed(view: View, factor: Tensor | float, moved: float) -> View:
    """The same payloads after a public, invertible change."""
    match = view.match
    assert match is not None
    seen = tuple((p * factor + moved,) for (p,) in view.seen)

    def back(x: Tensor, payload: Fields) -> tuple[Tensor, Tensor]:
        first, second = (part * factor + moved for part in match(x, ((payload[0] - moved) / factor,)))
        return first, second

    return replace(view, flat=view.flat * factor + moved, seen=seen, match=back)


@pytest.mark.parametrize("attack", [Inversion(), GaussianMap(), GenerativePrior()], ids=lambda a: type(a).__name__)
def test_a_public_change_of_the_payload_hides_nothing(attack: Solver) -> None:
    """Values around their means and over their noise are what is matched."""
    (train, x), (val, x_val), (victims, truth) = (linear(n, 20, seed=i) for i, n in enumerate((100, 8, 8)))

    def missed(factor: Tensor | float, moved: float) -> float:
        views = [changed(view, factor, moved) for view in (train, val, victims)]
        material = Material(views[:1], x, views[1], x_val, (12,))
        found = battery.run(attack, material, views[2], effort=EFFORT, seed=0).victims
        return float((found - truth).square().mean().sqrt())

    assert missed(1.0, 0.0) < 0.03
    for name, (factor, moved) in CHANGES.items():
        assert missed(factor, moved) < 0.03, name


def test_values_with_more_noise_count_for_less() -> None:
    """Twelve values nearly without noise say everything; eight more that are mostly noise must not talk them down."""
    noise = torch.tensor([0.01] * 12 + [5.0] * 8)
    (train, x), (val, x_val), (victims, truth) = (linear(n, 20, noise, seed=i) for i, n in enumerate((100, 8, 8)))
    material = Material([train], x, val, x_val, (12,))
    found = battery.run(Inversion(), material, victims, effort=EFFORT, seed=0).victims
    assert float((found - truth).square().mean().sqrt()) < 0.05


def test_the_nearest_is_found_among_large_values() -> None:
    view, x = linear(100, 20)
    far = replace(view, flat=view.flat + 3000)
    assert torch.equal(nearest(far, far, x), x)


def test_payloads_of_one_input_are_matched_together() -> None:
    errors = []
    for times in (1, 16):
        view, x = linear(40, 20, noise=0.5, times=times)
        found, _ = descend(view, torch.full_like(x, 0.5), PLAIN, 300)
        errors.append(float((found - x).square().mean()))
    assert errors[1] < 0.3 * errors[0]


def test_a_pull_keeps_what_the_decoder_drew() -> None:
    view, x = linear(10, 20)
    near, _ = descend(view, torch.full_like(x, 0.3), Plan(0.0, 1e6, 0.01), 200)
    assert float((near - 0.3).abs().max()) < 0.01


@pytest.mark.parametrize("drawn", [False, True])
def test_the_plan_is_chosen_on_aux_val(drawn: bool) -> None:
    """Where the decoder is perfect the plans that pull win; where there is none they are not tried."""
    (train, x), (val, x_val), (victims, x_victims) = (linear(n, 4, seed=n) for n in (200, 16, 20))
    if drawn:
        val, victims = replace(val, drawn=x_val), replace(victims, drawn=x_victims)
    posterior = Inversion().fit(train, x, val, x_val, classes=0, effort=EFFORT, seed=0)
    error = float((posterior(victims) - x_victims).square().mean())
    assert (error < 1e-3) == drawn


@pytest.mark.parametrize("text", ["disco:ratio=0.5", "random_channels:ratio=0.5", "signal_content:keep=3,order=sample"])
def test_choices_that_travel_are_held(text: str) -> None:
    """At the sender's own input nothing is left to explain, at another one something is."""
    defended = parse(text).fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    wire = Wire(defended, corpus(), Threat.named("server"))
    x = pictures(8)
    with torch.no_grad():
        frames, _ = wire.send(defended.split.edge.eval()(x), np.random.default_rng(0))
    view, _ = wire.read(frames, corpus().victim)
    assert view.match is not None
    with torch.no_grad():
        own, other = objective(view, x, x - x, PLAIN), objective(view, x.roll(1, 0), x.roll(1, 0) - x, PLAIN)
    assert float(own.max()) < 1e-4
    assert float(other.min()) > 10 * float(own.max())


def test_a_costly_attack_is_asked_about_some() -> None:
    """Evenly spaced people, those whose pictures are shown among them; everybody else has no score."""
    defended = parse("none").fit(conv_split(), corpus(), effort=EFFORT, seed=0)
    threat = Threat.named("server")
    observed = wire.observe(defended, corpus(), threat, 0)
    attacks = {"inversion": Inversion()}
    effort = replace(EFFORT, inversion_steps=20)
    evidence = audit.attack(observed, corpus(), threat, attacks, effort=effort, seed=0)
    scores = evidence.arrays["score/input/inversion/psnr"]
    people = np.flatnonzero(np.isfinite(scores))
    assert len(scores) == len(corpus().victim)
    assert people.tolist() == asked(len(scores), 8).tolist()
    assert set(shown(len(scores))) <= set(people.tolist())
    assert evidence.arrays["picture/inversion"].shape[1:] == SHAPE


def test_an_edge_without_a_way_back_leaves_the_start() -> None:
    """A payload that nothing in the input moves smoothly, as a sign: no gradient, no search, no crash."""
    view, x = linear(6, 20)
    dead = replace(view, match=lambda c, p: ((c.detach() > 0.5).float().sum(1, keepdim=True), p[0][:, :1]))
    found, least = descend(dead, torch.full_like(x, 0.5), PLAIN, 50)
    assert torch.equal(found, torch.full_like(x, 0.5))
    assert bool(torch.isfinite(least).all())


def test_the_edge_is_left_as_it_was() -> None:
    edge = nn.Sequential(nn.Linear(12, 20), nn.BatchNorm1d(20)).eval()
    x = torch.rand(6, 12)
    with torch.no_grad():
        seen = edge(x)
    before = {k: v.clone() for k, v in edge.state_dict().items()}
    view = View(seen, match=lambda c, p: (edge(c), p[0]), seen=((seen,),))
    descend(view, torch.full_like(x, 0.5), PLAIN, 20)
    assert all(torch.equal(v, before[k]) for k, v in edge.state_dict().items())
    assert all(p.grad is None for p in edge.parameters())


def test_the_nearest_is_not_decided_by_a_column_that_aux_never_moves() -> None:
    x = torch.rand(6, 4, generator=torch.Generator().manual_seed(0))
    train = View(torch.cat([x, torch.zeros(6, 1)], 1))
    victims = View(torch.cat([x.flip(0) + 0.001, torch.full((6, 1), 0.3)], 1))
    torch.testing.assert_close(nearest(victims, train, x), x.flip(0))
