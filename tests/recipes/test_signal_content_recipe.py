"""The recipe of Samragh et al. 2021: its grids are whole, its claims read what its studies make, and it runs."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest

from privet import recipes, schedule
from privet.defense import parse
from privet.recipes import reproduce
from privet.recipes.claims import Grid, Where
from privet.recipes.signal_content.sets import ABLATIONS, DIGITS, FC1, SETS, TRAINING
from studies import privet

CLAIMS = ["3a", "3b", "3c", "3d", "3e", "3f", "3g", "3h", "3i", "3j", "3k", "3l", "3m"]


def test_every_claim_of_the_table_is_there() -> None:
    recipe = recipes.load("signal-content")
    assert [c.id for c in recipe.claims] == CLAIMS
    assert all(c.criterion and c.reported and c.where and c.parts for c in recipe.claims)
    standard = recipe.studies(Grid.named("standard"), Where(Path("sets"), Path("out")))
    for claim in recipe.claims:
        for part in claim.parts:
            assert set(part.needs) <= set(standard) or part.statement.startswith("digits"), part.statement


@pytest.mark.parametrize("effort", ["quick", "standard", "full"])
@pytest.mark.parametrize("exact", [False, True])
def test_grids_spell_defenses_that_exist(effort: str, exact: bool) -> None:
    found = recipes.load("signal-content").studies(
        Grid.named(effort, as_published=exact), Where(Path("sets"), Path("o"))
    )
    for study in found.values():
        for text in study.defenses:
            parse(text)
        assert study.defenses[0] == "none"
        assert study.setting.model == "cnn3", "the paper's Table 1"
    for training in (TRAINING, *ABLATIONS.values()):
        assert getattr(parse(training), "trains", False)
    sets = {key.split("/")[0] for key in found}
    assert sets == ({"digits"} if effort == "quick" and not exact else {s.name for s in SETS[1:]})
    if exact:
        assert {s.setting.effort for s in found.values()} == {"full"}, "50 epochs, as the paper says"
        assert {s.setting.attacks for s in found.values()} == {("server_probe",)}
        assert {s.source.limit for s in found.values()} == {None}
        assert found["celeba_attr/flatten"].source.resize == "73x60"


def test_as_published_begins(tmp_path: Path, shared_data: Path) -> None:
    """Its first steps: the paper's data are found, dealt and cut where the paper cuts, and the cost is estimated."""
    recipe = recipes.load("signal-content")
    where = Where(shared_data, tmp_path)
    work = reproduce.plan(recipe, Grid.named("full", as_published=True), where, only=["3k"])
    assert set(work.studies) == {f"celeba_id/{c}" for c in ("block1", "block2", "flatten", "fc1", "plain")}
    assert work.trials > 100
    assert work.seconds > 3600, "hours on this machine: it wants a GPU"
    planned = work.studies["celeba_id/flatten"]
    tiny = replace(planned.study, setting=replace(planned.study.setting, effort="tiny"), seeds=1, defenses=("none",))
    from privet import experiment

    parts = {role: part.take(slice(200)) for role, part in planned.corpus.parts.items()}
    few = replace(planned.corpus, parts=parts, digest="")
    drawn = schedule.draw_up(tiny, few)
    done = experiment.trial(drawn.study.setting, few, "none", 0, tmp_path)
    assert done.record["results"]["training"]["drawn"]
    assert done.record["results"]["cut_shape"] == [2304]


@pytest.mark.heavy
def test_quick_judges_every_claim_on_digits(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert privet("reproduce", "signal-content", "--effort", "quick", "--jobs", "1", "--out", tmp_path, "--json") == 0
    lines = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert [line["claim"] for line in lines] == CLAIMS
    keys = "claim paper data criterion reported measured verdict verdict_as_published seeds"
    assert all(list(line) == keys.split() for line in lines)
    assert {line["verdict"] for line in lines} <= {"reproduced", "not reproduced", "inconclusive", "differs"}
    exact = next(line for line in lines if line["claim"] == "3g")
    assert exact["verdict"] == "differs", "where nothing is removed nothing is saved, and the work is exact"
    assert [p["verdict"] for p in exact["measured"]["fresh"] if "work" in p["part"] and p["margin"]] == ["reproduced"]
    assert (tmp_path / "claims.html").stat().st_size > 20_000
    assert FC1 in DIGITS.cuts
