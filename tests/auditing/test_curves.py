"""Learning curves: the law and what it foretells, the sizes, and that an attack with fewer people is that attack."""

from __future__ import annotations

import numpy as np
import pytest

from privet.auditing import audit, curves, wire
from privet.auditing.tables import tabulate
from privet.auditing.threat import Threat, portfolio
from studies import SMALL, undefended
from studies import people as crowd

PEOPLE = [100, 200, 400, 800, 1600]


def power(a: float, b: float, c: float) -> np.ndarray:
    return a - b * np.asarray(PEOPLE, float) ** -c


def test_sizes_are_halves_down_to_fifty() -> None:
    assert curves.sizes(1700) == [53, 106, 212, 425, 850, 1700]
    assert curves.sizes(449) == [56, 112, 224, 449]
    assert curves.sizes(300) == []  # three sizes are no law
    assert max(map(len, map(curves.sizes, range(1, 20000, 37)))) <= curves.MOST


@pytest.mark.parametrize(("a", "b", "c"), [(0.9, 2.0, 0.5), (0.6, 0.8, 0.2), (25.0, 40.0, 0.3)])
def test_the_law_gives_back_its_parameters(a: float, b: float, c: float) -> None:
    values = np.stack([power(a, b, c), power(a - 0.1, b, c)], 1)
    found = curves.law(PEOPLE, values)
    for got, wanted in zip(found, ([a, a - 0.1], [b, b], [c, c]), strict=True):
        np.testing.assert_allclose(got, wanted, rtol=1e-6)
    ahead = curves.foretell(PEOPLE, values, 16000)
    np.testing.assert_allclose(ahead, [a - b * 16000**-c, a - 0.1 - b * 16000**-c], rtol=1e-9)


def test_more_people_never_foretell_less() -> None:
    falling = power(0.9, 2.0, 0.5)[::-1]
    a, b, _ = curves.law(PEOPLE, falling[:, None])
    assert b[0] == 0
    assert a[0] == pytest.approx(falling.mean())


def test_each_replicate_has_its_own_law() -> None:
    generator = np.random.default_rng(0)
    noisy = power(0.8, 1.5, 0.4)[:, None] + generator.normal(0, 0.01, (5, 300))
    ahead = curves.foretell(PEOPLE, noisy, 16000)
    truth = 0.8 - 1.5 * 16000**-0.4
    assert np.quantile(ahead, 0.025) < truth < np.quantile(ahead, 0.975)
    one = curves.foretell(PEOPLE, noisy[:, 7:8], 16000)
    assert one[0] == pytest.approx(ahead[7])


def test_fewer_people_the_same_attack(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(curves, "LEAST", 30)
    people, threat = crowd(), Threat.named("server")
    defended = undefended(people)
    observed = wire.observe(defended, people, threat, 0)
    attacks, _ = portfolio(threat, ("linear_probe", "decoder"))
    whole = audit.attack(observed, people, threat, attacks, effort=SMALL, seed=0)
    fewer = curves.learn(observed, whole, people, threat, attacks, effort=SMALL, seed=0)
    goal = people.hidden[0]
    known = int((people.aux_train.s[goal] >= 0).sum())
    sizes = curves.sizes(known)
    assert len(sizes) >= curves.FEWEST
    assert {k for k in fewer.arrays if k.startswith(f"curve/{goal}/")} == {
        f"curve/{goal}/linear_probe@{n}" for n in sizes
    }
    np.testing.assert_array_equal(
        fewer.arrays[f"curve/{goal}/linear_probe@{known}"], whole.arrays[f"posterior/{goal}/linear_probe"]
    )
    assert not np.array_equal(
        fewer.arrays[f"curve/{goal}/linear_probe@{sizes[0]}"], whole.arrays[f"posterior/{goal}/linear_probe"]
    )
    tables = tabulate(fewer, people, observed.answers["victim"], 20)
    assert tables[f"table/{goal}/curve:linear_probe@{known}/accuracy"].shape == (21,)
    assert f"table/input/curve:decoder@{len(people.aux_train)}/psnr" in tables
