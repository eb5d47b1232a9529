"""The frame of the claims: verdicts on tables whose answer is known, a toy recipe run for real, and criteria that
cannot change in silence."""

from __future__ import annotations

import importlib.util
import json
import re
import sys
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

import driver  # noqa: F401  the effort `tiny`
from privet import recipes, study
from privet.auditing.estimate import Estimate
from privet.errors import RunError, SpecError
from privet.recipes import commitment, page, reproduce
from privet.recipes.claims import Claim, Figure, Grid, Outcome, Paper, Part, Recipe, Where, judge, verdict
from privet.recipes.curves import Trade, change, gap, mean, spearman, steps, wins, within
from privet.recipes.evidence import Arm, Attacker, Evidence, above, below, combine, difference, exactly, measured
from privet.report import chart
from privet.report.runs import Runs
from studies import people, privet
from studies import study as made_up

REPLICATES = 60
ATTACKERS: tuple[Attacker, ...] = ("published", "fresh")


def load(name: str, file: Path) -> ModuleType:
    spec = importlib.util.spec_from_file_location(name, file)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    sys.modules[name] = module
    spec.loader.exec_module(module)
    return module


TOY = load("toy_recipe", Path(__file__).with_name("toy.py"))


@pytest.fixture(scope="module")
def toy() -> Recipe:
    return recipes.of(TOY, "toy")


def arm(*values: float, noise: float = 0.0, seed: int = 0, n: int = 100) -> Arm:
    """An arm of made-up values, one a seed, with replicates around them."""
    generator = np.random.default_rng(seed)
    tables = {s: np.append(v, v + noise * generator.normal(size=REPLICATES)) for s, v in enumerate(values)}
    return Arm(tables, n, n, "accuracy", f"arm {values}")


# verdicts ----------------------------------------------------------------------------------------------------------


def outcome(low: float | None, high: float = 1.0, outside: bool = False) -> Outcome:
    margin = None if low is None else Estimate((low + high) / 2, low, high, 9)
    return Outcome(Part("p", lambda e, a: exactly(1), ()), margin, outside=outside)


YES, NO, OPEN, NONE = outcome(0.1), outcome(-1, 0.0), outcome(-0.5, 0.5), outcome(None)
AWAY = outcome(None, outside=True)


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        ([YES], "reproduced"),
        ([YES, YES], "reproduced"),
        ([NO], "not reproduced"),
        ([NO, NO], "not reproduced"),
        ([OPEN], "inconclusive"),
        ([YES, OPEN], "inconclusive"),
        ([NO, OPEN], "inconclusive"),
        ([YES, NO], "differs"),
        ([YES, NO, OPEN], "differs"),
        ([YES, NONE], "inconclusive"),  # a missing arm never makes a claim reproduced
        ([NO, NONE], "inconclusive"),
        ([YES, NO, NONE], "differs"),
        ([NONE], "not run"),
        ([NONE, NONE], "not run"),
        ([YES, AWAY], "reproduced"),  # of another grid
        ([AWAY], "not run"),
        ([NONE, AWAY], "not run"),
    ],
)
def test_verdict_of_a_claim(found: list[Outcome], expected: str) -> None:
    assert verdict(found) == expected
    assert verdict(found[::-1]) == expected


def test_zero_is_not_above_zero() -> None:
    assert outcome(0.0, 1.0).verdict == "inconclusive"
    assert outcome(-1.0, 0.0).verdict == "not reproduced"
    assert outcome(1e-9, 1.0).verdict == "reproduced"


# tables whose answer is known --------------------------------------------------------------------------------------


def test_a_difference_is_paired() -> None:
    """What both arms share cancels: replicates that move together leave no interval."""
    a = arm(0.8, noise=0.1)
    b = Arm({0: a.tables[0] - 0.3}, 100, 100)
    found = difference(a, b)
    assert found.mean == pytest.approx(0.3)
    assert found.high - found.low < 1e-9
    apart = difference(arm(0.8, noise=0.1), arm(0.5, noise=0.1, seed=7))
    assert apart.high - apart.low > 0.3


def test_seeds_are_in_the_interval() -> None:
    """Two arms without any spread over victims, but with one over seeds."""
    found = difference(arm(0.9, 0.5, 0.7), arm(0.1, 0.1, 0.1))
    assert found.mean == pytest.approx(0.6)
    assert found.low == pytest.approx(0.6 - 4.3027 * 0.2 / 3**0.5, abs=1e-3)  # t with 2 degrees of freedom


