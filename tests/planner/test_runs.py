"""Planning over finished runs: the interval of an unpaired drop, the choice by brute force, and a real audit of three
defenses at two cuts."""

from __future__ import annotations

import json
import math
import shlex
import shutil
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from privet import api, run
from privet.auditing.checks import Check
from privet.auditing.estimate import Estimate
from privet.cli.plan_runs import command
from privet.errors import Infeasible, RunError, SpecError
from privet.planner import device as devices
from privet.planner import finished, runs, runs_page
from privet.planner.finished import Finished, Option, fall, shares
from privet.planner.runs import Limits, certificate, front, infeasible
from privet.report import rows
from privet.report.runs import Runs
from studies import people, privet, study

DEFENSES = ["none", "signal_content:keep=2,bits=2", "water_filling:distortion=0.5"]
ASKED = {"limit": 150, "effort": "tiny", "seeds": 2, "jobs": 1, "attacks": ["linear_probe", "least_squares"]}
Capture = pytest.CaptureFixture[str]


# The owner's figures -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("right", "left"), [(9, 8), (8, 9), (5, 5), (10, 10), (10, 3), (2, 1)])
def test_a_fall_is_as_wide_as_the_worst_pairing(right: int, left: int) -> None:
    """Of ten people the reference is right about `right`, the defense about `left`: over all pairings, the most people
    of whom only one is right about."""
    n = 10
    both = range(max(0, right + left - n), min(right, left) + 1)
    apart = max(right + left - 2 * k for k in both)
    a, b = right / n, left / n
    assert apart == pytest.approx(n * (abs(a - b) + 2 * min(a, b, 1 - a, 1 - b)))
    found = fall([a], [b], n)
    assert found.mean == pytest.approx(a - b)
    wide = 1.96 * math.sqrt((apart / n - (a - b) ** 2) / n)
    assert found.high >= min(1.0, a - b + wide) - 1e-9
    assert found.high > found.mean, "ten people never show that nothing is lost"


def test_an_unpaired_fall_holds_in_95_of_100_draws() -> None:
    draw, met = np.random.default_rng(0), 0
    for _ in range(400):
        first = draw.random(200) < 0.9
        second = np.where(draw.random(200) < 0.9, first, ~first)  # one in ten is answered otherwise
        found = fall([float(first.mean())], [float(second.mean())], 200)
        met += found.low <= 0.9 - (0.9 * 0.9 + 0.1 * 0.1) <= found.high
    assert met >= 0.95 * 400


def test_a_share_has_its_binomial_interval_and_the_spread_of_seeds() -> None:
    one, seeds = shares([0.8], 400), shares([0.7, 0.8, 0.9], 400)
    assert one.high - one.mean == pytest.approx(1.966 * math.sqrt(0.8 * 0.2 / 399), rel=1e-3)
    assert seeds.mean == pytest.approx(0.8)
    assert seeds.high - seeds.low > 3 * (one.high - one.low)


# Choosing ------------------------------------------------------------------------------------------------------------


def around(mean: float, half: float) -> Estimate:
    return Estimate(mean, mean - half, mean + half, 100)


def option(number: int, accuracy: float, advantage: float | None, size: int, **more: object) -> Option:
    fields = {
        "drop": around(0.95 - accuracy, 0.01), "psnr": None, "certificates": {}, "reference": False,
        "judged_on": "owner",
    } | more  # fmt: skip
    return Option(
        folder="made up", at="cut", defense=f"d{number}", accuracy=around(accuracy, 0.01),
        advantage=None if advantage is None else around(advantage, 0.02), attribute="s", attack="a",
        payload_bytes=size, edge_macs=10, seeds=1, flags=(), **fields,  # type: ignore[arg-type]
    )  # fmt: skip


def many(seed: int, n: int = 40) -> list[Option]:
    draw = np.random.default_rng(seed)
    return [
        option(
            i, float(draw.integers(80, 96)) / 100, float(draw.integers(0, 30)) / 100, int(draw.integers(1, 9)),
            psnr=around(float(draw.integers(10, 20)), 0.5),
        )
        for i in range(n)
    ]  # fmt: skip


