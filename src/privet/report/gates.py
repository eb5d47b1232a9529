"""Gates: `--fail-if "advantage>0.05@upper"` turns an audit into a test with an exit code."""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass

from privet.auditing.estimate import Estimate
from privet.errors import SpecError, unknown
from privet.report.results import Results, Row
from privet.report.rows import INPUT

_GRAMMAR = re.compile(
    r"^\s*(?:(?P<attribute>[^.<>=@\s]+)\.)?(?P<quantity>[a-z_0-9]+)\s*(?P<op>>=|<=|>|<)\s*(?P<number>[-+0-9.eE]+)\s*(?:@\s*(?P<end>\w+))?\s*$"
)
_METRICS = ("accuracy", "balanced_accuracy", "auc", "bits", "coverage_at_95_precision", "tpr_at_1_fpr", "psnr", "ssim")
_QUANTITIES = ("advantage", "normalized", "utility", *_METRICS)
_ENDS = {"upper": "high", "lower": "low", "mean": "mean"}


@dataclass(frozen=True)
class Gate:
    """A condition under which the audit fails: a quantity of a headline finding, at one end of its interval, against a
    number."""

    text: str
    attribute: str | None
    quantity: str
    op: str
    number: float
    end: str


def parse(text: str) -> Gate:
    """`[ATTRIBUTE.]QUANTITY (>|>=|<|<=) NUMBER[@upper|@lower|@mean]`; SpecError says what does not fit."""
    found = _GRAMMAR.match(text)
    if not found:
        raise SpecError(
            f"--fail-if {text!r} is not a condition; write for example advantage>0.05@upper or race.auc>0.7"
        )
    quantity, end = found["quantity"], found["end"] or "mean"
    if quantity not in _QUANTITIES:
        raise SpecError(unknown("quantity", quantity, _QUANTITIES))
    if end not in _ENDS:
        raise SpecError(unknown("end of the interval", end, _ENDS))
    try:
        number = float(found["number"])
    except ValueError:
        raise SpecError(f"--fail-if {text!r} compares with {found['number']!r}, which is not a number") from None
    return Gate(text, found["attribute"], quantity, found["op"], number, _ENDS[end])


def known(gate: Gate, attributes: Collection[str]) -> None:
    """SpecError where a gate names an attribute that is not audited."""
    if gate.attribute is not None and gate.attribute not in attributes:
        raise SpecError(unknown("attribute", gate.attribute, attributes))


def check(gate: Gate, results: Results) -> list[str]:
    """Sentences for every headline that makes the audit fail. Without a metric of its own a gate looks at accuracy, for
    `input` at PSNR. SpecError where nothing was measured that it could judge: what was not looked at cannot pass.

    Only defended findings count, unless nothing but the reference was audited. A number that failed its calibration,
    and a study that is not finished, fail every gate: what cannot be trusted cannot pass.
    """
    known(gate, {r.attribute for r in results.rows})
    metric = gate.quantity if gate.quantity in _METRICS else "psnr" if gate.attribute == INPUT else "accuracy"
    judged = [r for r in results.rows if r.headline and r.metric == metric and gate.attribute in (None, r.attribute)]
    if not judged:
        raise SpecError(f"--fail-if {gate.text!r} asks for {metric}, which this audit did not measure there")
    defended = [r for r in judged if r.defense != results.defenses[0]] or judged
    failures = (
        [f"{gate.text}: the study is not finished ({len(results.unfinished)} trials are missing)"]
        if results.unfinished
        else []
    )
    for row in defended:
        if "calibration_failed" in row.flags:
            failures.append(f"{gate.text}: {row.attribute} with {row.defense} cannot be judged, its calibration failed")
            continue
        value = _value(gate, row)
        if value is not None and _holds(value, gate.op, gate.number):
            failures.append(
                f"{gate.text}: {row.attribute} with {row.defense} has {gate.quantity} {value:.4g} ({row.attack})"
            )
    return failures


def _value(gate: Gate, row: Row) -> float | None:
    if gate.quantity == "normalized":
        return row.normalized
    whole: Estimate | None = {"advantage": row.advantage, "utility": row.utility}.get(gate.quantity, row.value)
    return None if whole is None else float(getattr(whole, gate.end))


def _holds(value: float, op: str, number: float) -> bool:
    return {">": value > number, ">=": value >= number, "<": value < number, "<=": value <= number}[op]
