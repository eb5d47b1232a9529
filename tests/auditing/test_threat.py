"""Threats: four adversaries, what each may touch, and that it touches no more."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from privet.attack import FOLDER
from privet.attacks.linear_probe import LinearProbe
from privet.auditing import audit, wire
from privet.auditing.threat import THREATS, Threat, portfolio
from privet.defenses.gaussian import Gaussian
from privet.errors import SpecError, ThreatError
from privet.registry import names
from studies import SMALL, halves, people, undefended


def test_there_are_four() -> None:
    assert set(THREATS) == {"server", "eavesdropper", "few_labels", "repeated"}
    for threat in THREATS.values():
        assert len(threat.paragraph.split()) > 20
        assert threat.paragraph.endswith(".")
        assert threat.describe()["name"] == threat.name
    assert Threat.named("few-labels").name == "few_labels"
    with pytest.raises(SpecError, match="did you mean 'eavesdropper'"):
        Threat.named("eavesdroper")


def test_the_server_runs_everything() -> None:
    granted, left_out = portfolio(Threat.named("server"))
    assert set(granted) == set(names(FOLDER))
    assert left_out == {}


def test_the_eavesdropper_has_no_server() -> None:
    granted, left_out = portfolio(Threat.named("eavesdropper"))
    assert "server_probe" not in granted
    assert {"linear_probe", "mlp_probe", "boosted_trees", "decoder"} <= set(granted)
    assert "needs architecture and obfuscator" in left_out["server_probe"]
    assert "'eavesdropper'" in left_out["server_probe"]
    with pytest.raises(ThreatError, match=r"server_probe needs .* --threat"):
        portfolio(Threat.named("eavesdropper"), ("linear_probe", "server_probe"))
    seen = wire.observe(undefended(people()), people(), Threat.named("eavesdropper"), 0)
    assert all(v.z is None and v.server is None for v in (*seen.train, seen.val, seen.victims))
    seen = wire.observe(undefended(people()), people(), Threat.named("server"), 0)
    assert all(v.z is not None and v.server is not None for v in (*seen.train, seen.val, seen.victims))


def test_attacks_by_name() -> None:
    assert list(portfolio(Threat.named("server"), ("mlp-probe:width=32",))[0]) == ["mlp_probe:width=32"]
    with pytest.raises(SpecError, match="did you mean 'mlp_probe'"):
        portfolio(Threat.named("server"), ("mlp_prob",))


def test_few_labels_uses_few() -> None:
    corpus = people(aux_train=260, aux_val=220)
    threat = Threat.named("few_labels")
    seen = wire.observe(undefended(corpus), corpus, threat, 0)
    material = audit.attribute_material(seen, corpus, threat, "s", 0)
    assert len(material.known) == len(material.train[0]) == 200
    assert len(material.known_val) == len(material.val) == 50
    drawn = audit.material(seen, corpus, threat, "input", 0)
    assert len(drawn.known) == len(drawn.train[0]) == 200
    assert len(drawn.known_val) == 50
    everything = audit.attribute_material(seen, corpus, Threat.named("server"), "s", 0)
    assert len(everything.known) == 260
    floor = audit.reference(seen, corpus, threat, 0).arrays["floor/s/majority"][0]
    owned = np.bincount(material.known.numpy(), minlength=3) / 200
    assert np.allclose(floor, owned, atol=1e-4)
    others = audit.attribute_material(seen, corpus, threat, "s", 1)
    assert not torch.equal(others.train[0].flat, material.train[0].flat)


def test_people_without_the_label_teach_nothing() -> None:
    corpus = people()
    corpus.aux_train.s["s"][:50] = -1
    seen = wire.observe(undefended(corpus), corpus, Threat.named("server"), 0)
    material = audit.attribute_material(seen, corpus, Threat.named("server"), "s", 0)
    assert len(material.known) == 190
    assert int(material.known.min()) == 0
    assert torch.equal(material.train[0].flat, seen.train[0].flat[50:])
    assert len(audit.material(seen, corpus, Threat.named("server"), "input", 0).known) == 240


def test_repeated_averages_eight_payloads() -> None:
    corpus = people(aux_train=400, victim=300)
    noisy = Gaussian(sigma=0.7).fit(halves(corpus), corpus, effort=SMALL, seed=0)
    right = {}
    for name in ("server", "repeated"):
        threat = Threat.named(name)
        seen = wire.observe(noisy, corpus, threat, 0)
        noise = seen.victims.flat.numpy()[:, : corpus.shape[0]] - corpus.victim.x
        assert abs(noise.std() * threat.queries**0.5 - 0.7) < 0.05  # eight payloads leave an eighth of the variance
        evidence = audit.attack(seen, corpus, threat, {"linear_probe": LinearProbe()}, effort=SMALL, seed=0)
        posterior = evidence.arrays["posterior/s/linear_probe"]
        right[name] = float((posterior.argmax(1) == corpus.victim.s["s"]).mean())
    assert right["repeated"] > right["server"] + 0.1


def test_side_information_is_used() -> None:
    corpus = people(leak=0.0)
    found = {}
    for side in ((), ("t",)):
        threat = Threat.named("server", side)
        seen = wire.observe(undefended(corpus), corpus, threat, 0)
        assert seen.train[0].flat.shape[1] == 6 + corpus.n_classes(corpus.target) + 3 * len(side)
        assert seen.victims.z is not None
        assert seen.victims.z.shape[1] == 6
        evidence = audit.attack(seen, corpus, threat, {"linear_probe": LinearProbe()}, effort=SMALL, seed=0)
        arrays = evidence.arrays | audit.reference(seen, corpus, threat, 0).arrays
        right = {k: float((v.argmax(1) == corpus.victim.s["s"]).mean()) for k, v in arrays.items() if "/s/" in k}
        found[side] = right
    assert "floor/s/imputation" not in found[()]
    assert found["t",]["floor/s/imputation"] > 0.85
    assert found[()]["floor/s/label_only"] < 0.5
    assert found[()]["posterior/s/linear_probe"] < 0.5
    assert found["t",]["posterior/s/linear_probe"] > 0.85
    assert "knows the victim's t" in Threat.named("server", ("t",)).describe()["paragraph"]
    assert replace(threat, side=()).describe()["paragraph"] == THREATS["server"].paragraph