def plan(options: list[Option], limits: Limits) -> runs.Planned:
    return runs.plan([Finished("made up", None, None, tuple(options))], limits)  # type: ignore[arg-type]


def _mean(value: Estimate | None) -> float:
    assert value is not None
    return value.mean


@pytest.mark.parametrize("seed", range(6))
def test_the_choice_is_what_brute_force_finds(seed: int) -> None:
    options, limits = many(seed), Limits(drop=10, advantage=15, psnr=17, payload=6)
    feasible = [
        o for o in options
        if o.drop and o.advantage and o.psnr and 100 * o.drop.high <= 10 and 100 * o.advantage.high <= 15
        and o.psnr.high <= 17 and o.payload_bytes <= 6
    ]  # fmt: skip
    best = max(feasible, key=lambda o: (o.accuracy.mean, -o.advantage.mean if o.advantage else 0, -o.payload_bytes))
    made = plan(options, limits)
    assert made.chosen is best
    assert made.refused is None

    def beats(a: Option, b: Option) -> bool:
        first, second = ((-o.accuracy.mean, _mean(o.advantage), _mean(o.psnr), o.payload_bytes) for o in (a, b))
        pairs = list(zip(first, second, strict=True))
        return all(x <= y for x, y in pairs) and any(x < y for x, y in pairs)

    assert list(made.front) == [o for o in options if not any(beats(other, o) for other in options)]


def test_equals_are_decided_by_what_leaks_then_by_bytes() -> None:
    one, two, three = option(1, 0.9, 0.1, 4), option(2, 0.9, 0.05, 9), option(3, 0.9, 0.05, 8)
    assert plan([one, two, three], Limits(drop=50)).chosen is three


def test_the_end_of_the_interval_decides_and_not_the_mean() -> None:
    sure, unsure = option(1, 0.9, 0.08, 4), replace(option(2, 0.94, 0.08, 4), advantage=around(0.08, 0.05))
    assert plan([sure, unsure], Limits(advantage=10.5)).chosen is sure
    assert plan([sure, unsure], Limits(advantage=13.5)).chosen is unsure
    sure, unsure = (replace(o, psnr=around(15.0, half)) for o, half in ((sure, 0.5), (unsure, 2.0)))
    assert plan([sure, unsure], Limits(psnr=16)).chosen is sure
    assert plan([sure, unsure], Limits(psnr=17)).chosen is unsure


def test_what_is_not_known_or_not_trusted_keeps_no_limit() -> None:
    blind, known = option(1, 0.94, None, 4), option(2, 0.9, 0.1, 4)
    assert plan([blind, known], Limits(advantage=20)).chosen is known
    broken = replace(option(3, 0.94, 0.01, 4), untrusted=("advantage",))
    assert plan([broken, known], Limits(advantage=20)).chosen is known
    assert broken not in front([broken, replace(known, accuracy=broken.accuracy)], Limits(advantage=20))
    assert plan([broken], Limits(advantage=20)).chosen is None
    for limits, told_ in ((Limits(advantage=9), "attacked no hidden"), (Limits(psnr=9), "tried no reconstruction")):
        with pytest.raises(SpecError, match=told_):
            plan([blind], limits)
    with pytest.raises(SpecError, match="promise nothing in this unit"):
        plan([known], Limits(certificate=3.0, unit="nats"))


@pytest.mark.parametrize("seed", range(6))
@pytest.mark.parametrize(
    "limits", [Limits(advantage=0.5, drop=16), Limits(drop=0, psnr=11), Limits(payload=0, psnr=12)]
)
def test_what_cannot_be_says_what_would_do(seed: int, limits: Limits) -> None:
    options = many(seed)
    made = plan(options, limits)
    assert made.chosen is None
    assert isinstance(made.refused, Infeasible)
    nearest = made.refused.nearest
    assert set(nearest) <= set(made.refused.binding) <= set(limits.given)
    alone = [plan(options, replace(limits, **{name: value})).chosen for name, value in nearest.items()]
    assert all(alone) or plan(options, replace(limits, **nearest)).chosen, "what is named would do"
    if all(alone):  # and nothing less
        for name, value in nearest.items():
            assert plan(options, replace(limits, **{name: value - 1e-6})).chosen is None


