"""One audit: attack what was observed with everything the threat grants, and keep every prediction.

What comes out is evidence for each victim, not a summary: the intervals, the selection and the flags are computed from
it later and can be computed again.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privet import metrics
from privet.attack import Probe, Solver, costly
from privet.auditing import battery, floors, pictures
from privet.auditing.battery import Material, Outcome
from privet.auditing.threat import Threat
from privet.auditing.wire import Observed, of_people
from privet.data.corpus import Corpus, Part
from privet.payload import Array
from privet.train import Effort, inputs, some

VOTERS = 3
ENSEMBLE = "ensemble"
Report = Callable[[str, int, int], None] | None


@dataclass
class Evidence:
    """Predictions for every victim and scores on aux_val, under flat names such as `posterior/race/mlp_probe`;
    `prior/race` [K] is how frequent the adversary knows each value to be."""

    arrays: dict[str, Array] = field(default_factory=dict)
    # attribute -> attack -> metric -> score on aux_val
    selection: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    logs: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of computing, by goal/attack; not part of the digest


def attack(
    observed: Observed,
    corpus: Corpus,
    threat: Threat,
    attacks: Mapping[str, Probe | Solver],
    *,
    effort: Effort,
    seed: int,
    device: torch.device | str = "cpu",
    report: Report = None,
    clock: Callable[[], float] | None = None,
    judge: Callable[[str, Tensor, Array], dict[str, Array]] | None = None,
    begun: Drawn | None = None,
) -> Evidence:
    """Run every attack against every hidden attribute and against the input itself, costly attacks last: they begin
    where the best decoder has come to, and are asked about some people only. `clock` counts the seconds of each;
    `judge` looks at what each has rebuilt of which victims; `begun` was drawn before by a decoder that is not asked."""
    evidence = Evidence()
    plan = [
        (name, a, goal)
        for name, a in sorted(attacks.items(), key=lambda item: costly(item[1]))
        for goal in (corpus.hidden if a.goal == "attribute" else ("input",))
    ]
    opened = begun
    said: dict[str, list[_Said]] = {goal: [] for goal in corpus.hidden}
    for index, (name, method, goal) in enumerate(plan):
        if report:
            report(f"{name} on {goal}", index, len(plan))
        known = material(observed, corpus, threat, goal, seed)
        victims, people = observed.victims, np.arange(len(observed.victims))
        held = np.arange(len(known.val))
        if costly(method):
            people, held = pictures.asked(len(victims), effort.asked), pictures.asked(len(held), effort.asked)
            val = known.val
            if opened:
                others = np.setdiff1d(np.arange(len(val)), held)
                val = replace(val, drawn=opened.val, mistakes=(known.known_val - opened.val)[torch.from_numpy(others)])
                victims = replace(victims, drawn=opened.victims)
            rows = torch.from_numpy(held)
            known = replace(known, val=val.rows(rows), known_val=known.known_val[rows])
            victims = victims.rows(torch.from_numpy(people))
        started = clock() if clock else 0.0
        outcome = battery.run(method, known, victims, effort=effort, seed=seed, device=device)
        evidence.seconds |= {f"{goal}/{name}": clock() - started} if clock else {}
        evidence.logs[f"{goal}/{name}"] = outcome.log | (
            {"asked": len(people), "beside": opened.name if opened else None} if costly(method) else {}
        )
        if method.goal == "attribute":
            evidence.arrays[f"posterior/{goal}/{name}"] = outcome.victims.numpy()
            prior = evidence.arrays[f"prior/{goal}"] = frequencies(known.known, known.outputs[0])
            scores = attribute_scores(outcome.val.numpy(), known.known_val.numpy(), prior)
            said[goal].append(_Said(name, scores.get("accuracy", 0.0), outcome, known.known_val))
        else:
            evidence.arrays |= pictures.record(name, outcome.victims, corpus.victim.x, people)
            evidence.arrays |= judge(name, outcome.victims, people) if judge else {}
            own = pictures.scores(outcome.val, known.known_val)
            scores = _on_the_same(own, opened.scores if opened and costly(method) else {}, held)
            if not costly(method) and (opened is None or scores["psnr"] > opened.scores["psnr"].mean()):
                opened = Drawn(name, own, outcome.val, outcome.victims)
        evidence.selection.setdefault(goal, {})[name] = scores
    for goal, answers in said.items():
        _vote(evidence, goal, answers)
    return evidence


@dataclass(frozen=True)
class Drawn:
    """The best reconstructions so far, with their scores on aux_val [N]."""

    name: str
    scores: dict[str, Array]
    val: Tensor
    victims: Tensor


def _on_the_same(own: dict[str, Array], before: dict[str, Array], held: Array) -> dict[str, float]:
    """Mean scores on aux_val. Of an attack that was asked about few: what it gains there over the best one before,
    added to that one's mean over everybody, since few people may be easy or hard ones."""
    shift = {metric: values.mean() - values[held].mean() for metric, values in before.items()}
    return {metric: float(values.mean() + shift.get(metric, 0.0)) for metric, values in own.items()}


@dataclass(frozen=True)
class _Said:
    """One attack's posteriors, with its accuracy on aux_val and the labels there."""

    name: str
    accuracy: float
    outcome: Outcome
    known_val: Tensor


