"""Judge: what one observation says, from the attacks to the tables, whoever made the payloads.

A defended split and somebody else's recording come through here alike, so that their numbers mean the same.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass, field
from typing import Any

import numpy as np
import torch
from torch import nn

from privet.attack import Probe, Solver
from privet.auditing import audit, checks, curves, linkage, messages, own, pictures, wire
from privet.auditing.panel import Panel
from privet.auditing.tables import tabulate
from privet.auditing.threat import Threat
from privet.bounds import certificate
from privet.data.corpus import Corpus
from privet.payload import Array
from privet.train import Effort


@dataclass(frozen=True)
class Rules:
    """How one observation is judged: by which adversaries of which threat, with how much compute, from which seed."""

    threat: Threat
    attacks: Mapping[str, Probe | Solver]
    effort: Effort
    seed: int
    device: torch.device | str = "cpu"
    curves: bool = False  # whether the strongest attacks learn again from fewer people


@dataclass
class Judgment:
    """The arrays and results that a run keeps of its attacks; who made the system adds its facts."""

    arrays: dict[str, Array] = field(default_factory=dict)
    results: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of each attack; no result


def judge(
    observed: wire.Observed,
    corpus: Corpus,
    rules: Rules,
    *,
    reference: bool,
    calibrated: bool,
    stage: nn.Module | None = None,
    beside: Mapping[str, Array] | None = None,
    report: audit.Report = None,
    clock: Callable[[], float] | None = None,
    panel: Panel | None = None,
) -> Judgment:
    """Attack what was observed and tabulate it. The `reference` of a study carries its floors and, `calibrated`, the
    calibration of the attacks (with the first `stage` of the network, where it is at hand); `beside` are predictions
    that were made elsewhere; `clock` counts the seconds of each attack;
    the `panel` judges what they rebuild."""
    threat, attacks, effort, seed, device = rules.threat, rules.attacks, rules.effort, rules.seed, rules.device
    evidence = audit.attack(
        observed, corpus, threat, attacks, effort=effort, seed=seed, device=device, report=report, clock=clock,
        judge=panel.of if panel else None,
    )  # fmt: skip
    evidence.arrays |= beside or {}
    known = sum(corpus.n_classes(name) for name in threat.side)
    answers = observed.answers.get("victim") if threat.sees_answer else None
    evidence.arrays |= linkage.link(observed, corpus, seed, known, answers)
    masks = own.by_mask(observed, corpus, threat, effort=effort, seed=seed, device=device)
    evidence.arrays |= masks.arrays
    for attribute, scores in masks.selection.items():
        evidence.selection.setdefault(attribute, {}).update(scores)
    if rules.curves:
        evidence.arrays |= curves.learn(
            observed, evidence, corpus, threat, attacks, effort=effort, seed=seed, device=device, report=report
        ).arrays
    truth = truth_of(corpus, observed)
    if observed.messages is not None:
        truth["victim/messages"] = observed.messages
        truth["victim/message_errors"] = certificate.cell_errors(observed.messages, corpus.victim.x)
        messages.refuse_impossible(observed.messages, truth["victim/message_errors"], evidence.arrays, corpus)
    calibration: list[checks.Check] = []
    if reference:
        evidence.arrays |= audit.reference(observed, corpus, threat, seed).arrays
        evidence.arrays |= panel.reference() if panel else {}
        if calibrated:
            if report:
                report("calibrating the attacks", 0, 1)
            calibration = checks.calibrate(
                observed, corpus, threat, attacks, effort=effort, seed=seed, device=device, stage=stage
            )
    tables = tabulate(evidence, corpus, observed.answers.get("victim"), effort.bootstrap)
    results = {
        "selection": evidence.selection,
        "logs": evidence.logs,
        "saturated": observed.saturated,
        "message_bits": observed.message_bits,
        "chunked": observed.chunked,
        "checks": [asdict(c) for c in calibration],
    }
    return Judgment(evidence.arrays | tables | truth, results, evidence.seconds)


def truth_of(corpus: Corpus, observed: wire.Observed) -> dict[str, Array]:
    """What is kept of the victims themselves; an answer or a target that nobody recorded is -1."""
    victim = corpus.victim
    answers = observed.answers.get("victim")
    truth: dict[str, Array] = {
        "victim/groups": victim.groups,
        "victim/target": victim.y,
        "victim/answer": np.full(len(victim), -1) if answers is None else answers.astype(np.int64),
    }
    truth |= {f"victim/hidden/{name}": victim.s[name] for name in corpus.hidden}
    if corpus.kind == "image":
        truth["victim/pictures"] = victim.x[pictures.shown(len(victim))]
    return truth
