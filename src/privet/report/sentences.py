"""Sentences: what the page says first, generated from the rows alone, so that words and numbers cannot disagree."""

from __future__ import annotations

from dataclasses import dataclass

from privet.auditing.estimate import Estimate
from privet.report import words
from privet.report.results import Check, Row
from privet.report.view import FAILED_RECONSTRUCTION, INPUT, Variant, View, leaks, nothing_to_hide, over, state
from privet.report.words import NBSP, RATES, UNITS, digits_of, figure, gap, interval, metric_name, number, wanted

LISTED = 4  # defenses that the lead names before it counts the rest
NAMED = 3  # attributes that the lead names before it counts the rest
MATCHED = 0.02  # of target accuracy: defenses within two points of the reference are compared first


@dataclass(frozen=True)
class Verdict:
    """What the page says first about one attribute: its name, one word of tone, a short verdict, and sentences."""

    attribute: str
    tone: str  # "leak" | "floor" | "open" | "empty" | "broken" | "target" | "target collapses" | "target unlearned"
    short: str
    sentences: tuple[str, ...]
    doubts: tuple[str, ...] = ()  # why the sentences are struck through; empty where they are not


def headline(view: View) -> tuple[Verdict, ...]:
    """One verdict per hidden attribute, then reconstruction, then the target."""
    shown = _that_matter(view)
    target = [_target_verdict(view, shown)] if any(view.utility(v) for v in view.variants) else []
    return (*(_verdict(view, a, shown) for a in view.attributes), *target)


def left_over(view: View) -> int:
    """How many defenses the headline does not mention."""
    named = {*_that_matter(view), *(v for v in view.variants if v not in view.judged)}
    return len(view.variants) - len(named)


def lead(view: View) -> str:
    """The whole page in a breath: what leaks, by how much over what, what does not, and what not to believe."""
    groups: dict[tuple[str, str, tuple[Variant, ...]], list[str]] = {}
    for verdict in headline(view):
        if not verdict.tone.startswith("target"):
            where = _leaking(view, verdict.attribute) if verdict.tone == "leak" else ()
            groups.setdefault((verdict.tone, verdict.short, where), []).append(verdict.attribute)
    said = [_clause(view, tone, short, where, names) for (tone, short, where), names in groups.items()]
    others = view.variants[1:]
    if view.target_unlearned():
        told = (
            "is answered no better than by its majority" if view.recorded else "is not learned even without a defense"
        )
        said.append(f"**{_first(view.name(view.target))}** {told}.")
    elif collapsed := sum(view.collapsed(v) for v in others):
        under = "the defense" if len(others) == 1 else f"{collapsed} of {len(others)} defenses"
        said.append(f"**{_first(view.name(view.target))}** collapses under {under}.")
    return " ".join(said) or "No attack ended, so this page says nothing about leakage."


def _clause(view: View, tone: str, short: str, where: tuple[Variant, ...], attributes: list[str]) -> str:
    many = len(attributes) > 1 or attributes == [INPUT]
    if tone == "broken":
        names = _join([f"**{view.name(a)}**" for a in attributes])
        return (
            f"Do not trust the numbers on {names}."
            if attributes[0] in view.failed
            else f"Nothing is known about {names}."
        )
    if len(attributes) > NAMED:
        attributes = sorted(attributes, key=lambda a: -_distance(view, a))
    told = [f"**{view.name(a)}**" for a in attributes[:NAMED]]
    rest = [f"{len(attributes) - NAMED} more"] if len(attributes) > NAMED else []
    if tone != "leak":
        return f"**{_first(_join([*told, *rest])[2:])} {_verb(short, many)}."
    worst = [_worst(view, a) for a in attributes[:NAMED]]
    alike = len({_worst(view, a)[0] for a in attributes}) == 1
    told = [
        f"{name} ({'' if alike else f'most {_under(view)} `{v.label}`: '}{_over_the_floor(r)})"
        for name, (v, r) in zip(told, worst, strict=True)
    ]
    named, verb = "**" + _first(_join([*told, *rest])[2:]), "leak" if many else "leaks"
    if view.recorded and len(view.variants) == 1:
        return f"{named} {verb}."
    if where == view.variants[:1] and not view.recorded:
        return f"{named} {verb} without a defense."
    if alike and len(attributes) == 1:
        name, (variant, row) = _first(view.name(attributes[0])), worst[0]
        most = f"**{name} {verb} most** {_under(view)} `{variant.label}` ({_over_the_floor(row)})"
    else:
        most = f"{named} {verb}" + (f" most {_under(view)} `{worst[0][0].label}`" if alike else "")
    total = len([v for v in view.judged if view.headline(v, attributes[0])])
    share = f" ({len(where)} of {total} {view.terms.line}s)" if total > 1 else ""
    again = f"{'they leak' if many else 'it leaks'} {'from' if view.recorded else 'under'} {_listed(where)}{share}."
    return f"{most}; {'' if view.recorded else 'defended '}{again}"


