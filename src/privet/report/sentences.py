"""Sentences: what the page says first, generated from the rows alone, so that words and numbers cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

from privet.auditing.estimate import Estimate
from privet.report.results import Check, Row
from privet.report.view import INPUT, Variant, View, leaks, nothing_to_hide
from privet.report.words import NBSP, RATES, UNITS, digits_of, figure, gap, interval, metric_name, number, plain, wanted

FAILED_RECONSTRUCTION = 0.5  # dB above the mean image below which a reconstruction counts as failed
NAMED = 3  # attributes that the lead names before it counts the rest
MATCHED = 0.02  # of target accuracy: defenses within two points of the reference are compared first


@dataclass(frozen=True)
class Verdict:
    """What the page says first about one attribute: its name, one word of tone, a short verdict, and sentences."""

    attribute: str
    tone: str  # "leak" | "floor" | "empty" | "broken" | "target" | "target collapses"
    short: str
    sentences: tuple[str, ...]
    doubts: tuple[str, ...] = ()  # why the sentences are struck through; empty where they are not


def headline(view: View) -> tuple[Verdict, ...]:
    """One verdict per hidden attribute, then reconstruction, then the target."""
    shown = _that_matter(view)
    return (*(_verdict(view, a, shown) for a in view.attributes), _target_verdict(view, shown))


def left_over(view: View) -> int:
    """How many defenses the headline does not mention."""
    return len(view.variants) - len({*_that_matter(view), *view.variants[:1]})


def lead(view: View) -> str:
    """The whole page in a breath: what leaks, by how much over what, what does not, and what not to believe."""
    groups: dict[tuple[str, str], list[str]] = {}
    for verdict in headline(view):
        if not verdict.tone.startswith("target"):
            groups.setdefault((verdict.tone, verdict.short), []).append(verdict.attribute)
    said = [_clause(view, tone, short, names) for (tone, short), names in groups.items()]
    others = view.variants[1:]
    if collapsed := sum(view.collapsed(v) for v in others):
        under = "the defense" if len(others) == 1 else f"{collapsed} of {len(others)} defenses"
        said.append(f"**{_first(plain(view.target))}** collapses under {under}.")
    return " ".join(said) or "No attack ended, so this page says nothing about leakage."


def _clause(view: View, tone: str, short: str, attributes: list[str]) -> str:
    many = len(attributes) > 1 or attributes == [INPUT]
    if tone == "broken":
        names = _join([f"**{plain(a)}**" for a in attributes])
        return (
            f"Do not trust the numbers on {names}."
            if attributes[0] in view.failed
            else f"Nothing is known about {names}."
        )
    if len(attributes) > NAMED:
        attributes = sorted(attributes, key=lambda a: -_distance(view, a))
    told = [f"**{plain(a)}**" + (f" ({_most(view, a)})" if tone == "leak" else "") for a in attributes[:NAMED]]
    told += [f"{len(attributes) - NAMED} more"] if len(attributes) > NAMED else []
    verb = {
        "leak": "leak" if many else "leaks",
        "floor": "stay" if many else "stays",
        "empty": "have" if many else "has",
    }[tone]
    rest = short.removeprefix("leaks").strip() if tone == "leak" else short
    text = _join(told)
    return f"**{_first(text[2:])} {verb}{' ' if rest else ''}{rest}."


def _distance(view: View, attribute: str) -> float:
    """Undefended minus floor: which attributes are named first where they are many."""
    row = next(r for v in view.variants if (r := view.headline(v, attribute)))
    return row.undefended.mean - row.floor.mean


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _most(view: View, attribute: str) -> str:
    """The largest distance from the floor under any defense that was tried."""
    variants = view.variants[1:] or view.variants
    rows = [r for v in variants if (r := view.headline(v, attribute))]
    row = max(rows, key=lambda r: r.value.mean - r.floor.mean)
    shown, digits = _above(row)
    most = "up to " if len(rows) > 1 else ""
    floor = number(row.metric, row.floor.mean, digits)
    return f"{most}{gap(row.metric, shown, digits).lstrip('+')} over a floor of {floor}"


def _above(row: Row) -> tuple[float, int]:
    """Value minus floor as the difference of what is printed, so that a reader's subtraction agrees; and the digits."""
    digits, scale = digits_of(row), 100 if row.metric in RATES else 1
    return (round(row.value.mean * scale, digits) - round(row.floor.mean * scale, digits)) / scale, digits


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
        return "at the floor under every defense" if total > 1 else "at the floor"
    if leaking == total:
        return "leaks under every defense" if total > 1 else "leaks"
    return f"leaks under {leaking} of {total} defenses"


def _who(variant: Variant) -> str:
    return "Without a defense" if variant.defense == "none" else f"With `{variant.label}`"


def _leak_sentence(view: View, variant: Variant, row: Row) -> str:
    metric, digits = row.metric, digits_of(row)
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
    shown, _ = _above(row)
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
    digits, metric = digits_of(row), row.metric
    said = f"{number(metric, row.undefended.mean, digits)} ({interval(metric, row.undefended, digits)})"
    return (
        f"Even the undefended representation gives {said} for {plain(row.attribute)}, which touches the floor of "
        f"{number(metric, row.floor.mean, digits)}: no defense is needed at this cut, and none can be credited."
    )


def _distrust(attribute: str, failed: tuple[Check, ...]) -> str:
    worst = failed[0]
    count = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    told = f"{number(worst.metric, worst.value)}, wanted {wanted(worst)}"
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
    return Verdict(view.target, "target collapses" if collapsed else "target", short, tuple(said))


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
    lost = round(base.mean * 100, digits) - round(utility.mean * 100, digits)
    points = f"{abs(lost):.{digits}f}{NBSP}points {'below' if utility.mean < base.mean else 'above'}"
    verb = "falls" if utility.mean < base.mean else "rises"
    return f"{_who(variant)} it {verb} to {here}, {points} the undefended {before}."


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