def test_the_limit_that_binds_is_named_with_the_nearest_miss() -> None:
    options = [option(1, 0.94, 0.20, 4), option(2, 0.70, 0.01, 4)]
    why = infeasible(options, Limits(drop=5, advantage=10))
    assert why.binding == ("drop", "advantage")
    assert why.nearest == pytest.approx({"drop": 26.0, "advantage": 22.0})
    assert "d1 at cut has 22 points instead of 10 points" in str(why)


@pytest.mark.parametrize("limits", [{}, {"drop": -1.0}, {"advantage": math.nan}, {"ms": math.inf}])
def test_empty_and_impossible_limits_are_refused(limits: dict[str, float]) -> None:
    with pytest.raises(SpecError, match=r"needs a limit|is a number of"):
        Limits(**limits)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("text", "read"), [("3nats", (3.0, "nats")), (" .5 epsilon", (0.5, "epsilon")), ("60%", (60.0, "%"))]
)
def test_promises_are_read_with_their_unit(text: str, read: tuple[float, str]) -> None:
    assert certificate(text) == read


@pytest.mark.parametrize("text", ["3", "nats", "3 bits", "-1nats", ""])
def test_promises_without_a_unit_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="is a number with its unit"):
        certificate(text)


# Runs whose every number is made up ----------------------------------------------------------------------------------


def test_the_worst_attribute_speaks_for_a_run() -> None:
    """Two attributes, of which the attack on the second finds more; nothing is known of the owner's people."""
    corpus = replace(people(classes=2), hidden=("s", "t"), side=())

    def tell(defense: str, seed: int, arrays: dict[str, np.ndarray]) -> None:
        arrays["posterior/t/mlp_probe"] = np.eye(2)[corpus.victim.s["t"]]

    found = made_up(study(corpus, {"none": {"mlp_probe": 1.0}, "some": {"mlp_probe": 0.0}}, edit=tell))
    assert [o.attribute for o in found.options] == ["t", "t"]
    assert all(o.advantage and o.advantage.mean > 0.4 for o in found.options)
    assert {o.judged_on for o in found.options} == {"victims"}


def test_attacks_that_failed_their_calibration_keep_no_limit() -> None:
    corpus = people(classes=2)
    knowledge = {"none": {"mlp_probe": 1.0}, "some": {"mlp_probe": 0.0}}
    for decisive, untrusted in ((False, ()), (True, ("advantage",))):
        failed = Check("planted", "mlp_probe", "s", "accuracy", 0.5, "at least 0.9", False, 0, decisive)
        found = made_up(study(corpus, knowledge, checks=(failed,)))
        assert [o.untrusted for o in found.options] == [untrusted, untrusted]
        chosen = runs.plan([found], Limits(advantage=99)).chosen
        assert (chosen is None) == bool(untrusted)


def made_up(told: tuple[dict[str, object], dict[tuple[str, int], run.Run]]) -> Finished:
    return finished.judged(Runs(*told), rows.results(*told), "made up")


# Real runs -----------------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Digits at two cuts; nobody writes into the folders."""
    base = tmp_path_factory.mktemp("studies")
    for at, defenses in (("flatten", DEFENSES), ("fc1", ["none"])):
        api.audit("digits", at=at, defenses=defenses, out=base / at, **ASKED)  # type: ignore[arg-type]
    return base / "flatten", base / "fc1"


def ask(*folders: Path, out: Path, **limits: object) -> runs.Planned:
    return runs.find(folders, Limits(**limits), out)  # type: ignore[arg-type]