def _verb(short: str, many: bool) -> str:
    """`stay at the floor`, `is undecided`: a short verdict as the end of a sentence."""
    if short.startswith("at the floor"):
        return f"{'stay' if many else 'stays'} {short}"
    if short.startswith("cannot"):
        return short
    return f"{'are' if many else 'is'} {short}"


def _listed(variants: tuple[Variant, ...]) -> str:
    names = [f"`{v.label}`" for v in variants[:LISTED]]
    return _join([*names, f"{len(variants) - LISTED} more"] if len(variants) > LISTED else names)


def _leaking(view: View, attribute: str) -> tuple[Variant, ...]:
    """The lines under which an attribute leaks; the reference where there is no other."""
    others = [v for v in view.judged if view.headline(v, attribute)] or view.variants[:1]
    return tuple(v for v in others if view.leaking(v, attribute))


def _distance(view: View, attribute: str) -> float:
    """Undefended minus floor: which attributes are named first where they are many."""
    row = next(r for v in view.variants if (r := view.headline(v, attribute)))
    return (row.undefended or row.value).mean - row.floor.mean


def _first(text: str) -> str:
    return text[:1].upper() + text[1:]


def _worst(view: View, attribute: str) -> tuple[Variant, Row]:
    """Where an attribute stands farthest above its floor, with or without a defense; by another metric where the main
    one sees nothing."""
    pairs = [(v, r) for v in view.variants if (r := view.headline(v, attribute))]
    if not any(leaks(r) for _, r in pairs):
        seen = [(v, r) for v in view.variants for r in view.headlines(v, attribute) if leaks(r)]
        pairs = [(v, r) for v, r in seen if r.metric == seen[0][1].metric] or pairs
    return max(pairs, key=lambda pair: over(pair[1]).mean)


def _over_the_floor(row: Row) -> str:
    digits, name = digits_of(row), "" if row.metric in ("accuracy", "psnr") else f"{metric_name(row.metric)} "
    value, floor = (number(row.metric, e.mean, digits) for e in (row.value, row.floor))
    return f"{name}{value} over a floor of {floor}"


def _above(row: Row) -> tuple[float, int]:
    """Value minus floor as the difference of what is printed, so that a reader's subtraction agrees; and the digits."""
    digits, scale = digits_of(row), 100 if row.metric in RATES else 1
    return (round(row.value.mean * scale, digits) - round(row.floor.mean * scale, digits)) / scale, digits


def _that_matter(view: View) -> tuple[Variant, ...]:
    """All defenses where they are few; else the least leaking at matched target accuracy, and of all."""
    others = view.judged or view.variants[:1]
    if len(others) <= 3:
        return others
    ranked = sorted(others, key=lambda v: view.mean_leakage(v))
    matched = [v for v in ranked if view.utility_lost(v) <= MATCHED]
    return tuple(dict.fromkeys([*matched[:1], ranked[0]]))


def _verdict(view: View, attribute: str, shown: tuple[Variant, ...]) -> Verdict:
    rows = {v: view.headline(v, attribute) for v in view.variants}
    found = {v: r for v, r in rows.items() if r is not None}
    if not found:
        nothing = f"No attack on {view.name(attribute)} ended: nothing is known."
        return Verdict(attribute, "broken", "no attack ended", (nothing,))
    said = tuple(_leak_sentence(view, v, found[v]) for v in shown if v in found)
    failed = view.failed.get(attribute, ())
    if failed:
        return Verdict(attribute, "broken", "do not trust these numbers", said, (_distrust(view, attribute, failed),))
    base = next(iter(found.values()))
    leaking = _leaking(view, attribute)
    blind = all(nothing_to_hide(r) for r in found.values())
    if blind and not leaking and not view.leaking(next(iter(found)), attribute):
        if any(state(r) == "weak" for r in found.values()):
            return Verdict(attribute, "open", MISSED, said)
        return Verdict(attribute, "empty", f"not shown to leak, with {_victims(base)}", (_empty_sentence(view, base),))
    if blind and (seen := _seen(view, next(iter(found)), attribute)):
        said = (seen, *(s for v, s in zip([v for v in shown if v in found], said, strict=True) if v.index))
    others = [v for v in found if v in view.judged] or list(found)
    tone, short = _judgment(view, [state(found[v]) for v in others], len(leaking), len(found) > 1 or view.recorded)
    return Verdict(attribute, tone, short, said)