def test_only_seeds_that_all_arms_have_count() -> None:
    a, b = arm(0.9, 0.5, 0.7), arm(0.1, 0.1)
    assert set(combine((a, b), lambda v: v[0] - v[1]).tables) == {0, 1}
    with pytest.raises(RunError, match="share no finished seed"):
        combine((a, Arm({9: a.tables[0]}, 1, 2)), lambda v: v[0])
    with pytest.raises(RunError, match="different weights"):
        combine((a, Arm({0: a.tables[0][:9]}, 1, 2)), lambda v: v[0])
    with pytest.raises(RunError, match="no arms"):
        combine((), lambda v: v[0])


def test_margins() -> None:
    found = Estimate(0.5, 0.4, 0.7, 3)
    for margin, ends in ((above(found, 0.8), (-0.3, -0.4, -0.1)), (below(found, 0.8), (0.3, 0.1, 0.4))):
        assert (margin.mean, margin.low, margin.high) == pytest.approx(ends)
    assert exactly(2.0).low == exactly(2.0).high == 2.0


def test_spearman() -> None:
    rising = [arm(v) for v in (0.1, 0.2, 0.6, 0.7)]
    assert spearman(rising).mean == pytest.approx(1)
    assert spearman(rising[::-1]).mean == pytest.approx(-1)
    assert spearman(rising, order=[4, 3, 2, 1]).mean == pytest.approx(-1)
    assert spearman([arm(v) for v in (0.1, 0.3, 0.2, 0.4)]).mean == pytest.approx(0.8)
    assert spearman([arm(0.5)] * 3).mean == 0
    noisy = spearman([arm(v, noise=0.4, seed=i) for i, v in enumerate((0.1, 0.2, 0.6, 0.7))])
    assert noisy.low < 0.8
    assert noisy.high <= 1
    with pytest.raises(RunError, match="three or more"):
        spearman(rising[:2])


def test_steps_and_change() -> None:
    arms = [arm(v) for v in (0.1, 0.3, 0.25, 0.9)]
    assert steps(arms).mean == pytest.approx(-0.05)
    assert steps(arms, falling=True).mean == pytest.approx(-0.65)
    assert above(steps(arms), -0.06).low > 0
    assert change(arms).mean == pytest.approx(0.8)
    assert mean(arms).estimate().mean == pytest.approx(0.3875)
    with pytest.raises(RunError):
        steps(arms[:1])


def trade(name: str, *points: tuple[float, float]) -> Trade:
    return Trade(name, tuple((arm(x), arm(y)) for x, y in points))


def test_trades_are_compared_at_equal_target_error() -> None:
    low, high = trade("b", (0.0, 0.1), (0.4, 0.5)), trade("a", (0.1, 0.3), (0.3, 0.5))
    assert wins(high, low).mean == 1  # a: .3 to .5, b at these target errors: .2 to .4
    assert gap(high, low).mean == pytest.approx(0.1)
    assert wins(low, high).mean == 0
    crossing = trade("c", (0.0, 0.5), (0.4, 0.1))  # crosses b at .2
    assert wins(crossing, low).mean == pytest.approx(0.5, abs=0.01)
    assert gap(crossing, low).mean == pytest.approx(0, abs=1e-9)
    assert wins(low, low).mean == 0.5
    assert above(wins(high, low), 0.8).low > 0


def test_order_of_points_and_ties_do_not_matter() -> None:
    a = trade("a", (0.3, 0.5), (0.1, 0.3), (0.1, 0.2))
    assert gap(a, trade("b", (0.4, 0.5), (0.0, 0.1))).mean == pytest.approx(0.1)
    bent = trade("a", (0.3, 0.5), (0.1, 0.3), (0.2, 0.6))  # .3 to .6 and down to .5: .5 on average
    assert gap(bent, trade("b", (0.3, 0.1), (0.1, 0.1))).mean == pytest.approx(0.4, abs=1e-3)


def test_trades_without_a_common_target_error_are_not_compared() -> None:
    with pytest.raises(RunError, match="no target error is reached by both"):
        wins(trade("a", (0.0, 0.1), (0.1, 0.5)), trade("b", (0.2, 0.1), (0.3, 0.5)))


