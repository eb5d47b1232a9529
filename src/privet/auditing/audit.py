"""One audit: encode once, attack with everything the threat grants, keep every prediction.

The views are decoded from the very bytes that would travel. What comes out is evidence for each victim, not a summary:
the intervals, the selection and the flags are computed from it later and can be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
import torch
from torch import Tensor

from privet import metrics
from privet.attack import Probe, Solver, View
from privet.auditing import battery, floors
from privet.auditing.battery import Material
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus, Part
from privet.defense import Defended
from privet.payload import Array, Payload
from privet.train import Effort, inputs, some

DRAWS = 3
PICTURES = 8
Report = Callable[[str, int, int], None] | None


@dataclass(frozen=True)
class Observed:
    """What an adversary holds: aux_train in several draws, aux_val and the victims in as many as it may query."""

    train: tuple[View, ...]
    val: tuple[View, ...]
    victims: tuple[View, ...]
    answers: dict[str, Array]  # role -> predicted target class [N], by the half that ships
    saturated: int


@dataclass
class Evidence:
    """Predictions for every victim and scores on aux_val, under flat names such as `posterior/race/mlp_probe`."""

    arrays: dict[str, Array] = field(default_factory=dict)
    selection: dict[str, dict[str, dict[str, float]]] = field(
        default_factory=dict
    )  # attribute -> attack -> metric -> aux_val
    logs: dict[str, Any] = field(default_factory=dict)


def observe(
    defended: Defended, corpus: Corpus, threat: Threat, seed: int, device: torch.device | str = "cpu"
) -> Observed:
    """Send everybody's payload and read it back, each role with noise of its own."""
    generator = np.random.default_rng([seed, 5])
    queries = threat.queries if defended.stochastic else 1
    draws = {"aux_train": DRAWS if defended.stochastic else 1, "aux_val": queries, "victim": queries}
    views: dict[str, tuple[View, ...]] = {}
    answers: dict[str, Array] = {}
    saturated = 0
    for role, count in draws.items():
        part, sent = corpus.parts[role], []
        for _ in range(count):
            view, answer, clipped = _send(defended, part, corpus, threat, generator, device)
            sent.append(view)
            answers.setdefault(role, answer)
            saturated += clipped
        views[role] = tuple(sent)
    return Observed(views["aux_train"], views["aux_val"], views["victim"], answers, saturated)


def _send(
    defended: Defended,
    part: Part,
    corpus: Corpus,
    threat: Threat,
    generator: np.random.Generator,
    device: torch.device | str,
) -> tuple[View, Array, int]:
    signature = defended.obfuscator.signature
    flat, z, answers, saturated = [], [], [], 0
    for start in range(0, len(part), 256):
        x = inputs(part.x[start : start + 256], device)
        sent = defended.encode(x, defended.draw(len(x), generator))
        saturated += sent.saturated
        received = Payload.from_bytes(sent.to_bytes(), signature)
        flat.append(np.concatenate([v.reshape(len(x), -1) for v in received.floats().values()], axis=1))
        answers.append(defended.server(received, device).argmax(1).cpu().numpy())
        if "obfuscator" in threat.grants:
            z.append(defended.decode(received, device).float().cpu())
    known = floors.one_hot([part.s[a] for a in threat.side], [corpus.n_classes(a) for a in threat.side])
    columns = np.concatenate(flat)
    view = View(
        torch.from_numpy(np.concatenate([columns, known], axis=1) if threat.side else columns),
        torch.cat(z) if z else None,
        defended.split.server if "architecture" in threat.grants else None,
    )
    return view, np.concatenate(answers), saturated


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
) -> Evidence:
    """Run every attack against every hidden attribute and against the input itself."""
    evidence = Evidence()
    plan = [
        (name, a, goal)
        for name, a in attacks.items()
        for goal in (corpus.hidden if a.goal == "attribute" else ("input",))
    ]
    for index, (name, method, goal) in enumerate(plan):
        if report:
            report(f"{name} on {goal}", index, len(plan))
        material = (
            attribute_material(observed, corpus, threat, goal, seed)
            if method.goal == "attribute"
            else _input_material(observed, corpus, threat, seed)
        )
        outcome = battery.run(method, material, observed.victims, effort=effort, seed=seed, device=device)
        evidence.logs[f"{goal}/{name}"] = outcome.log
        if method.goal == "attribute":
            evidence.arrays[f"posterior/{goal}/{name}"] = outcome.victims.numpy()
            scores = attribute_scores(outcome.val.numpy(), material.known_val.numpy())
        else:
            scores = _keep_pictures(evidence, name, outcome.victims, corpus.victim, outcome.val, material.known_val)
        evidence.selection.setdefault(goal, {})[name] = scores
    return evidence