def test_options_say_what_the_runs_recorded(folders: tuple[Path, Path]) -> None:
    found = finished.read(folders[0])
    assert [o.defense for o in found.options] == DEFENSES
    for o in found.options:
        records = [one.record["results"] for one in found.runs.of(o.defense)]
        record = records[0]
        row = next(
            r for r in found.results.rows
            if (r.defense, r.attribute, r.metric, r.headline) == (o.defense, "digit", "accuracy", True)
        )  # fmt: skip
        assert o.judged_on == "owner"
        assert o.accuracy.mean == pytest.approx(np.mean([r["task_val_accuracy"] for r in records]))
        assert o.seeds == len(records) == 2
        assert (o.advantage, o.attack) == (row.advantage, row.attack)
        assert (o.payload_bytes, o.edge_macs) == (record["payload_bytes"], record["edge_macs"])
        assert o.psnr is not None
    raw, few, noisy = found.options
    assert raw.drop == Estimate(0, 0, 0, raw.accuracy.n)
    assert few.drop is not None
    assert few.drop.mean == pytest.approx(raw.accuracy.mean - few.accuracy.mean)
    assert few.certificates["%"] == pytest.approx(
        100 * next(r.certified or 0 for r in found.results.rows if r.defense == few.defense and r.metric == "accuracy")
    )
    nats = [one.record["results"]["fit"]["nats"] for one in found.runs.of(noisy.defense)]
    assert noisy.certificates == {"nats": max(nats)}
    assert min(nats) < max(nats)
    assert not raw.certificates


def test_a_plan_over_two_cuts_is_written_and_found_again(
    folders: tuple[Path, Path], tmp_path: Path, capsys: Capture
) -> None:
    words = [*(w for f in folders for w in ("--runs", f)), "--max-payload", "10kB", "--max-psnr", "99"]
    assert privet("plan", *words, "--json", "--out", tmp_path / "out") == 0
    said = capsys.readouterr()
    made = json.loads(said.out)
    assert made["feasible"]
    assert len(made["options"]) == 4
    assert {o["at"] for o in made["options"]} == {"flatten", "fc1"}
    assert made["chosen"]["accuracy"]["mean"] == max(o["accuracy"]["mean"] for o in made["options"])
    assert made["chosen"]["over"] == []
    assert made["front"]
    assert made["why"].startswith(f"Take {made['chosen']['defense']} at {made['chosen']['at']}")
    assert json.loads((tmp_path / "out" / "plan.json").read_text()) == made
    assert "report:" in said.err
    page = (tmp_path / "out" / "plan.html").read_text()
    assert "<svg" in page
    assert page.count("<tr") == 5
    again = shlex.split(page.split('<pre id="command">')[1].split("</pre>")[0].replace("&#39;", "'"))
    assert privet(*again[1:], "--json") == 0
    assert json.loads(capsys.readouterr().out) == made


def test_promises_of_the_method_can_be_asked_for(folders: tuple[Path, Path], tmp_path: Path) -> None:
    for unit, defense in (("nats", DEFENSES[2]), ("%", DEFENSES[1])):
        chosen = ask(*folders, out=tmp_path, certificate=1000.0, unit=unit).chosen
        assert chosen is not None
        assert chosen.defense == defense
    assert ask(*folders, out=tmp_path, certificate=0.0, unit="nats").chosen is None


