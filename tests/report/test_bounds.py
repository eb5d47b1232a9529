"""Bounds in a finished study: worst over seeds, together over the page, beside the attack that they cap."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from privet.bounds import certificate
from privet.errors import SpecError
from privet.report import ceilings, gates, html, rows
from privet.report.bounds import DELTA, ERRORS, MESSAGES
from privet.report.results import Results
from privet.report.view import View
from studies import people, study

KNOWLEDGE = {"none": {"mlp_probe": 3.0}, "few:bits=2": {"mlp_probe": 0.5}, "wide": {"mlp_probe": 2.0}}


def made(victims: int = 400, bits: int = 2, seeds: int = 2, **more: Any) -> Results:
    corpus = people(victim=victims)
    s = corpus.victim.s["s"]

    def edit(defense: str, seed: int, arrays: dict[str, Any]) -> None:
        pass

    plan, runs = study(corpus, KNOWLEDGE, seeds=seeds, edit=edit, **more)
    for (defense, seed), run in runs.items():
        run.record["results"]["message_bits"] = bits if defense.startswith("few") else 500
        if defense.startswith("few"):
            generator = np.random.default_rng(seed)
            noisy = np.where(generator.random(len(s)) < 0.3, s, generator.integers(0, 3, len(s)))
            run.arrays[MESSAGES] = noisy.astype(np.int64)
            run.arrays[ERRORS] = certificate.cell_errors(run.arrays[MESSAGES], corpus.victim.x)
    return rows.results(plan, runs)


def test_only_counted_payloads_are_bounded() -> None:
    found = made()
    assert {b.defense for b in found.bounds} == {"few:bits=2"}
    kinds = [(b.attribute, b.metric, b.among) for b in found.bounds]
    assert kinds == [
        ("s", "accuracy", None),
        ("s", "balanced_accuracy", None),
        ("s", "accuracy", "no"),
        ("s", "accuracy", "yes"),
    ]


def test_the_worst_seed_at_the_level_of_the_whole_page() -> None:
    results = made()
    whole = next(b for b in results.bounds if (b.metric, b.among) == ("accuracy", None))
    together = (2 + 2 + 1) * 2  # bounds of one attribute and of the input, times seeds
    assert whole.confidence == pytest.approx(1 - DELTA / together)
    assert whole.bound > whole.in_sample > whole.strongest - 0.2
    row = next(r for r in results.rows if r.defense == "few:bits=2" and r.metric == "accuracy" and r.headline)
    assert row.certified == whole.bound
    assert row.json()["certified"] == whole.bound
    assert all(r.certified is None for r in results.rows if r.defense != "few:bits=2" or r.metric == "auc")
    more_seeds = next(b for b in made(seeds=4).bounds if (b.metric, b.among) == ("accuracy", None))
    assert more_seeds.confidence > whole.confidence


def test_gates_on_what_is_certified() -> None:
    results = made()
    bound = next(b.bound for b in results.bounds if b.metric == "accuracy" and b.among is None)
    only = [f for f in gates.check(gates.parse(f"s.certified>{bound + 0.01:.3f}"), results) if "few" in f]
    assert not only
    failed = gates.check(gates.parse(f"certified>{bound - 0.01:.3f}"), results)
    assert any("few:bits=2" in f for f in failed)
    assert any("wide" in f and "certified 1" in f for f in failed), "what has no bound is bounded by one"
    assert gates.check(gates.parse("balanced_accuracy.certified>0.2"), results)


def test_too_few_people_say_so() -> None:
    results = made(victims=30)
    whole = next(b for b in results.bounds if b.metric == "accuracy" and b.among == "no")
    text = ceilings.sentence(whole)
    assert ("too few" in text) == (not whole.informative)
    tiny = made(victims=12)
    assert not any(b.informative for b in tiny.bounds if b.metric == "accuracy" and b.among)
    page = html.render(tiny)
    assert "too few people" in page


def test_the_page_shows_the_sandwich() -> None:
    page = html.render(made())
    assert "What no attacker can exceed" in page
    assert "All bounds of this page hold together" in page
    assert "improves a guess of anything, also of what nobody named, at most 4-fold" in page
    drawn = ceilings.ceilings(View(made()))[0]
    assert drawn["lines"][0]["gap"].startswith("+")
    assert "ceiling" in drawn["svg"]
    plain = rows.results(*study(people(), {"none": {"mlp_probe": 3.0}}))
    assert "What no attacker can exceed" not in html.render(plain)


def test_a_rounded_bound_is_still_a_bound() -> None:
    """Deliberate fault of old: 47.249 % was printed as "no attacker above 47.2 %"."""
    assert ceilings.ceiling(0.47249).startswith("47.3")
    assert ceilings.ceiling(0.472).startswith("47.2")
    assert ceilings.ceiling(1.0).startswith("100.0")
    assert ceilings.least(0.01239).startswith("at least 0.0123 (at most 19.1")


def test_what_is_not_certified_has_no_gate() -> None:
    with pytest.raises(SpecError, match="only accuracy and balanced_accuracy are certified"):
        gates.check(gates.parse("auc.certified>0.9"), made())


def test_the_scope_says_whose_network_it_is() -> None:
    corpus = people(victim=400)
    plan, runs = study(corpus, KNOWLEDGE)
    for (defense, _), run in runs.items():
        run.record["setting"] = {"weights": "w.safetensors", "model": "mlp"}
        run.record["results"]["message_bits"] = 2
        if defense.startswith("few"):
            run.arrays[MESSAGES] = np.zeros(400, np.int64)
            run.arrays[ERRORS] = certificate.cell_errors(run.arrays[MESSAGES], corpus.victim.x)
    found = rows.results(plan, runs).bounds
    assert all("the network is the user's own" in b.scope for b in found)
    assert not any("user's own" in b.scope for b in made().bounds)