def _vote(evidence: Evidence, goal: str, said: list[_Said]) -> None:
    """One more attack: the mean posterior of the three that are best on aux_val."""
    best = sorted(said, key=lambda one: -one.accuracy)[:VOTERS]
    if len(best) < 2:
        return
    on_val = torch.stack([one.outcome.val for one in best]).mean(0).numpy()
    on_victims = torch.stack([one.outcome.victims for one in best]).mean(0).numpy()
    evidence.arrays[f"posterior/{goal}/{ENSEMBLE}"] = on_victims
    prior = evidence.arrays[f"prior/{goal}"]
    evidence.selection[goal][ENSEMBLE] = attribute_scores(on_val, best[0].known_val.numpy(), prior)
    evidence.logs[f"{goal}/{ENSEMBLE}"] = {"voters": [one.name for one in best]}


def material(observed: Observed, corpus: Corpus, threat: Threat, goal: str, seed: int) -> Material:
    """What an adversary of this threat learns a goal from: a hidden attribute, or `input`."""
    if goal == "input":
        return _input_material(observed, corpus, threat, seed)
    return attribute_material(observed, corpus, threat, goal, seed)


def attribute_material(observed: Observed, corpus: Corpus, threat: Threat, attribute: str, seed: int) -> Material:
    """The labelled people of aux, as many as the threat owns: some to learn from, a quarter as many to choose on."""
    train, val = (np.flatnonzero(corpus.parts[role].s[attribute] >= 0) for role in ("aux_train", "aux_val"))
    train, val = some(train, threat.labels, seed), some(val, _quarter(threat.labels), seed)
    return Material(
        of_people(observed.train, train),
        torch.from_numpy(corpus.aux_train.s[attribute][train]),
        observed.val.rows(torch.from_numpy(val)),
        torch.from_numpy(corpus.aux_val.s[attribute][val]),
        (corpus.n_classes(attribute),),
    )


def _input_material(observed: Observed, corpus: Corpus, threat: Threat, seed: int) -> Material:
    train = some(np.arange(len(corpus.aux_train)), threat.pairs, seed)
    val = some(np.arange(len(corpus.aux_val)), _quarter(threat.pairs), seed)
    return Material(
        of_people(observed.train, train),
        inputs(corpus.aux_train.x[train]),
        observed.val.rows(torch.from_numpy(val)),
        inputs(corpus.aux_val.x[val]),
        corpus.shape,
    )


def _quarter(owned: int | None) -> int | None:
    return None if owned is None else max(2, owned // 4)


def frequencies(known: Tensor, classes: int) -> Array:
    """How frequent each value is among the labelled people that an adversary owns [K], half a person added to each."""
    counts = torch.bincount(known, minlength=classes).double().numpy() + 0.5
    return np.asarray(counts / counts.sum())


def attribute_scores(posterior: Array, s: Array, prior: Array | None = None) -> dict[str, float]:
    """Every attribute metric over one part, unweighted; see `answered`."""
    if not len(s):
        return {}
    ones = np.ones((1, len(s)))
    return {
        name: float(metric(answered(posterior, name, prior), s, ones)[0]) for name, metric in metrics.METRICS.items()
    }


def answered(posterior: Array, metric: str, prior: Array | None) -> Array:
    """What an adversary says who is scored by this metric [N, K]: where every value counts the same, it takes off how
    frequent it knows each to be, or a rare value would never be named."""
    return posterior if prior is None or metric != "balanced_accuracy" else metrics.evenly(posterior, prior)


def reference(observed: Observed, corpus: Corpus, threat: Threat, seed: int) -> Evidence:
    """The floors, from the reference's observation: what an adversary reaches without any payload."""
    evidence = Evidence()
    sees_answer = threat.sees_answer and bool(observed.answers)
    answers = corpus.n_classes(corpus.target) if sees_answer else 0
    for attribute in corpus.hidden:
        classes = corpus.n_classes(attribute)
        aux = some(np.flatnonzero(corpus.aux_train.s[attribute] >= 0), threat.labels, seed)
        s, name = corpus.aux_train.s[attribute][aux], f"floor/{attribute}"
        evidence.arrays[f"{name}/majority"] = floors.majority(s, classes, len(corpus.victim)).numpy()
        if sees_answer:
            answer, victims = observed.answers["aux_train"][aux], observed.answers["victim"]
            evidence.arrays[f"{name}/label_only"] = floors.label_only(s, answer, victims, classes, answers).numpy()
        if threat.side:
            rows = ("aux_train", aux), ("victim", np.arange(len(corpus.victim)))
            given = [observed.answers[role][people] if sees_answer else None for role, people in rows]
            known = [
                _known(corpus.parts[role], people, seen, corpus, threat)
                for (role, people), seen in zip(rows, given, strict=True)
            ]
            evidence.arrays[f"{name}/imputation"] = floors.imputation(s, known[0], known[1], classes).numpy()
    if not math.prod(corpus.shape):  # a recording without inputs: there is nothing to rebuild
        return evidence
    owned = some(np.arange(len(corpus.aux_train)), threat.pairs, seed)
    own, x = inputs(corpus.aux_train.x[owned]), inputs(corpus.victim.x)
    drawn = {"mean_image": floors.mean_image(own, len(x))}
    if sees_answer:
        given = observed.answers["aux_train"][owned]
        drawn["image_of_answer"] = floors.image_of_answer(own, given, observed.answers["victim"])
    for floor, rebuilt in drawn.items():
        for metric, values in pictures.scores(rebuilt, x).items():
            evidence.arrays[f"floor/input/{floor}/{metric}"] = values
    return evidence


def _known(part: Part, people: Array, answers: Array | None, corpus: Corpus, threat: Threat) -> Array:
    """What is known of people without their payload: side information, and the answer where it is seen."""
    names = list(threat.side)
    columns, sizes = [part.s[n][people] for n in names], [corpus.n_classes(n) for n in names]
    if answers is not None:
        columns, sizes = [answers, *columns], [corpus.n_classes(corpus.target), *sizes]
    return floors.one_hot(columns, sizes)