def test_milliseconds_are_those_of_the_edge_here(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made = ask(*folders, out=tmp_path, ms=1000.0)
    raw = next(o for o in made.options if (o.at, o.defense) == ("flatten", "none"))
    few = next(o for o in made.options if o.defense == DEFENSES[1])
    assert raw.ms is not None
    assert few.ms is not None
    assert 0 < raw.ms < 100
    assert few.ms / raw.ms == pytest.approx((few.edge_macs or 0) / (raw.edge_macs or 1))
    assert any("time the bundle" in caution for caution in runs.cautions(made))
    assert ask(*folders, out=tmp_path, ms=1e-9).chosen is None


def test_milliseconds_go_with_the_work(folders: tuple[Path, Path], monkeypatch: pytest.MonkeyPatch) -> None:
    """On a device on which the undefended edge takes 3 ms."""
    monkeypatch.setattr(devices, "milliseconds", lambda head, shape: 3.0)
    raw, few, _ = finished.timed(finished.read(folders[0])).options
    assert raw.ms == 3.0
    assert few.ms == pytest.approx(3.0 * (few.edge_macs or 0) / (raw.edge_macs or 1))


def test_what_no_run_keeps_is_explained(folders: tuple[Path, Path], tmp_path: Path, capsys: Capture) -> None:
    words = ["plan", "--runs", folders[0], "--max-payload", "1", "--json", "--out", tmp_path / "out"]
    assert privet(*words) == 2
    said = capsys.readouterr()
    made = json.loads(said.out)
    assert made["feasible"] is False
    assert made["chosen"] is None
    assert made["binding"] == ["payload"]
    smallest = min(o["payload_bytes"] for o in made["options"])
    assert made["nearest"] == {"payload": smallest}
    assert f"has {smallest:,} bytes instead of 1 bytes" in said.err
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_study_is_named_by_its_folder_or_its_plan_and_counts_once(folders: tuple[Path, Path], tmp_path: Path) -> None:
    made = ask(folders[0], folders[0] / ".", folders[0], out=tmp_path, payload=10**6)
    assert len(made.studies) == 1
    by_plan = ask(folders[0] / "study.json", out=tmp_path, payload=10**6)
    assert by_plan.chosen == replace(made.chosen, folder=str(folders[0] / "study.json"))  # type: ignore[type-var]


def test_a_refused_plan_leaves_no_older_one(folders: tuple[Path, Path], tmp_path: Path) -> None:
    assert ask(folders[0], out=tmp_path, payload=10**6).chosen
    assert (tmp_path / "plan.json").exists()
    assert ask(folders[0], out=tmp_path, payload=1).refused
    assert not (tmp_path / "plan.json").exists()


def edited(folder: Path, to: Path, accuracy: float | None) -> Path:
    """A copy of a study whose trials recorded another accuracy on the owner's people, or none."""
    shutil.copytree(folder, to)
    for one in (to / "runs").iterdir():
        known = run.read(one)
        assert known is not None
        results = dict(known.record["results"]) | {"task_val_accuracy": accuracy}
        if accuracy is None:
            del results["task_val_accuracy"]
        run.write(one, known.record | {"results": results}, known.arrays)
    return to


def test_without_the_owners_figures_it_is_said_loudly(folders: tuple[Path, Path], tmp_path: Path) -> None:
    old = edited(folders[0], tmp_path / "old", None)
    found = finished.read(old)
    assert {o.judged_on for o in found.options} == {"victims"}
    for o in found.options:
        row = next(r for r in found.results.rows if r.defense == o.defense)
        assert o.accuracy == row.utility
    made = ask(old, out=tmp_path / "out", drop=100)
    assert runs.cautions(made)[0].startswith("CHOSEN ON THE VICTIMS")
    assert "the victims" in runs.lead(made)
    assert "CHOSEN ON THE VICTIMS" in runs_page.render(made, "privet plan")
    with pytest.raises(RunError, match="holds accuracies on the owner's people"):
        ask(old, folders[1], out=tmp_path / "out", drop=100)


def test_the_victims_have_no_say_where_the_owners_figures_are_known(folders: tuple[Path, Path], tmp_path: Path) -> None:
    """Were the owner's people all wrong, the victims' answers would not help."""
    wrong = edited(folders[0], tmp_path / "wrong", 0.0)
    assert {o.accuracy.mean for o in finished.read(wrong).options} == {0.0}


def test_studies_of_other_people_or_threats_are_not_compared(folders: tuple[Path, Path], tmp_path: Path) -> None:
    with pytest.raises(RunError, match="not audited with the same people"):
        ask(folders[0], digits_with_more(tmp_path), out=tmp_path / "out", payload=10)
    other = Path(shutil.copytree(folders[1], tmp_path / "other"))
    told_ = json.loads((other / "study.json").read_text())
    told_["threat"]["name"] = "eavesdropper"
    (other / "study.json").write_text(json.dumps(told_))
    with pytest.raises(RunError, match="not audited with the same threat"):
        ask(folders[0], other, out=tmp_path / "out", payload=10)


def digits_with_more(tmp_path: Path) -> Path:
    """The same digits in other parts."""
    asked = ASKED | {"limit": 140, "attacks": ["linear_probe"]}
    api.audit("digits", defenses=["none"], out=tmp_path / "more", **asked)  # type: ignore[arg-type]
    return tmp_path / "more"


def test_folders_that_are_no_studies_are_refused(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    for name in ("empty", "nowhere"):
        assert privet("plan", "--runs", tmp_path / name, "--max-drop", 1, "--out", tmp_path / "out") == 2
        assert "is not the folder of a study" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("words", "message"),
    [
        ((), "a plan over runs needs a limit"),
        (("--max-drop", "1", "--pool", "weights"), "--pool is of plans from tables"),
        (("--max-drop", "1", "--data", "digits", "--effort", "quick"), "--data, --effort is of plans from tables"),
        (("--max-drop", "1", "--strategy", "pareto"), "--strategy is of plans from tables"),
        (("--max-bytes", "1MB"), "--max-bytes is of plans from tables"),
        (("--max-certificate", "3"), "--max-certificate is a number with its unit"),
        (("--max-payload", "much"), "--max-payload is a size such as"),
        (("--max-advantage", "-1"), "--max-advantage is a number of points from 0 on"),
    ],
)
def test_flags_of_the_other_way_to_plan_are_refused(
    words: tuple[str, ...], message: str, tmp_path: Path, capsys: Capture
) -> None:
    assert privet("plan", "--runs", tmp_path, *words, "--out", tmp_path / "out") == 2
    said = capsys.readouterr().err
    assert said.count("privet: ") == 1
    assert message in said
    assert not (tmp_path / "out").exists()


def test_flags_of_runs_need_runs(capsys: Capture) -> None:
    assert privet("plan", "--max-psnr", "20", "--max-payload", "1kB") == 2
    assert "--max-payload is of plans over finished runs; give their folders with --runs" in capsys.readouterr().err


def test_what_a_bundle_sends_is_judged_on_the_victims(tmp_path: Path) -> None:
    """Nothing is known of its owner's people, of an undefended one, or of what its edge computes."""
    small = ["--limit", 150, "--effort", "tiny"]
    assert privet("fit", *small, "--defense", "gaussian:sigma=2", "--out", tmp_path / "bundle") == 0
    audit = ["audit", tmp_path / "bundle", *small, "--seeds", 1, "--attack", "linear_probe"]
    assert privet(*audit, "--out", tmp_path / "study") == 0
    made = ask(tmp_path / "study", out=tmp_path / "out", payload=10**6)
    assert made.chosen is not None
    assert (made.chosen.judged_on, made.chosen.drop, made.chosen.ms) == ("victims", None, None)
    assert runs.cautions(made)[0].startswith("CHOSEN ON THE VICTIMS")
    for name in ("drop", "ms"):
        with pytest.raises(SpecError, match=f"--max-{name} cannot be judged"):
            ask(tmp_path / "study", out=tmp_path / "out", **{name: 5})


def test_the_command_on_the_page_can_be_given_again() -> None:
    words = shlex.split(command([Path("a b")], Limits(drop=8, payload=1_234_567, psnr=1 / 3), Path("out"), False))
    assert words[words.index("--max-payload") + 1] == "1234567", "a size takes no exponent"
    assert float(words[words.index("--max-psnr") + 1]) == pytest.approx(1 / 3, rel=1e-14)
    assert words[words.index("--runs") + 1] == "a b"
