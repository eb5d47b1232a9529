"""Bounds: what no attacker can exceed, computed from what the victims of a finished study sent.

All bounds of a study hold together with 95 % confidence; that of several seeds is the worst of theirs."""

from __future__ import annotations

import numpy as np

from privet.bounds import certificate
from privet.bounds.certificate import Certificate
from privet.payload import Array
from privet.report.results import Bound
from privet.report.runs import INPUT, Runs

DELTA = 0.05
KNOWN = "hidden_is_group"
MESSAGES, ERRORS = "victim/messages", "victim/message_errors"


def bounds(runs: Runs) -> tuple[Bound, ...]:
    """Every bound of a study, for the defenses whose payload has few bits."""
    counted = [d for d in runs.defenses if all(MESSAGES in r.arrays for r in runs.of(d))]
    hidden = {str(h["name"]): len(h["classes"]) for h in runs.plan["data"]["hidden"]}
    asked = len(hidden) * (2 + len(_values(runs))) + 1
    together = max(1, asked * sum(len(runs.of(d)) for d in counted))
    found: list[Bound] = []
    for defense in counted:
        for attribute, classes in hidden.items():
            found += _attribute(runs, defense, attribute, classes, together)
        found += _input(runs, defense, together)
    return tuple(found)


def _attribute(runs: Runs, defense: str, attribute: str, classes: int, together: int) -> list[Bound]:
    arrays = runs.first.arrays
    s, groups, y = arrays[f"victim/hidden/{attribute}"], _groups(runs), arrays["victim/target"]
    names = _values(runs)
    sent = [run.arrays[MESSAGES] for run in runs.of(defense)]
    whole = [certificate.accuracy(m, s, groups, delta=DELTA, bounds=together) for m in sent]
    even = [certificate.balanced_accuracy(m, s, groups, classes, delta=DELTA, bounds=together) for m in sent]
    # `of_groups` shares its part among the values; together counts each of them already.
    parts = [
        certificate.of_groups(m, s, y, groups, delta=DELTA, bounds=-(-together // max(1, len(names)))) for m in sent
    ]
    made = [_bound(runs, defense, attribute, "accuracy", None, whole)]
    made.append(_bound(runs, defense, attribute, "balanced_accuracy", None, even))
    for value in sorted(set().union(*parts)):
        made.append(_bound(runs, defense, attribute, "accuracy", names[value], [p[value] for p in parts if value in p]))
    return made


def _input(runs: Runs, defense: str, together: int) -> list[Bound]:
    groups = _groups(runs)
    if not any(runs.scores(INPUT)):
        return []
    found = [
        certificate.squared_error(r.arrays[MESSAGES], r.arrays[ERRORS], groups, delta=DELTA, bounds=together)
        for r in runs.of(defense)
    ]
    return [_bound(runs, defense, INPUT, "squared_error", None, found)]


def _values(runs: Runs) -> list[str]:
    """The target's values; none where nobody recorded it."""
    return [str(c) for c in (runs.plan["data"]["target"] or {"classes": ()})["classes"]]


def _groups(runs: Runs) -> Array:
    """Independent units: people, or single examples where the people themselves are what is hidden and stand in every
    part; the bound is then about new examples of these same people."""
    own = runs.first.arrays["victim/groups"]
    return np.arange(len(own)) if KNOWN in runs.plan["data"]["flags"] else own


def _bound(runs: Runs, defense: str, attribute: str, metric: str, among: str | None, seeds: list[Certificate]) -> Bound:
    own = runs.of(defense)
    attack = runs.headline(defense, attribute, "psnr" if metric == "squared_error" else metric)
    worst = min(seeds, key=lambda c: c.bound) if metric == "squared_error" else max(seeds, key=lambda c: c.bound)
    return Bound(
        defense,
        attribute,
        metric,
        among,
        worst.bound,
        float(np.mean([c.in_sample for c in seeds])),
        attack,
        float(np.mean([_score(run.arrays, attribute, attack, metric, among, runs) for run in own])),
        worst.confidence,
        worst.people,
        worst.groups,
        max(c.messages for c in seeds),
        int(own[0].record["results"]["message_bits"]),
        worst.informative,
        "; ".join([worst.scope, *_more(runs, worst.people)]),
        KNOWN in runs.plan["data"]["flags"],
    )


def _more(runs: Runs, people: int) -> list[str]:
    """What else must be known of these people, this network and this threat."""
    said = []
    if KNOWN in runs.plan["data"]["flags"]:
        said.append("it is about new examples of these same people")
    if runs.plan["threat"]["name"] == "repeated":
        said.append("where the payload is random, 'one payload' means all that this threat sees of a person, together")
    setting = runs.first.record.get("setting", {})
    everybody = len(runs.first.arrays["victim/groups"])
    if people < everybody:
        said.append(f"about people whose label is known, {people} of {everybody}")
    if setting.get("side"):
        said.append(f"the attacker knows {', '.join(setting['side'])}, which is counted into the message")
    if setting.get("weights") or ":" in str(setting.get("model", "")):
        said.append("the network is the user's own: void if any of these people were among what it was trained on")
    return said


def _score(arrays: dict[str, Array], attribute: str, attack: str, metric: str, among: str | None, runs: Runs) -> float:
    """The attack's own value, for the very people of the bound (a costly attack: for those it was asked about)."""
    if metric == "squared_error":
        return float(np.nanmean(10 ** (-arrays[f"score/input/{attack}/psnr"] / 10)))
    if among is None:
        return float(arrays[f"table/{attribute}/{attack}/{metric}"][0])
    names = _values(runs)
    s, y = runs.first.arrays[f"victim/hidden/{attribute}"], runs.first.arrays["victim/target"]
    people = (s >= 0) & (y == names.index(among))
    return float((arrays[runs.posterior(attribute, attack)][people].argmax(1) == s[people]).mean())
