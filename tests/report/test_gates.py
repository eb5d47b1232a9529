"""Gates: the grammar, what is judged, and what can never pass."""

from __future__ import annotations

from typing import Any

import pytest

from privet.auditing.checks import BATTERY, Check
from privet.errors import SpecError
from privet.report import gates, rows
from privet.report.results import Results
from studies import people, study

KNOWLEDGE = {"none": {"mlp_probe": 3.0}, "gaussian:sigma=1": {"mlp_probe": 1.0}}


def made(knowledge: dict[str, dict[str, float]] = KNOWLEDGE, **more: Any) -> Results:
    return rows.results(*study(people(victim=300), knowledge, **more))


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("advantage>0.05@upper", (None, "advantage", ">", 0.05, "high")),
        ("race.auc>=.7", ("race", "auc", ">=", 0.7, "mean")),
        (" utility < 0.8 @ lower ", (None, "utility", "<", 0.8, "low")),
        ("age_group.tpr_at_1_fpr<=1e-2@mean", ("age_group", "tpr_at_1_fpr", "<=", 0.01, "mean")),
        ("input.psnr>20", ("input", "psnr", ">", 20.0, "mean")),
        ("normalized>-1", (None, "normalized", ">", -1.0, "mean")),
    ],
)
def test_grammar(text: str, parts: tuple[Any, ...]) -> None:
    gate = gates.parse(text)
    assert (gate.attribute, gate.quantity, gate.op, gate.number, gate.end) == parts
    assert gate.text == text


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("advantage", "is not a condition; write for example"),
        ("advantage=0.1", "is not a condition"),
        ("advantage>x", "is not a condition"),
        ("advantage>1e", "is not a number"),
        ("advantage>nan", "give a finite number"),
        ("advantage>-inf", "give a finite number"),
        ("advantage>1e999", "give a finite number"),
        ("race.auc.utility>0.1", "asks for utility of a metric"),
        ("race.acu.advantage>0.1", "did you mean 'auc'"),
        ("advantge>0.1", "did you mean 'advantage'"),
        ("advantage>0.1@uper", "did you mean 'upper'"),
        ("", "is not a condition"),
    ],
)
def test_what_is_not_a_condition(text: str, message: str) -> None:
    with pytest.raises(SpecError, match=message):
        gates.parse(text)


@pytest.mark.parametrize(
    ("text", "parts"),
    [
        ("auc.advantage>0.1", (None, "auc")),
        ("race.auc.advantage>0.1", ("race", "auc")),
        ("input.psnr.advantage>1", ("input", "psnr")),
        ("race.advantage>0.1", ("race", None)),
        ("race.auc>0.1", ("race", None)),
    ],
)
def test_the_metric_of_an_advantage(text: str, parts: tuple[Any, ...]) -> None:
    gate = gates.parse(text)
    assert (gate.attribute, gate.metric) == parts


def failures(text: str, results: Results) -> list[str]:
    return gates.check(gates.parse(text), results)


def test_defended_headlines_are_judged() -> None:
    results = made({d: k | {"weak": 0.1} for d, k in KNOWLEDGE.items()})
    row = next(r for r in results.rows if r.headline and r.metric == "accuracy" and r.defense != "none")
    assert row.advantage is not None
    told = failures(f"advantage>{row.advantage.mean - 0.001}", results)
    assert len(told) == 1
    assert "s with gaussian:sigma=1 has advantage" in told[0]
    assert row.attack in told[0]
    assert failures(f"advantage>{row.advantage.mean + 0.001}", results) == []
    assert len(failures(f"advantage>{row.advantage.mean + 0.001}@upper", results)) == 1
    assert failures(f"advantage>{row.advantage.mean - 0.001}@lower", results) == []
    assert len(failures(f"utility<{row.utility.mean + 0.001}", results)) == 1
    assert failures(f"utility<{row.utility.mean + 0.001}@upper", results) == []
    assert len(failures(f"s.accuracy>={row.value.mean}", results)) == 1
    assert failures(f"s.accuracy>{row.value.mean}", results) == []


def test_the_reference_counts_only_where_nothing_else_was_audited() -> None:
    assert failures("advantage>0.5", made()) == []
    assert len(failures("advantage>0.4", made({"none": {"mlp_probe": 3.0}}))) == 1


def test_an_unknown_attribute_and_what_was_not_measured() -> None:
    results = made(pictures={"none": 8.0, "gaussian:sigma=1": 2.0})
    with pytest.raises(SpecError, match="no attribute named 'sss'; did you mean 's'"):
        failures("sss.auc>0.5", results)
    with pytest.raises(SpecError, match="did not measure"):
        failures("s.psnr>20", results)
    with pytest.raises(SpecError, match="no input is rebuilt"):
        failures("psnr>20", made())
    assert len(failures("input.psnr>13", results)) == 1
    assert len(failures("input.advantage>1", results)) == 1
    assert failures("input.advantage>3", results) == []


@pytest.mark.parametrize("quantity", ["utility", "normalized", "certified"])
def test_what_is_lacking_is_refused_with_the_reason(quantity: str) -> None:
    gate = gates.parse(f"{quantity}>0.5")
    gates.known(gate, ["s"])
    with pytest.raises(SpecError, match=f"asks for {quantity}: nobody wrote it down; ask another"):
        gates.known(gate, ["s"], {quantity: "nobody wrote it down; ask another"})
    with pytest.raises(SpecError, match="only accuracy and balanced_accuracy are certified"):
        gates.known(gates.parse("auc.certified>0.9"), ["s"])


def test_a_failed_calibration_fails_every_gate() -> None:
    blind = Check("planted_bit", BATTERY, "s", "accuracy", 0.5, "at least 0.980", False, 0)
    told = failures("advantage>0.99", made(checks=(blind,)))
    assert len(told) == 1
    assert "cannot be judged, its calibration failed" in told[0]


def test_an_unfinished_study_fails_every_gate() -> None:
    plan, runs = study(people(victim=300), KNOWLEDGE)
    del runs["gaussian:sigma=1", 1]
    told = failures("advantage>0.99", rows.results(plan, runs))
    assert len(told) == 1
    assert "not finished (1 trials are missing)" in told[0]
    del runs["gaussian:sigma=1", 0]
    assert failures("advantage>0.99", rows.results(plan, runs))


def test_nothing_to_hide_leaves_normalized_unjudged() -> None:
    nothing = {"none": {"mlp_probe": 0.0}, "gaussian:sigma=1": {"mlp_probe": 0.0}}
    assert "cannot be judged: nothing to hide; use advantage" in failures("normalized>100", made(nothing))[0]
    assert failures("normalized>-100", made())


def test_normalized_has_an_interval() -> None:
    results = made()
    row = next(r for r in results.rows if r.headline and r.metric == "accuracy" and r.defense != "none")
    assert row.advantage is not None
    assert row.normalized is not None
    assert failures(f"normalized>{row.normalized + 0.001}", results) == []
    assert len(failures(f"normalized>{row.normalized + 0.001}@upper", results)) == 1
    assert failures(f"normalized>{row.normalized - 0.001}@lower", results) == []


def test_the_advantage_of_another_metric() -> None:
    results = made()
    row = next(r for r in results.rows if r.headline and r.metric == "auc" and r.defense != "none")
    assert row.advantage is not None
    for prefix in ("", "s."):
        assert len(failures(f"{prefix}auc.advantage>{row.advantage.mean - 0.001}", results)) == 1
        assert failures(f"{prefix}auc.advantage>{row.advantage.mean + 0.001}", results) == []
