"""The probes' own promises: what each reads, where it starts, and that the vote is a vote."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from privet.attack import View, slow
from privet.attacks.finetuned_probe import FinetunedProbe
from privet.attacks.informed_probe import InformedProbe
from privet.attacks.kernel_probe import KernelProbe
from privet.attacks.wide_probe import WideProbe
from privet.auditing import audit, wire
from privet.auditing.battery import Material, run
from privet.auditing.threat import Threat, portfolio
from privet.defense import parse
from privet.nets import reheaded
from studies import SMALL
from tiny import conv_split, corpus

SERVER = nn.Sequential(nn.Linear(12, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, 2)).eval()


def rings(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Who is who is told by the distance from the origin alone: nothing linear sees it."""
    generator = np.random.default_rng(seed)
    s = generator.integers(0, 2, n)
    z = generator.normal(size=(n, 2))
    z *= (1 + 1.5 * s)[:, None] / np.linalg.norm(z, axis=1, keepdims=True)
    return torch.from_numpy(z.astype(np.float32)), torch.from_numpy(s)


def directions(n: int, seed: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Who is who is told by the direction, under a scale of everybody's own that varies a thousandfold."""
    generator = np.random.default_rng(seed)
    s = generator.integers(0, 2, n)
    z = generator.normal(size=(n, 12))
    z[:, 0] = 3 * (2 * s - 1)
    z *= 10 ** generator.uniform(-1.5, 1.5, size=(n, 1))
    return torch.from_numpy(z.astype(np.float32)), torch.from_numpy(s)


def right(attack: object, make: object, server: nn.Module | None = None) -> float:
    parts = [make(n, seed) for seed, n in enumerate((300, 100, 300))]  # type: ignore[operator]
    views = [View(z, z, server) for z, _ in parts]
    material = Material(views[:1], parts[0][1], views[1], parts[1][1], (2,))
    found = run(attack, material, views[2], effort=SMALL, seed=0)  # type: ignore[arg-type]
    return float((found.victims.argmax(1) == parts[2][1]).float().mean())


def test_the_kernel_sees_what_no_line_separates() -> None:
    assert right(KernelProbe(), rings) > 0.97


def test_a_scale_of_its_own_hides_nothing_from_the_informed() -> None:
    assert right(InformedProbe(), directions) > 0.95


def test_informed_reads_norms_and_activations() -> None:
    """[payload, z' / |z'| channel by channel, what stands in front of the linear layers]."""
    z = torch.randn(5, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    hidden = torch.arange(10.0).reshape(5, 2)
    features = InformedProbe().features(View(z.flatten(1), z, hidden=hidden))
    bare = z / z.flatten(2).norm(dim=2)[:, :, None, None]
    torch.testing.assert_close(features, torch.cat([z.flatten(1), bare.flatten(1), hidden], 1))
    flat = InformedProbe().features(View(z.flatten(1)))
    torch.testing.assert_close(flat[:, 12:].norm(dim=1), torch.ones(5))


def test_fine_tuning_starts_from_the_servers_weights() -> None:
    z = torch.randn(4, 12, generator=torch.Generator().manual_seed(0))
    torch.manual_seed(0)
    kept = FinetunedProbe().network(View(z, z, SERVER), (3,))
    fresh = reheaded(SERVER, z, 3)
    assert torch.equal(kept[0].weight, SERVER[0].weight)  # type: ignore[index]
    assert kept[3].out_features == 3  # type: ignore[index]
    assert not torch.equal(fresh[0].weight, SERVER[0].weight)  # type: ignore[index]
    assert all(p.requires_grad for p in kept.parameters())


def test_a_template_of_zeros_is_drawn_before_it_is_tuned() -> None:
    blank = nn.Sequential(nn.Linear(12, 12), nn.ReLU(), *SERVER)
    with torch.no_grad():
        for p in blank[0].parameters():
            p.zero_()
    z = torch.randn(4, 12)
    made = reheaded(blank, z, 3, keep=True)
    assert made[0].weight.abs().max() > 0  # type: ignore[index]
    assert torch.equal(made[2].weight, SERVER[0].weight)  # type: ignore[index]


def test_wide_takes_maps_as_maps() -> None:
    z = torch.randn(4, 3, 6, 6)
    probe = WideProbe(width=8)
    assert probe.features(View(z.flatten(1), z)).shape == z.shape
    assert probe.network(View(z.flatten(1), z), (5,))(z).shape == (4, 5)
    assert probe.features(View(z.flatten(1))).shape == (4, 108)


def test_what_is_slow_waits_for_time_or_for_its_name() -> None:
    threat = Threat.named("server")
    assert slow(WideProbe())
    assert "wide_probe" not in portfolio(threat, (), "standard")[0]
    assert "--attack all" in portfolio(threat, (), "standard")[1]["wide_probe"]
    for names, effort in (((), "full"), (("wide_probe",), "quick"), (("all",), "quick")):
        assert "wide_probe" in portfolio(threat, names, effort)[0]
    assert "wide_probe" in portfolio(Threat.named("eavesdropper"), ("all",))[0]  # and no refusal for server_probe
    assert "server_probe" in portfolio(Threat.named("eavesdropper"), ("all",))[1]


@pytest.fixture(scope="module")
def evidence() -> audit.Evidence:
    people, threat = corpus(), Threat.named("server")
    defended = parse("none").fit(conv_split(), people, effort=SMALL, seed=0)
    observed = wire.observe(defended, people, threat, 0)
    attacks, _ = portfolio(threat, ("linear_probe", "mlp_probe", "server_probe", "finetuned_probe", "decoder"))
    ticks = iter(range(1000))
    return audit.attack(observed, people, threat, attacks, effort=SMALL, seed=0, clock=lambda: float(next(ticks)))


def test_the_vote_is_the_mean_of_the_three_best_on_aux_val(evidence: audit.Evidence) -> None:
    goal = corpus().hidden[0]
    voters = evidence.logs[f"{goal}/ensemble"]["voters"]
    scores = {n: v["accuracy"] for n, v in evidence.selection[goal].items() if n != "ensemble"}
    assert len(voters) == 3
    assert min(scores[n] for n in voters) >= max(v for n, v in scores.items() if n not in voters)
    mean = np.mean([evidence.arrays[f"posterior/{goal}/{n}"] for n in voters], axis=0)
    np.testing.assert_allclose(evidence.arrays[f"posterior/{goal}/ensemble"], mean, atol=1e-6)


def test_every_attack_is_timed(evidence: audit.Evidence) -> None:
    assert set(evidence.seconds) == {k for k in evidence.logs if not k.endswith("/ensemble")}
    assert set(evidence.seconds.values()) == {1.0}


def test_few_people_are_compared_on_the_same_few() -> None:
    """Of the ten people the three asked are easy ones: 3 dB more than the rest, for everybody."""
    before = {"psnr": np.full(10, 20.0)}
    held = np.array([1, 4, 7])
    before["psnr"][held] = 23.0
    weaker = audit._on_the_same({"psnr": np.full(3, 22.5)}, before, held)
    assert weaker["psnr"] == pytest.approx(before["psnr"].mean() - 0.5)
    assert audit._on_the_same({"psnr": np.full(3, 22.5)}, {}, held)["psnr"] == 22.5


def test_the_servers_activations_are_those_of_the_server() -> None:
    people, threat = corpus(), Threat.named("server")
    defended = parse("none").fit(conv_split(), people, effort=SMALL, seed=0)
    view = wire.observe(defended, people, threat, 0).victims
    server = defended.split.server.eval()
    linear = [m for m in server.modules() if isinstance(m, nn.Linear)]
    seen: list[torch.Tensor] = []
    hooks = [m.register_forward_pre_hook(lambda _, given: seen.append(given[0])) for m in linear]
    assert view.z is not None
    with torch.no_grad():
        server(view.z)
    for hook in hooks:
        hook.remove()
    assert view.hidden is not None
    torch.testing.assert_close(view.hidden, torch.cat(seen, 1), atol=1e-3, rtol=1e-3)
    eavesdropper = wire.observe(defended, people, Threat.named("eavesdropper"), 0).victims
    assert eavesdropper.hidden is None