MISSED = "cannot be judged: the attack missed a planted bit"


def _judgment(view: View, states: list[str], leaking: int, defended: bool) -> tuple[str, str]:
    """Tone and short verdict of the lines together; what is not known to be safe is not called so."""
    if leaking:
        return "leak", _count(view, leaking, len(states), defended)
    if "weak" in states:
        return "open", MISSED
    if undecided := states.count("open"):
        many = len(states) > 1
        line = view.terms.line
        return "open", f"undecided {_under(view)} {undecided} of {len(states)} {line}s" if many else "undecided"
    return "floor", _count(view, 0, len(states), defended)


def _under(view: View) -> str:
    return "from" if view.recorded else "under"


def _victims(row: Row) -> str:
    return f"{row.value.n:,} victims"


def _seen(view: View, variant: Variant, attribute: str) -> str:
    """Where the main metric is blind without a defense: the other one that sees the leak."""
    main = view.headline(variant, attribute)
    other = next(
        (r for r in view.headlines(variant, attribute) if r.metric != (main and main.metric) and leaks(r)), None
    )
    if main is None or other is None:
        return ""
    blind = _first(metric_name(main.metric))
    told = f"{metric_name(other.metric)} {number(other.metric, other.value.mean)}"
    return (
        f"{blind} cannot resolve {view.name(attribute)} here; **{told}** ({interval(other.metric, other.value)}) over "
        f"{number(other.metric, other.floor.mean)}: it leaks without a defense."
    )


def _count(view: View, leaking: int, total: int, defended: bool) -> str:
    line, under = view.terms.line, _under(view)
    if not defended:
        return "leaks without a defense" if leaking else "at the floor"
    if not leaking:
        return f"at the floor {under} every {line}" if total > 1 else "at the floor"
    if leaking == total:
        return f"leaks {under} every {line}" if total > 1 else "leaks"
    return f"leaks {under} {leaking} of {total} {line}s"


def _leak_sentence(view: View, variant: Variant, row: Row) -> str:
    metric, digits = row.metric, digits_of(row)
    value, floor = (figure(metric, e.mean, digits) for e in (row.value, row.floor))
    unit, span, who = UNITS.get(metric, ""), interval(metric, row.value, digits), view.who(variant)
    still = "" if variant.defense == "none" or view.recorded else "still "
    adversary = "the adversary" if view.recorded else "the server"
    everybody = int(view.results.data["examples"]["victim"])
    if row.value.n < everybody:
        span += f"; {row.value.n:,} of {everybody:,} victims"
    if row.goal == "reconstruct":
        base = f"the {floor}{unit} of a {view.thing} made without the payload"
        verb = f"are {still if leaks(row) else ''}rebuilt at"
        subject = f"{who} {view.thing}s {verb} **{value}{unit}** {metric_name(metric)} ({span})"
    elif metric == "accuracy":
        base = f"the {floor}{unit} it reaches without the payload"
        name = view.name(row.attribute)
        verb = f"{still}recognizes {name} in" if leaks(row) else f"is right about {name} for"
        subject = f"{who} {adversary} {verb} **{value}{unit}** of victims ({span})"
    else:
        base = f"the {floor}{unit} it reaches without the payload"
        verb = f"guesses {view.name(row.attribute)} with {metric_name(metric)}"
        subject = f"{who} {adversary} {verb} **{value}{unit}** ({span})"
    beside = row.undefended is not None and variant.defense not in ("none", view.terms.base)
    end = f"; {_scale(view)} {figure(metric, row.undefended.mean, digits)}{unit}." if beside and row.undefended else "."
    if not leaks(row):
        found = state(row)
        if found == "weak":
            return f"{subject}, against {base}{end} This {MISSED}.{_rider(view, variant, row)}"
        if found == "open":
            top = gap(metric, over(row).high, digits).lstrip("+")
            wide = f", **undecided** against {base}: up to {top} above it cannot be excluded"
            return f"{subject}{wide}{end}{_rider(view, variant, row)}"
        if over(row).low > 0:
            rule = f"less than {FAILED_RECONSTRUCTION}{NBSP}dB above {base}: **a failed reconstruction**"
            return f"{subject}, {rule}{end}{_rider(view, variant, row)}"
        return f"{subject}, **not distinguishable** from {base}{end}{_rider(view, variant, row)}"
    shown, _ = _above(row)
    return f"{subject}, **{gap(metric, shown, digits).lstrip('+')} above** {base}{end}"