def attribute_material(observed: Observed, corpus: Corpus, threat: Threat, attribute: str, seed: int) -> Material:
    """The labelled people of aux, as many as the threat owns: some to learn from, a quarter as many to choose on."""
    train, val = (np.flatnonzero(corpus.parts[role].s[attribute] >= 0) for role in ("aux_train", "aux_val"))
    train, val = some(train, threat.labels, seed), some(val, _quarter(threat.labels), seed)
    return Material(
        [view.rows(torch.from_numpy(train)) for view in observed.train],
        torch.from_numpy(corpus.aux_train.s[attribute][train]),
        [view.rows(torch.from_numpy(val)) for view in observed.val],
        torch.from_numpy(corpus.aux_val.s[attribute][val]),
        (corpus.n_classes(attribute),),
    )


def _input_material(observed: Observed, corpus: Corpus, threat: Threat, seed: int) -> Material:
    train = some(np.arange(len(corpus.aux_train)), threat.pairs, seed)
    val = some(np.arange(len(corpus.aux_val)), _quarter(threat.pairs), seed)
    return Material(
        [view.rows(torch.from_numpy(train)) for view in observed.train],
        inputs(corpus.aux_train.x[train]),
        [view.rows(torch.from_numpy(val)) for view in observed.val],
        inputs(corpus.aux_val.x[val]),
        corpus.shape,
    )


def _quarter(owned: int | None) -> int | None:
    return None if owned is None else max(2, owned // 4)


def attribute_scores(posterior: Array, s: Array) -> dict[str, float]:
    """Every attribute metric over one part, unweighted."""
    ones = np.ones((1, len(s)))
    return {name: float(metric(posterior, s, ones)[0]) for name, metric in metrics.METRICS.items()} if len(s) else {}


def picture_scores(x_hat: Tensor, x: Tensor) -> dict[str, Array]:
    """PSNR and, for pictures of at least 7 pixels, SSIM of every reconstruction; inputs lie in [0, 1]."""
    truth, drawn = x.numpy(), x_hat.numpy()
    scores = {"psnr": metrics.psnr(truth, drawn, data_range=1.0)}
    if x.dim() == 4 and min(x.shape[2:]) >= 7:
        scores["ssim"] = np.concatenate(
            [metrics.ssim(t, d, data_range=1.0) for t, d in zip(_chunks(truth), _chunks(drawn), strict=True)]
        )
    return scores


def reference(observed: Observed, corpus: Corpus, threat: Threat, seed: int) -> Evidence:
    """The floors, from the undefended observation: what an adversary reaches without any payload."""
    evidence = Evidence()
    answers = corpus.n_classes(corpus.target)
    for attribute in corpus.hidden:
        classes = corpus.n_classes(attribute)
        aux = some(np.flatnonzero(corpus.aux_train.s[attribute] >= 0), threat.labels, seed)
        s, answer, victims = (
            corpus.aux_train.s[attribute][aux],
            observed.answers["aux_train"][aux],
            observed.answers["victim"],
        )
        name = f"floor/{attribute}"
        evidence.arrays[f"{name}/majority"] = floors.majority(s, classes, len(victims)).numpy()
        evidence.arrays[f"{name}/label_only"] = floors.label_only(s, answer, victims, classes, answers).numpy()
        if threat.side:
            sizes = [answers, *(corpus.n_classes(a) for a in threat.side)]
            known = [floors.one_hot([a, *(part.s[n][rows] for n in threat.side)], sizes) for a, part, rows in (
                (answer, corpus.aux_train, aux), (victims, corpus.victim, np.arange(len(victims))))]  # fmt: skip
            evidence.arrays[f"{name}/imputation"] = floors.imputation(s, known[0], known[1], classes).numpy()
    x = inputs(corpus.victim.x)
    for metric, values in picture_scores(floors.mean_image(inputs(corpus.aux_train.x), len(x)), x).items():
        evidence.arrays[f"floor/input/mean_image/{metric}"] = values
    return evidence


def _keep_pictures(
    evidence: Evidence, name: str, drawn: Tensor, victims: Part, drawn_val: Tensor, val: Tensor
) -> dict[str, float]:
    for metric, values in picture_scores(drawn, inputs(victims.x)).items():
        evidence.arrays[f"score/input/{name}/{metric}"] = values
    if drawn.dim() == 4:
        evidence.arrays[f"picture/{name}"] = (
            (drawn[shown(len(victims))] * 255).round().clamp(0, 255).to(torch.uint8).numpy()
        )
    return {metric: float(values.mean()) for metric, values in picture_scores(drawn_val, val).items()}


def shown(n: int) -> list[int]:
    """Which victims' pictures a report shows: evenly spaced, never chosen by score."""
    return [int(i) for i in np.linspace(0, n - 1, min(PICTURES, n))]


def _chunks(values: Array) -> list[Array]:
    return [values[i : i + 512] for i in range(0, len(values), 512)]