def test_the_first_setting_within_a_tolerance() -> None:
    """Settings grow; the choice is made in each seed for itself."""
    base = arm(0.9, 0.9)
    settings = [(arm(0.5, 0.5), arm(0.1, 0.1)), (arm(0.895, 0.8), arm(0.2, 0.2)), (arm(0.9, 0.9), arm(0.3, 0.3))]
    assert {s: t[0] for s, t in within(base, settings, 0.01).tables.items()} == {0: 0.2, 1: 0.3}
    assert {t[0] for t in within(base, settings[:1], 0.01).tables.values()} == {0.1}
    shaken = [(Arm({0: np.array([0.9, 0.5, 0.9])}, 9, 9), Arm({0: np.full(3, 0.1)}, 9, 9)), settings[2]]
    calm = [(Arm({0: np.full(3, 0.9)}, 9, 9), Arm({0: np.full(3, 0.3)}, 9, 9))]
    found = within(calm[0][0], [shaken[0], *calm], 0.01).tables[0]
    assert list(found) == pytest.approx([0.1, 0.3, 0.1])  # each replicate chooses, too


def test_an_interval_stays_within_its_range() -> None:
    found = measured(arm(0.95, 0.99, 0.97, noise=0.2), 0, 1)
    assert found.high == 1


# evidence from runs ------------------------------------------------------------------------------------------------

KNOWS = {
    "none": {"server_probe": 1.5, "mlp_probe": 6.0},
    "fair": {"server_probe": 1.4, "mlp_probe": 6.0},
    "good": {"server_probe": 0.0, "mlp_probe": 0.0},
    "fooling": {"server_probe": 0.0, "mlp_probe": 6.0},
}


@pytest.fixture(scope="module")
def evidence() -> Evidence:
    """Made-up adversaries: `good` hides, `fooling` hides from the paper's adversary only."""
    plan, runs = made_up(people(), KNOWS, seeds=3, utility=0.9)
    return Evidence({"people/cut": Runs(plan, runs)}, {"faces/cut": "there is no faces"})


def hides(defense: str, key: str = "people/cut") -> Part:
    def margin(found: Evidence, attacker: Attacker) -> Estimate:
        before = found.attack(key, "none", "s", attacker)
        return difference(before, found.attack(key, defense, "s", attacker))

    return Part(f"{defense} hides s", margin, (key,))


def recipe(*claims: Claim) -> Recipe:
    return Recipe("made-up", Paper("T", "C"), claims, (), lambda grid, where: {}, Path(__file__))


def claim(name: str, *parts: Part) -> Claim:
    return Claim(name, "s", "w", "r", "c", parts)


def test_both_attackers_are_asked(evidence: Evidence) -> None:
    judged = judge(recipe(claim("1", hides("good")), claim("2", hides("fooling"))), evidence)
    assert [(j.verdict_as_published, j.verdict) for j in judged] == [
        ("reproduced", "reproduced"),
        ("reproduced", "not reproduced"),
    ]
    assert evidence.attack("people/cut", "none", "s", "published").name.endswith("server_probe")
    assert evidence.attack("people/cut", "none", "s", "fresh").name.endswith("mlp_probe")
    assert judged[0].seeds == (0, 1, 2)


def test_a_claim_about_what_is_missing(evidence: Evidence) -> None:
    cases = {
        "another study": (hides("good"), hides("good", "faces/cut")),
        "another defense": (hides("good"), hides("absent")),
    }
    for name, parts in cases.items():
        (judged,) = judge(recipe(claim(name, *parts)), evidence)
        assert judged.verdict == judged.verdict_as_published == "inconclusive", name
        assert judged.outcomes["fresh"][0].verdict == "reproduced"
        assert judged.outcomes["fresh"][1].missing
    (alone,) = judge(recipe(claim("alone", hides("good", "faces/cut"))), evidence)
    assert alone.verdict == "not run"
    assert page._outside(alone) == ""
    (beyond,) = judge(recipe(claim("beyond", hides("good", "other/cut"))), evidence)
    assert beyond.verdict == "not run"
    assert "None of its 1 part belongs to this grid" in page._outside(beyond)
    assert "there is no faces" in alone.outcomes["fresh"][0].missing
    (elsewhere,) = judge(recipe(claim("elsewhere", hides("good"), hides("good", "other/cut"))), evidence)
    assert elsewhere.verdict == "reproduced"
    assert elsewhere.outcomes["fresh"][1].outside


