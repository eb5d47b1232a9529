"""Words: numbers as people read them, and the sentences at the top of the page, generated from the rows alone.

Sentences carry two marks that the page turns into type and the terminal drops: `code` and **strong**."""

from __future__ import annotations

import html
import math
import re
from dataclasses import dataclass

from privet.audit.estimate import Estimate
from privet.report.results import Check, Row
from privet.report.view import INPUT, Variant, View, leaks, nothing_to_hide

NBSP, DASH, MINUS = "\u00a0", "\u2013", "\u2212"
NAMES = {
    "accuracy": "accuracy",
    "balanced_accuracy": "balanced accuracy",
    "auc": "AUC",
    "bits": "information",
    "coverage_at_95_precision": f"coverage at 95{NBSP}% precision",
    "tpr_at_1_fpr": f"TPR at 1{NBSP}% FPR",
    "psnr": "PSNR",
    "ssim": "SSIM",
}
RATES = {"accuracy", "balanced_accuracy", "coverage_at_95_precision", "tpr_at_1_fpr"}
UNITS = {"psnr": f"{NBSP}dB", "bits": f"{NBSP}bits"} | dict.fromkeys(RATES, f"{NBSP}%")
DIGITS = {"psnr": 1} | dict.fromkeys(RATES, 1)
FAILED_RECONSTRUCTION = 0.5  # dB above the mean image below which a reconstruction counts as failed
MATCHED = 0.02  # of target accuracy: defenses within two points of the reference are compared first


@dataclass(frozen=True)
class Verdict:
    """What the page says first about one attribute: its name, one word of tone, a short verdict, and sentences."""

    attribute: str
    tone: str  # "leak" | "floor" | "empty" | "broken" | "target"
    short: str
    sentences: tuple[str, ...]
    doubts: tuple[str, ...] = ()  # why the sentences are struck through; empty where they are not


def metric_name(metric: str) -> str:
    """The name of a metric in prose; unknown ones keep theirs, with spaces."""
    return NAMES.get(metric, metric.replace("_", " "))


def plain(attribute: str) -> str:
    """An attribute's name in prose; the input is what pictures are rebuilt from."""
    return "pictures" if attribute == INPUT else attribute.replace("_", " ")


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
    return re.sub(r"\*\*([^*]+)\*\*", r"<strong>\1</strong>", text)


def unmarked(sentence: str) -> str:
    """The sentence for a terminal."""
    return re.sub(r"\*\*([^*]+)\*\*", r"\1", sentence).replace("`", "")


def headline(view: View) -> tuple[Verdict, ...]:
    """One verdict per hidden attribute, then reconstruction, then the target."""
    shown = _that_matter(view)
    return (*(_verdict(view, a, shown) for a in view.attributes), _target_verdict(view, shown))


def left_over(view: View) -> int:
    """How many defenses the headline does not mention."""
    return len(view.variants) - len({*_that_matter(view), *view.variants[:1]})


def lead(view: View) -> str:
    """The whole page in a breath: what leaks, what does not, what must not be believed."""
    parts: dict[str, list[str]] = {}
    for verdict in headline(view):
        if verdict.tone != "target":
            parts.setdefault(f"{verdict.tone}|{verdict.short}", []).append(plain(verdict.attribute))
    said = [f"**{_join(names)}**: {key.partition('|')[2]}" for key, names in parts.items()]
    text = "; ".join(said)
    if not text:
        return "No attack ended, so this page says nothing about leakage."
    return text[:2] + text[2:3].upper() + text[3:] + "."


def _that_matter(view: View) -> tuple[Variant, ...]:
    """All defenses where they are few; else the least leaking at matched target accuracy, and of all."""
    reference, *others = view.variants or (None,)
    if not others:
        return (reference,) if reference else ()
    if len(others) <= 3:
        return tuple(others)
    ranked = sorted(others, key=lambda v: view.mean_leakage(v))
    matched = [v for v in ranked if view.utility_lost(v) <= MATCHED]
    return tuple(dict.fromkeys([*matched[:1], ranked[0]]))


def _verdict(view: View, attribute: str, shown: tuple[Variant, ...]) -> Verdict:
    rows = {v: view.headline(v, attribute) for v in view.variants}
    found = {v: r for v, r in rows.items() if r is not None}
    if not found:
        nothing = f"No attack on {plain(attribute)} ended: nothing is known."
        return Verdict(attribute, "broken", "no attack ended", (nothing,))
    said = tuple(_leak_sentence(view, v, found[v]) for v in shown if v in found)
    failed = view.failed.get(attribute, ())
    if failed:
        return Verdict(attribute, "broken", "do not trust these numbers", said, (_distrust(attribute, failed),))
    if all(nothing_to_hide(r) for r in found.values()):
        row = next(iter(found.values()))
        return Verdict(attribute, "empty", "nothing to hide at this cut", (_empty_sentence(row),))
    others = [v for v in found if v != view.variants[0]] or list(found)
    leaking = sum(leaks(found[v]) for v in others)
    short = _count(leaking, len(others), bool(len(found) > 1))
    return Verdict(attribute, "leak" if leaking else "floor", short, said)


def _count(leaking: int, total: int, defended: bool) -> str:
    if not defended:
        return "leaks without a defense" if leaking else "at the floor"
    if not leaking:
        return "at the floor under every defense tried" if total > 1 else "at the floor"
    if leaking == total:
        return "leaks under every defense" if total > 1 else "leaks"
    return f"leaks under {leaking} of {total} defenses"


