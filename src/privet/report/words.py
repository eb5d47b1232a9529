"""Words: numbers and names as people read them.

Sentences carry two marks that the page turns into type and the terminal drops: `code` and **strong**."""

from __future__ import annotations

import html
import math
import re

from privet.auditing.checks import BATTERY
from privet.auditing.estimate import Estimate
from privet.report.results import Check, Row

NBSP, DASH, MINUS = "\u00a0", "\u2013", "\u2212"
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "bits": "information",
    "coverage_at_95_precision": f"coverage at 95{NBSP}% precision",
    "tpr_at_1_fpr": f"TPR at 1{NBSP}% FPR",
    "tpr_at_tenth_fpr": f"TPR at 0.1{NBSP}% FPR",
    "psnr": "PSNR",
    "ssim": "SSIM",
}
RATES = {"accuracy", "balanced_accuracy", "coverage_at_95_precision", "tpr_at_1_fpr", "tpr_at_tenth_fpr"}
UNITS = {"psnr": f"{NBSP}dB", "bits": f"{NBSP}bits"} | dict.fromkeys(RATES, f"{NBSP}%")
SELECTED = "the attack that is selected on aux_val"
DIGITS = {"psnr": 1, "years": 1} | dict.fromkeys(RATES, 1)


def metric_name(metric: str) -> str:
    """The name of a metric in prose; unknown ones keep theirs, with spaces."""
    return NAMES.get(metric, metric.replace("_", " "))


OWN = {"cotrained": "trained beside the defense, never selected", "mask": "which values came, nothing else"}


def adversary(attack: str) -> str:
    """The name of an attack in prose; of one that only some defenses have, what it is in parentheses."""
    kind, found, name = attack.partition(":")
    return f"{name} ({OWN[kind]})".replace("_", " ") if found else attack.replace("_", " ")


def figure(metric: str, value: float, digits: int | None = None) -> str:
    """The number without its unit: percent for rates, a dash where it is undefined."""
    if not math.isfinite(value):
        return DASH
    scaled = value * 100 if metric in RATES else value
    text = f"{scaled:.{DIGITS.get(metric, 3) if digits is None else digits}f}"
    return text.lstrip("-") if not float(text) else text.replace("-", MINUS)


def number(metric: str, value: float, digits: int | None = None) -> str:
    """The number with its unit: 61.2 %, 17.4 dB, 0.213 bits, 0.713."""
    text = figure(metric, value, digits)
    return text if text == DASH else text + UNITS.get(metric, "")


def interval(metric: str, estimate: Estimate, digits: int | None = None) -> str:
    """The 95 % interval without unit; `to` instead of a dash where an end is negative."""
    low, high = figure(metric, estimate.low, digits), figure(metric, estimate.high, digits)
    return f"{low} to {high}" if MINUS in low + high else f"{low}{DASH}{high}"


def gap(metric: str, difference: float, digits: int | None = None) -> str:
    """A signed difference: +18.0 points, +1.2 dB."""
    text = figure(metric, difference, digits)
    if text == DASH:
        return DASH
    unit = f"{NBSP}points" if metric in RATES else UNITS.get(metric, "")
    return ("" if text.startswith(MINUS) else "+") + text + unit


def marked(sentence: str) -> str:
    """HTML of a sentence: escaped first, then its marks become <code> and <strong>."""
    text = html.escape(sentence)
    text = re.sub(r"`([^`]+)`", r"<code>\1</code>", text)
    text = re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)
    ends = rf"[\d{MINUS}.]+"
    return re.sub(rf"\({ends}(?:{DASH}| to ){ends}\)", r'<span class="nb">\g<0></span>', text)


def unmarked(sentence: str) -> str:
    """The sentence for a terminal."""
    return re.sub(r"\*\*([^*]+)\*\*", r"\1", sentence).replace("`", "")


def attacker(check: Check) -> str:
    """Whom a calibration speaks of, in a sentence."""
    return SELECTED if check.attack == BATTERY else f"the attack `{check.attack}`"


def wanted(check: Check) -> str:
    """`at least 0.900` in the unit of the value beside it."""
    said, _, last = check.wanted.rpartition(" ")
    try:
        return f"{said} {number(check.metric, float(last))}"
    except ValueError:
        return check.wanted


def digits_of(row: Row) -> int:
    """Whole percents where the interval is wider than two points, else the metric's own digits."""
    return 0 if row.metric in RATES and row.value.high - row.value.low >= 0.02 else DIGITS.get(row.metric, 3)


def shorten(label: str, most: int = 26) -> str:
    """A label that fits beside a point; the middle gives way."""
    return label if len(label) <= most else f"{label[: most - 11]} \u2026 {label[-8:]}"