def test_a_study_that_is_named_must_be_there(evidence: Evidence) -> None:
    """A part that would not even look at the study it needs is not measured without it."""
    idle = Part("p", lambda e, a: exactly(1.0), ("people/cut", "faces/cut"))
    (judged,) = judge(recipe(claim("1", idle)), evidence)
    assert judged.verdict == "not run"


def test_a_seed_that_is_missing_is_not_counted(evidence: Evidence) -> None:
    runs = evidence.studies["people/cut"]
    fewer = Runs(runs.plan, {k: v for k, v in runs.runs.items() if k != ("good", 2)})
    (judged,) = judge(recipe(claim("1", hides("good"))), Evidence({"people/cut": fewer}))
    assert judged.seeds == (0, 1)


def test_facts_and_floors(evidence: Evidence) -> None:
    assert evidence.fact("people/cut", "good", "payload_bytes") == [64] * 3
    assert evidence.floor("people/cut", "s").estimate().mean < 0.6
    assert evidence.utility("people/cut", "good").estimate().mean == pytest.approx(0.9, abs=0.05)
    assert evidence.data("people/cut") == "people"
    with pytest.raises(RunError, match="hold no colour"):
        evidence.fact("people/cut", "good", "colour")
    with pytest.raises(RunError, match="not scored by wit"):
        evidence.by("people/cut", "good", "s", "mlp_probe", "wit")
    with pytest.raises(RunError, match="no study of this grid"):
        evidence.runs("peeple/cut")


def test_json_has_the_keys_of_a_claim(evidence: Evidence) -> None:
    (judged,) = judge(recipe(claim("1", hides("good"), hides("good", "faces/cut"))), evidence)
    told = json.loads(json.dumps(judged.json(), allow_nan=False))
    keys = ["claim", "paper", "data", "criterion", "reported", "measured", "verdict", "verdict_as_published", "seeds"]
    assert list(told) == keys
    assert told["data"] == "people, faces"
    assert told["seeds"] == [0, 1, 2]
    assert set(told["measured"]) == {"published", "fresh"}
    parts = told["measured"]["fresh"]
    assert set(parts[0]["margin"]) == {"mean", "low", "high", "n"}
    assert parts[1]["margin"] is None
    assert "faces" in parts[1]["missing"]


# a recipe that is run ----------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def done(toy: Recipe, tmp_path_factory: pytest.TempPathFactory) -> reproduce.Reproduction:
    out = tmp_path_factory.mktemp("toy")
    return reproduce.reproduce(toy, Grid.named("quick", 3), Where(None, out, 1))


def test_the_toy_is_judged(done: reproduce.Reproduction) -> None:
    verdicts = {j.claim.id: j.verdict for j in done.judgements}
    assert verdicts["t1"] == "reproduced"
    assert verdicts["t2"] == "not reproduced"
    assert verdicts["t3"] == "differs"
    assert verdicts["t4"] == "reproduced"  # on digits: faces belong to a larger grid
    assert verdicts["t6"] == "reproduced"
    assert {j.json()["data"] for j in done.judgements if j.claim.needs} == {"digits"}
    assert done.evidence.seeds("digits/flatten") == (0, 1, 2)


def test_it_resumes(done: reproduce.Reproduction, toy: Recipe) -> None:
    heard: list[study.Event] = []
    planned: list[reproduce.Work] = []
    again = reproduce.reproduce(toy, done.grid, done.where, listen=heard.append, announce=planned.append)
    assert not heard
    assert (planned[0].trials, planned[0].finished, planned[0].seconds) == (15, 15, 0.0)
    assert [j.json() for j in again.judgements] == [j.json() for j in done.judgements]
    assert again.changes == ()


def test_the_page_shows_every_claim(done: reproduce.Reproduction, tmp_path: Path) -> None:
    text = page.write(done, tmp_path / "claims.html").read_text()
    for one in done.recipe.claims:
        assert f'id="claim-{one.id}"' in text
        assert one.criterion in text
    for word in ("reproduced", "not reproduced", "differs", "not run", "utkface/flatten is not in this grid"):
        assert word in text
    assert "<svg" in text
    assert "privet reproduce toy" in text
    assert "http://" not in text.replace("http://www.w3.org/2000/svg", "")
    assert text.count("Judged on 1 of its 2 parts") == 1
    assert re.search(r"fresh adversaries: digit named [\d.]+ % without", text)
    assert re.search(r"noise of 16 raises the attack on the digit</span><br>the paper&#39;s adversary: margin", text)
    assert text.count('id="figure-f1-0"') == 1
    assert text.count("Drawn above") == 1  # the figure of t2 is that of t1


