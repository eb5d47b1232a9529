"""Gates: `--fail-if "advantage>0.05@upper"` turns an audit into a test with an exit code."""

from __future__ import annotations

import math
import re
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from privet.errors import SpecError, unknown
from privet.metrics import METRICS
from privet.report.results import Results, Row
from privet.report.view import INPUT, over

_GRAMMAR = re.compile(
    r"^\s*(?:(?P<first>[^.<>=@\s]+)\.)?(?:(?P<second>[^.<>=@\s]+)\.)?(?P<quantity>[a-z_0-9]+)\s*(?P<op>>=|<=|>|<)\s*"
    r"(?P<number>[-+0-9.eE]+|[-+]?(?:inf|infinity|nan))\s*(?:@\s*(?P<end>\w+))?\s*$",
    re.IGNORECASE,
)
_OF_INPUT = ("psnr", "ssim")
_METRICS = (*METRICS, *_OF_INPUT)
_QUANTITIES = ("advantage", "normalized", "certified", "utility", *_METRICS)
_OF_A_METRIC = ("advantage", "normalized", "certified")
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
    metric: str | None = None  # of advantage and normalized; None: accuracy, for `input` PSNR


def parse(text: str) -> Gate:
    """`[ATTRIBUTE.][METRIC.]QUANTITY (>|>=|<|<=) NUMBER[@upper|@lower|@mean]`; SpecError says what does not fit."""
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
    attribute, metric = _prefix(text, found["first"], found["second"], quantity)
    try:
        number = float(found["number"])
    except ValueError:
        raise SpecError(f"--fail-if {text!r} compares with {found['number']!r}, which is not a number") from None
    if not math.isfinite(number):
        raise SpecError(f"--fail-if {text!r} compares with {found['number']!r}; give a finite number")
    return Gate(text, attribute, quantity, found["op"], number, _ENDS[end], metric)


def _prefix(text: str, first: str | None, second: str | None, quantity: str) -> tuple[str | None, str | None]:
    """Attribute and metric; a single name before advantage or normalized is a metric where there is one so called."""
    if second is None and (first not in _METRICS or quantity not in _OF_A_METRIC):
        return first, None
    attribute, metric = (first, second) if second is not None else (None, first)
    if quantity not in _OF_A_METRIC:
        raise SpecError(
            f"--fail-if {text!r} asks for {quantity} of a metric; only {' and '.join(_OF_A_METRIC)} have one"
        )
    if metric not in _METRICS:
        raise SpecError(unknown("metric", str(metric), _METRICS))
    return attribute, metric


def known(gate: Gate, attributes: Collection[str], lacking: Mapping[str, str] = {}) -> None:
    """SpecError where a gate names an attribute, or asks for how well inputs are rebuilt, and it is not audited; and
    where it asks for a quantity that is `lacking`, with the reason given there."""
    if gate.quantity in lacking:
        raise SpecError(f"--fail-if {gate.text!r} asks for {gate.quantity}: {lacking[gate.quantity]}")
    if gate.attribute is not None and gate.attribute not in attributes:
        raise SpecError(unknown("attribute", gate.attribute, attributes))
    if (metric := _metric(gate)) in _OF_INPUT and INPUT not in attributes:
        raise SpecError(f"--fail-if {gate.text!r} asks for {metric}, and no input is rebuilt; ask for an attribute")
    if gate.quantity == "certified" and metric not in ("accuracy", "balanced_accuracy"):
        raise SpecError(f"--fail-if {gate.text!r}: only accuracy and balanced_accuracy are certified; name one of them")


def check(gate: Gate, results: Results) -> list[str]:
    """Sentences for every headline that makes the audit fail. Without a metric of its own a gate looks at accuracy, for
    `input` at PSNR. SpecError where nothing was measured that it could judge: what was not looked at cannot pass.

    Only defended findings count, unless nothing but the reference was audited. A number that failed its calibration,
    and a study that is not finished, fail every gate: what cannot be trusted cannot pass.
    """
    known(gate, {r.attribute for r in results.rows})
    metric = _metric(gate)
    judged = [r for r in results.rows if r.headline and r.metric == metric and gate.attribute in (None, r.attribute)]
    if not judged:
        raise SpecError(f"--fail-if {gate.text!r} asks for {metric}, which this audit did not measure there")
    defended = [r for r in judged if r.defense != results.defenses[0]] or judged
    failures = (
        [f"{gate.text}: the study is not finished ({missing} trials are missing)"]
        if (missing := len(results.unfinished) + len(results.refused))
        else []
    )
    for row in defended:
        if "calibration_failed" in row.flags and gate.quantity != "certified":  # a bound rests on no attack
            failures.append(f"{gate.text}: {row.attribute} with {row.defense} cannot be judged, its calibration failed")
            continue
        if gate.quantity == "normalized" and row.normalized is None:
            failures.append(
                f"{gate.text}: {row.attribute} with {row.defense} cannot be judged: "
                f"{'nothing to hide' if row.undefended else 'a recording alone has no scale'}; use advantage"
            )
            continue
        value = _value(gate, row)
        if _holds(value, gate.op, gate.number):
            by = row.attack
            if gate.quantity == "certified":
                by = (
                    "a bound on every attacker"
                    if row.certified is not None
                    else "its payload has too many bits for a bound"
                )
            failures.append(f"{gate.text}: {row.attribute} with {row.defense} has {gate.quantity} {value:.4g} ({by})")
    return failures


def _metric(gate: Gate) -> str:
    if gate.quantity in _METRICS:
        return gate.quantity
    return gate.metric or ("psnr" if gate.attribute == INPUT else "accuracy")


def _value(gate: Gate, row: Row) -> float:
    if gate.quantity == "utility":
        if row.utility is None:
            raise SpecError(f"--fail-if {gate.text!r} asks for the target's accuracy, which was not recorded")
        return float(getattr(row.utility, gate.end))
    if gate.quantity == "certified":
        return 1.0 if row.certified is None else row.certified  # every attacker stays below one
    if gate.quantity in _METRICS:
        return float(getattr(row.value, gate.end))
    advantage = float(getattr(over(row), gate.end))
    if gate.quantity == "advantage" or row.undefended is None:
        return advantage
    return advantage / (row.undefended.mean - row.floor.mean)


def _holds(value: float, op: str, number: float) -> bool:
    return {">": value > number, ">=": value >= number, "<": value < number, "<=": value <= number}[op]