def _scale(view: View) -> str:
    return f"`{view.terms.scale}`" if view.recorded else view.terms.scale


def _rider(view: View, variant: Variant, row: Row) -> str:
    """Accuracy is often blind: another metric may stand above its floor where accuracy does not."""
    for other in view.headlines(variant, row.attribute):
        if other.metric != row.metric and leaks(other):
            told = f"{number(other.metric, other.value.mean)} ({interval(other.metric, other.value)})"
            base = f"over a floor of {number(other.metric, other.floor.mean)}"
            if row.goal == "reconstruct":
                return f" {metric_name(other.metric)} is {told} {base}."
            blind = f"something leaks that {metric_name(row.metric)} does not see"
            return f" **But {metric_name(other.metric)} is {told}** {base}: {blind}."
    return ""


def _empty_sentence(view: View, row: Row) -> str:
    digits, metric, first = digits_of(row), row.metric, row.undefended or row.value
    said = f"{number(metric, first.mean, digits)} ({interval(metric, first, digits)})"
    what = _scale(view) if view.recorded else "the undefended representation"
    return (
        f"Even {what} gives {said} for {view.name(row.attribute)}, which touches the floor of "
        f"{number(metric, row.floor.mean, digits)}: not shown to leak, with {_victims(row)}."
        f"{'' if view.recorded else ' No defense can be credited here.'}"
    )


def _distrust(view: View, attribute: str, failed: tuple[Check, ...]) -> str:
    worst = failed[0]
    count = f" and {len(failed) - 1} more" if len(failed) > 1 else ""
    told = f"{number(worst.metric, worst.value)}, wanted {wanted(worst)}"
    return (
        f"**Do not trust the numbers on {view.name(attribute)}**: {words.attacker(worst)} failed its calibration "
        f"`{worst.check}` ({told}){count}. They are struck through on this page."
    )


def _target_verdict(view: View, shown: tuple[Variant, ...]) -> Verdict:
    variants = view.variants
    base = view.utility(variants[0]) if variants else None
    pairs = [(v, view.utility(v)) for v in shown]
    said = [_utility_sentence(view, v, u, base) for v, u in pairs if u is not None]
    if view.target_unlearned():
        told = (
            f"The {'recorded answer' if view.recorded else 'undefended model already'} does not beat the majority "
            f"({number('accuracy', view.target_majority())}): "
            f"{'was it recorded rightly?' if view.recorded else 'wrong weights, or too few people?'}"
        )
        return Verdict(view.target, "target unlearned", "does not beat the majority", (told, *said))
    collapsed = any(view.collapsed(v) for v in shown)
    short = "collapses under a defense" if collapsed else "what the service is for"
    return Verdict(view.target, "target collapses" if collapsed else "target", short, tuple(said))


def _utility_sentence(view: View, variant: Variant, utility: Estimate, base: Estimate | None) -> str:
    digits = 0 if utility.high - utility.low >= 0.02 else 1
    here = f"**{number('accuracy', utility.mean, digits)}** ({interval('accuracy', utility, digits)})"
    if base is None or variant == view.variants[0]:
        return f"{view.who(variant)} the target is right for {here}."
    before = number("accuracy", base.mean, digits)
    if view.collapsed(variant):
        floor = f"where naming the majority always gives {number('accuracy', view.target_majority(), digits)}"
        told = f"{here} from {before}, {floor}"
        return f"{view.who(variant)} it **collapses** to {told}: this hides by destroying the answer."
    if utility.low <= base.mean <= utility.high:
        return f"{view.who(variant)} it stays at {here}; {_scale(view)} {before}."
    lost = round(base.mean * 100, digits) - round(utility.mean * 100, digits)
    points = f"{abs(lost):.{digits}f}{NBSP}points {'below' if utility.mean < base.mean else 'above'}"
    verb = "falls" if utility.mean < base.mean else "rises"
    return f"{view.who(variant)} it {verb} to {here}, {points} the {_scale(view)} {before}."


def _join(names: list[str]) -> str:
    return names[0] if len(names) == 1 else ", ".join(names[:-1]) + " and " + names[-1]