def test_each_study_has_its_own_report(done: reproduce.Reproduction, capsys: pytest.CaptureFixture[str]) -> None:
    plan = done.where.out / "study-digits-flatten.json"
    assert privet("report", plan) == 0
    assert "gaussian:sigma=16" in capsys.readouterr().out
    assert privet("report", done.where.out) == 2
    assert str(plan) in capsys.readouterr().err


def test_only_some_claims(done: reproduce.Reproduction, toy: Recipe) -> None:
    some = reproduce.reproduce(toy, done.grid, done.where, only=["t1", "t5"])
    assert [j.claim.id for j in some.judgements] == ["t1", "t5"]
    beside = reproduce.reproduce(toy, done.grid, done.where, only=["f1"])
    assert [j.claim.id for j in beside.judgements] == ["t1", "t2"]
    with pytest.raises(SpecError, match="did you mean 't1'"):
        reproduce.reproduce(toy, done.grid, done.where, only=["t11"])


def test_sets_that_are_not_there(toy: Recipe, tmp_path: Path) -> None:
    grid = replace(Grid.named("standard", 1), effort="tiny")
    work = reproduce.plan(toy, grid, Where(None, tmp_path / "out", 1))
    assert set(work.studies) == {"digits/flatten"}
    assert "--data DIR" in work.absent["utkface/flatten"]
    (tmp_path / "sets").mkdir()
    found = reproduce.plan(toy, grid, Where(tmp_path / "sets", tmp_path / "out", 1)).absent
    assert "there is no utkface" in found["utkface/flatten"]
    only = [c for c in toy.claims if c.id == "t4"]
    far = replace(toy, claims=(replace(only[0], parts=only[0].parts[1:]),), figures=())
    with pytest.raises(SpecError, match="nothing of toy can be run"):
        reproduce.plan(far, grid, Where(None, tmp_path / "out"))
    assert not (tmp_path / "out").exists()