def _who(variant: Variant) -> str:
    return "Without a defense" if variant.defense == "none" else f"With `{variant.label}`"


def _leak_sentence(view: View, variant: Variant, row: Row) -> str:
    metric, digits = row.metric, _digits(row)
    value, floor, undefended = (figure(metric, e.mean, digits) for e in (row.value, row.floor, row.undefended))
    unit, span, who = UNITS.get(metric, ""), interval(metric, row.value, digits), _who(variant)
    still = "" if variant.defense == "none" else "still "
    if row.goal == "reconstruct":
        base = f"the {floor}{unit} of a picture made without the payload"
        verb = f"are {still if leaks(row) else ''}rebuilt at"
        subject = f"{who} pictures {verb} **{value}{unit}** {metric_name(metric)} ({span})"
    elif metric == "accuracy":
        base = f"the {floor}{unit} it reaches without the payload"
        name = plain(row.attribute)
        verb = f"{still}recognizes {name} in" if leaks(row) else f"is right about {name} for"
        subject = f"{who} the server {verb} **{value}{unit}** of victims ({span})"
    else:
        base = f"the {floor}{unit} it reaches without the payload"
        verb = f"guesses {plain(row.attribute)} with {metric_name(metric)}"
        subject = f"{who} the server {verb} **{value}{unit}** ({span})"
    end = f"; undefended {undefended}{unit}." if variant.defense != "none" else "."
    if not leaks(row):
        return f"{subject}, **not distinguishable** from {base}{end}{_rider(view, variant, row)}"
    scale = 100 if metric in RATES else 1
    shown = round(round(row.value.mean * scale, digits) - round(row.floor.mean * scale, digits), digits or None) / scale
    failed = row.goal == "reconstruct" and metric == "psnr" and row.value.mean - row.floor.mean < FAILED_RECONSTRUCTION
    rule = f" Less than {FAILED_RECONSTRUCTION}{NBSP}dB above that picture counts as a failed reconstruction."
    weak = rule if failed else ""
    return f"{subject}, **{gap(metric, shown, digits).lstrip('+')} above** {base}{end}{weak}"


def _rider(view: View, variant: Variant, row: Row) -> str:
    """Accuracy is often blind: another metric may stand above its floor where accuracy does not."""
    for other in view.headlines(variant, row.attribute):
        if other.metric != row.metric and leaks(other):
            told = f"{number(other.metric, other.value.mean)} ({interval(other.metric, other.value)})"
            base = f"over a floor of {number(other.metric, other.floor.mean)}"
            blind = f"something leaks that {metric_name(row.metric)} does not see"
            return f" **But {metric_name(other.metric)} is {told}** {base}: {blind}."
    return ""


def _empty_sentence(row: Row) -> str:
    digits, metric = _digits(row), row.metric
    said = f"{number(metric, row.undefended.mean, digits)} ({interval(metric, row.undefended, digits)})"
    return (
        f"Even the undefended representation gives {said} for {plain(row.attribute)}, which touches the floor of "
        f"{number(metric, row.floor.mean, digits)}: no defense is needed at this cut, and none can be credited."
    )


def _distrust(attribute: str, failed: tuple[Check, ...]) -> str:
    worst = failed[0]
    count = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    told = f"{number(worst.metric, worst.value)}, wanted {worst.wanted}"
    return (
        f"**Do not trust the numbers on {plain(attribute)}**: the attack `{worst.attack}` failed its calibration "
        f"`{worst.check}` ({told}){count}. They are struck through on this page."
    )


def _target_verdict(view: View, shown: tuple[Variant, ...]) -> Verdict:
    variants = view.variants
    base = view.utility(variants[0]) if variants else None
    pairs = [(v, view.utility(v)) for v in shown]
    said = [_utility_sentence(view, v, u, base) for v, u in pairs if u is not None]
    collapsed = any(view.collapsed(v) for v in shown)
    short = "collapses under a defense" if collapsed else "what the service is for"
    return Verdict(view.target, "target", short, tuple(said))


def _utility_sentence(view: View, variant: Variant, utility: Estimate, base: Estimate | None) -> str:
    digits = 0 if utility.high - utility.low >= 0.02 else 1
    here = f"**{number('accuracy', utility.mean, digits)}** ({interval('accuracy', utility, digits)})"
    if base is None or variant == view.variants[0]:
        return f"{_who(variant)} the target is right for {here}."
    before = number("accuracy", base.mean, digits)
    if view.collapsed(variant):
        floor = f"where naming the majority always gives {number('accuracy', view.target_majority(), digits)}"
        told = f"{here} from {before}, {floor}"
        return f"{_who(variant)} it **collapses** to {told}: this hides by destroying the answer."
    if utility.low <= base.mean <= utility.high:
        return f"{_who(variant)} it stays at {here}; undefended {before}."
    lost = gap("accuracy", round(utility.mean * 100, digits) / 100 - round(base.mean * 100, digits) / 100, digits)
    return f"{_who(variant)} it {'falls' if utility.mean < base.mean else 'rises'} to {here}, {lost} from {before}."


def _digits(row: Row) -> int:
    """Whole percents where the interval is wider than two points, else the metric's own digits."""
    return 0 if row.metric in RATES and row.value.high - row.value.low >= 0.02 else DIGITS.get(row.metric, 3)


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]


def shorten(label: str, most: int = 26) -> str:
    """A label that fits beside a point; the middle gives way."""
    return label if len(label) <= most else f"{label[: most - 10]}\u2026{label[-9:]}"