def test_the_estimate_counts_a_network_once(toy: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def two(grid: Grid, where: Where) -> dict[str, object]:
        one = TOY.studies(grid, where)[TOY.KEY]
        return {TOY.KEY: one, "digits/fc1": replace(one, setting=replace(one.setting, at="fc1.relu", model="cnn3"))}

    heard: list[bool] = []
    monkeypatch.setattr(reproduce.schedule, "estimate", lambda planned, trained=False: heard.append(trained) or 1.0)
    part = Part("p", lambda e, a: exactly(1.0), (TOY.KEY, "digits/fc1"))
    more = replace(toy, studies=two, claims=(claim("1", part),), figures=())  # type: ignore[arg-type]
    assert reproduce.plan(more, Grid.named("quick"), Where(None, tmp_path)).seconds == 2.0
    assert heard == [False, True]


def test_short_studies_start_no_processes(toy: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Processes take seconds to start, for each study again; whoever asks for a number of them gets it."""
    jobs: list[int] = []
    monkeypatch.setattr(reproduce.study, "perform", lambda planned, listen: jobs.append(planned.study.jobs) or True)
    for seconds, asked in ((5.0, 0), (500.0, 0), (5.0, 2)):
        monkeypatch.setattr(reproduce.schedule, "estimate", lambda planned, trained=False, s=seconds: s)
        reproduce.reproduce(toy, Grid.named("quick"), Where(None, tmp_path, asked))
    assert jobs == [1, 0, 2]


def test_an_early_end_leaves_nothing_reproduced(toy: Recipe, tmp_path: Path) -> None:
    done = reproduce.reproduce(toy, Grid.named("quick", 1), Where(None, tmp_path, 1), max_minutes=1e-9)
    verdicts = {j.claim.id: j.verdict for j in done.judgements}
    assert set(verdicts.values()) == {"not run", "reproduced"}
    assert [name for name, v in verdicts.items() if v == "reproduced"] == ["t6"]  # needs no run
    assert "run the same command again" in done.evidence.absent["digits/flatten"]
    assert "not run" in page.render(done)
    with pytest.raises(SpecError, match="--max-minutes"):
        reproduce.reproduce(toy, done.grid, done.where, max_minutes=0)


def test_studies_share_networks_and_trials(done: reproduce.Reproduction, toy: Recipe) -> None:
    """A second cut of the same network trains nothing anew; an equal trial is found."""

    def two(grid: Grid, where: Where) -> dict[str, object]:
        one = TOY.studies(grid, where)[TOY.KEY]
        other = replace(one, setting=replace(one.setting, at="fc1.relu", model="cnn3"), defenses=("none",))
        return {TOY.KEY: one, "digits/fc1": other, "digits/again": replace(one, defenses=("none",))}

    more = replace(toy, studies=two)  # type: ignore[arg-type]
    part = Part("p", lambda e, a: exactly(1.0), (TOY.KEY, "digits/fc1", "digits/again"))
    more = replace(more, claims=(claim("1", part),), figures=())
    work = reproduce.plan(more, done.grid, done.where)
    assert (work.trials, work.finished) == (18, 15)
    before = set((done.where.out / "models").glob("*.safetensors"))
    reproduce.reproduce(more, done.grid, done.where)
    assert set((done.where.out / "models").glob("*.safetensors")) == before
    assert len(list((done.where.out / "runs").iterdir())) == 18
    assert {p.name for p in done.where.out.glob("study-*.json")} == {
        "study-digits-flatten.json", "study-digits-fc1.json", "study-digits-again.json"
    }  # fmt: skip


# criteria cannot change in silence ---------------------------------------------------------------------------------


def edited(toy: Recipe, change: Callable[[Claim], Claim | None]) -> Recipe:
    return replace(toy, claims=tuple(c for c in map(change, toy.claims) if c is not None))


def test_criteria_stand_before_the_first_trial(toy: Recipe, tmp_path: Path) -> None:
    grid, where = Grid.named("quick", 1), Where(None, tmp_path, 1)
    seen: list[bool] = []
    reproduce.reproduce(
        toy, grid, where, only=["t6", "t1"], max_minutes=1e9,
        listen=lambda event: seen.append((tmp_path / "claims.json").is_file()),
    )  # fmt: skip
    assert seen
    assert all(seen)
    stored = json.loads((tmp_path / "claims.json").read_text())
    assert stored["claims"]["t1"].startswith("The attack falls.")
    assert stored["grid"] == {"name": "quick", "effort": "quick", "seeds": 1, "as_published": False}
    assert re.fullmatch("[0-9a-f]{64}", stored["code"]["toy.py"])


def test_a_changed_criterion_is_shown(done: reproduce.Reproduction, toy: Recipe) -> None:
    first = (done.where.out / "claims.json").read_text()
    milder = edited(toy, lambda c: replace(c, criterion="The attack falls a little.") if c.id == "t1" else c)
    (found,) = commitment.commit(done.where.out, milder, done.grid)
    assert found.claim == "t1"
    assert "The attack falls." in str(found)
    (gone,) = commitment.commit(done.where.out, edited(toy, lambda c: None if c.id == "t2" else c), done.grid)
    assert "dropped" in str(gone)
    part = replace(toy.claims[1].parts[0], statement="noise of 4 raises the attack")
    (other,) = commitment.commit(
        done.where.out, edited(toy, lambda c: replace(c, parts=(part,)) if c.id == "t2" else c), done.grid
    )
    assert other.claim == "t2"
    stored = json.loads((done.where.out / "claims.json").read_text())
    assert stored["claims"] == json.loads(first)["claims"]  # the first text stays
    assert len(stored["later"]) == len(json.loads(first)["later"]) + 3
    text = page.render(replace(done, recipe=milder, changes=(found,)))
    assert "Criterion changed after the runs" in text
    (done.where.out / "claims.json").write_text(first)


def test_a_changed_grid_is_no_criterion(done: reproduce.Reproduction, toy: Recipe) -> None:
    first = (done.where.out / "claims.json").read_text()
    (found,) = commitment.commit(done.where.out, toy, replace(done.grid, seeds=2))
    assert str(found) == "the grid is not the one that was committed: seeds 3 became 2"
    (done.where.out / "claims.json").write_text(first)


def test_changed_code_is_shown(done: reproduce.Reproduction, toy: Recipe, tmp_path: Path) -> None:
    file = tmp_path / "toy.py"
    file.write_text(toy.file.read_text() + "\n")
    (found,) = commitment.commit(done.where.out, replace(toy, file=file), done.grid)
    assert "the code that measures" in str(found)


def test_all_files_of_a_folder_are_code(toy: Recipe, tmp_path: Path) -> None:
    (tmp_path / "recipe").mkdir()
    for name in ("__init__.py", "measures.py"):
        (tmp_path / "recipe" / name).write_text("")
    commitment.commit(tmp_path, replace(toy, file=tmp_path / "recipe" / "__init__.py"), Grid.named("quick"))
    code = json.loads((tmp_path / "claims.json").read_text())["code"]
    frame = {f"frame/{name}.py" for name in ("claims", "curves", "evidence", "measurement")}
    assert {"__init__.py", "measures.py", *frame, "auditing/estimate.py", "auditing/tables.py"} == set(code)


def test_before_any_run_criteria_may_change(toy: Recipe, tmp_path: Path) -> None:
    grid = Grid.named("quick")
    assert commitment.commit(tmp_path, toy, grid) == ()
    assert commitment.commit(tmp_path, edited(toy, lambda c: replace(c, criterion="x")), grid) == ()
    assert json.loads((tmp_path / "claims.json").read_text())["claims"]["t1"].startswith("x")
    with pytest.raises(RunError, match="holds the claims of toy"):
        commitment.commit(tmp_path, replace(toy, name="other"), grid)
    (tmp_path / "claims.json").write_text("{")
    with pytest.raises(RunError, match="damaged"):
        commitment.commit(tmp_path, toy, grid)


# the registry ------------------------------------------------------------------------------------------------------


def test_recipes_of_the_folder_are_whole() -> None:
    for name in recipes.names():
        found = recipes.load(name)
        assert found.paper.title
        assert found.claims
        for one in found.claims:
            assert all((one.statement, one.where, one.reported, one.criterion, one.parts)), one.id
    with pytest.raises(SpecError, match="no paper named"):
        recipes.load("nothing-of-the-kind")
    with pytest.raises(SpecError, match="no paper named"):
        recipes.load("claims")


def test_a_recipe_that_reads_what_is_not_there(monkeypatch: pytest.MonkeyPatch) -> None:
    one = TOY.CLAIMS[0]
    cases = {
        "did you mean 'digits/flatten'": (replace(one, parts=(replace(TOY.TRUE, needs=("digits/flaten",)),)),),
        "no figure named 'f9'": (replace(one, figures=("f9",)),),
        "twice": (one, one),
    }
    for message, claims in cases.items():
        monkeypatch.setattr(TOY, "CLAIMS", claims)
        with pytest.raises(SpecError, match=re.escape(message)):
            recipes.of(TOY, "toy")


def test_grids() -> None:
    assert Grid.named("full", 2, True) == Grid("full", "full", 2, True)
    with pytest.raises(SpecError, match="did you mean 'quick'"):
        Grid.named("quik")
    with pytest.raises(SpecError, match="--seeds"):
        Grid.named("quick", 0)


# charts ------------------------------------------------------------------------------------------------------------


def test_a_chart_shows_points_intervals_and_names() -> None:
    points = tuple(chart.Point(x, Estimate(0.5, 0.4, 0.6, 9), f"<m'={x}>") for x in (1, 2, 4))
    drawn = chart.svg(
        chart.Chart("m'", "error, %", (chart.Series("a & b", points), chart.Series("c", points[:1], joined=False)),
                    levels=(("floor", 0.3),), scale=100, log_x=True), "told",
    )  # fmt: skip
    assert drawn.count('class="mark"') == 4 + 2
    assert drawn.count('class="join"') == 1
    assert "a &amp; b, &lt;m&#x27;=1&gt;" in drawn
    assert "error, % 50 (40 to 60)" in drawn
    assert "floor" in drawn
    assert chart.svg(chart.Chart("x", "y", ()), "nothing")


def test_ticks_suit_their_values() -> None:
    def ticks(*xs: float, log: bool = False) -> list[str]:
        series = (chart.Series("a", tuple(chart.Point(x, x) for x in xs)),)
        drawn = chart.svg(chart.Chart("x", "y", series, log_x=log), "t")
        return re.findall(r'text-anchor="middle">([^<]*)<', drawn)

    assert ticks(3, 4, 5) == ["3", "4", "5"]  # no half layers
    assert "3.5" in ticks(3, 4.1, 5)
    assert ticks(1, 4, 64, log=True) == ["1", "4", "64"]
    assert "100" in ticks(1, 3, 9, 27, 81, 243, 729, log=True)


def test_a_hopeless_interval_does_not_squeeze_the_chart() -> None:
    wide = chart.Series(
        "a", tuple(chart.Point(i, Estimate(i, i - (99 if i == 1 else 0.1), i + 0.1, 9)) for i in range(5))
    )
    drawn = chart.svg(chart.Chart("x", "y", (wide,)), "t")
    heights = [float(y) for y in re.findall(r'class="mark" transform="translate\([\d.]+ ([\d.]+)\)', drawn)]
    assert max(heights[1:]) - min(heights[1:]) > 60


def test_figures_without_their_runs_are_left_out(done: reproduce.Reproduction) -> None:
    far = Figure("f1", "t", TOY.draw, ("utkface/flatten",))
    assert "<figure" not in page.render(replace(done, recipe=replace(done.recipe, figures=(far,))))


# the command line --------------------------------------------------------------------------------------------------


def test_the_command(
    done: reproduce.Reproduction,
    toy: Recipe,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.setattr(recipes, "load", lambda name: toy)
    monkeypatch.setattr(recipes, "names", lambda: ("toy",))
    out = done.where.out
    words = ["reproduce", "toy", "--effort", "quick", "--seeds", 3, "--jobs", 1, "--out", out]
    assert privet(*words, "--json") == 0
    told, err = capsys.readouterr()
    found = [json.loads(line) for line in told.splitlines()]
    assert [f["claim"] for f in found] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert {f["paper"] for f in found} == {"toy"}
    assert "nothing left to compute" in err
    assert "not reproduced" in err  # the table
    assert (out / "claims.html").is_file()
    assert privet(*words, "--only", "t2") == 0  # whatever the verdict is
    told, err = capsys.readouterr()
    assert "not reproduced" in told
    assert "{" not in told
    assert privet("reproduce") == 0
    assert "A toy: noise hides" in capsys.readouterr().out
    assert privet("reproduce", "list", "--json") == 0
    assert json.loads(capsys.readouterr().out)["claims"][0] == "t1"


def test_what_could_not_be_run_is_told(
    toy: Recipe, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """A claim that was not run is an object all the same: inconclusive, with the reason in its parts."""
    monkeypatch.setattr(recipes, "load", lambda name: toy)
    words = ["reproduce", "toy", "--seeds", 1, "--jobs", 1, "--max-minutes", 1e-9, "--out", tmp_path, "--json"]
    assert privet(*words) == 0
    told, err = capsys.readouterr()
    lines = [json.loads(line) for line in told.splitlines()]
    assert [line["claim"] for line in lines] == ["t1", "t2", "t3", "t4", "t5", "t6"]
    assert [line["verdict"] for line in lines] == ["inconclusive"] * 5 + ["reproduced"]
    assert all(part["missing"] for part in lines[0]["measured"]["fresh"])
    assert "not run" in err
    assert "not measured t1" in err
    assert privet(*words, "--only", "t1") == 0
    (found,) = (json.loads(line) for line in capsys.readouterr().out.splitlines())
    assert (found["claim"], found["verdict"]) == ("t1", "inconclusive")


@pytest.mark.parametrize(
    ("words", "message"),
    [
        (["nobody"], "no paper named 'nobody'"),
        (["toy", "--effort", "quik"], "did you mean 'quick'"),
        (["toy", "--seeds", "0"], "--seeds"),
        (["toy", "--only", "t9"], "no claim or figure of toy named 't9'"),
        (["toy", "--max-minutes", "0"], "--max-minutes"),
        (["toy", "--effort", "standard", "--only", "t4", "--data", "nowhere"], "there is no folder nowhere"),
    ],
)
def test_what_is_wrong_is_one_sentence(
    words: list[str],
    message: str,
    toy: Recipe,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    whole = recipes.load
    monkeypatch.setattr(recipes, "load", lambda name: toy if name == "toy" else whole(name))
    assert privet("reproduce", *words, "--out", tmp_path / "out") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]
    assert not (tmp_path / "out").exists()
