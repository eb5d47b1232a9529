"""Finished runs as options of a plan: what each defended split of a study was measured to keep, to leak and to cost.

The owner's figures are shares without their people, so nothing pairs them. Of N groups, of whom the reference is right
about a share a and the defended split about b, those whom only one of them is right about are at most
|a - b| + 2 min(a, b, 1 - a, 1 - b), whence the interval of the drop a - b: it holds however the two are paired, and is
wider than a paired one."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
import torch

from privet import cost, models
from privet import study as studies
from privet.auditing.estimate import Estimate, estimate, paired
from privet.auditing.tables import TARGET
from privet.errors import RunError
from privet.payload import Array
from privet.planner import device as devices
from privet.report.results import Results, Row
from privet.report.runs import INPUT, Runs
from privet.report.view import over
from privet.split import split

PROMISED = ("nats", "epsilon")  # what the fit of a method that promises something logs of it
ANYBODY = "%"  # the unit of the bound on every attacker's accuracy
OWNER, VICTIMS = "owner", "victims"
RECORDED = "recorded"  # the model of a study of payloads that somebody else made


@dataclass(frozen=True)
class Option:
    """One defended split: a cut, a method and its strength, with what finished runs say of it.

    accuracy, drop: of the target, on the people of `judged_on`; drop is the undefended accuracy minus this one, None
    where there is no reference. advantage: of the strongest attack (selected on the adversary's own people) over the
    best floor, of the hidden attribute where its interval reaches highest; None where none was attacked. psnr: of the
    strongest reconstruction in dB, None where inputs were not attacked. certificates: by unit what is promised of every
    attacker: `%` the accuracy that none exceeds on any attribute, `nats` and `epsilon` those of the method. ms: of the
    edge, None where it was not asked for or nobody knows what made the payload. untrusted: the quantities whose
    attacks failed their calibration."""

    folder: str
    at: str
    defense: str
    reference: bool
    judged_on: str
    accuracy: Estimate
    drop: Estimate | None
    advantage: Estimate | None
    attribute: str
    attack: str
    psnr: Estimate | None
    certificates: dict[str, float]
    payload_bytes: int
    edge_macs: int | None
    seeds: int
    flags: tuple[str, ...]
    untrusted: tuple[str, ...] = ()
    ms: float | None = None

    @property
    def name(self) -> str:
        """As a sentence names it."""
        return f"{self.defense} at {self.at}" if self.at else self.defense


@dataclass(frozen=True)
class Finished:
    """A folder's options and its plan; the results are those of its own page."""

    folder: str
    runs: Runs
    results: Results
    options: tuple[Option, ...]


def read(folder: Path, *, any_version: bool = False) -> Finished:
    """The options of a study's folder (or of its plan). RunError where it is not one, holds nothing that is finished,
    or was made by another version; where nobody recorded how well the target is answered."""
    runs, results = studies.runs(folder, any_version=any_version), studies.collect(folder, any_version=any_version)
    return judged(runs, results, str(folder))


def judged(runs: Runs, results: Results, folder: str) -> Finished:
    """The options of a study that was read; RunError where nobody recorded how well the target is answered."""
    if not all(runs.answered(d) for d in runs.defenses):
        raise RunError(
            f"{folder} does not say how well the target is answered, so there is nothing to choose by; record the "
            "answers and the true classes with the payloads"
        )
    by = OWNER if all(_shares(runs, d) for d in runs.defenses) else VICTIMS
    return Finished(folder, runs, results, tuple(_option(runs, results, d, by, folder) for d in runs.defenses))


def timed(finished: Finished) -> Finished:
    """The same with milliseconds a picture on this device: the edge up to the cut as ONNX Runtime runs it on one
    thread (its weights do not matter for that), and of each defense in proportion to the multiply-accumulates that its
    runs recorded. Unknown where nobody knows what made the payload. Raises the errors of `privet.models.load`."""
    setting, about = finished.runs.first.record["setting"], finished.runs.plan["data"]
    if setting["model"] == RECORDED or any(o.edge_macs is None for o in finished.options):
        return finished
    shape = tuple(about["shape"])
    model = models.load(setting["model"], shape=shape, classes=len(about["target"]["classes"])).eval()
    edge = split(model, torch.zeros(2, *shape), setting["at"]).edge
    ms, macs = devices.milliseconds(edge, shape), cost.macs(edge, torch.zeros(1, *shape))
    return replace(
        finished, options=tuple(replace(o, ms=ms * (o.edge_macs or 0) / max(1, macs)) for o in finished.options)
    )


def shares(values: Sequence[float], groups: int) -> Estimate:
    """A share that was counted once a seed among so many groups (binomial), with the seeds' spread."""
    return estimate([_spread(v, v * (1 - v) / groups) for v in values], groups, (0.0, 1.0), groups)


def fall(before: Sequence[float], after: Sequence[float], groups: int) -> Estimate:
    """The difference of two shares, seed by seed, of the same groups, however they are paired."""
    rows = []
    for a, b in zip(before, after, strict=True):
        differ = abs(a - b) + 2 * min(a, b, 1 - a, 1 - b)
        rows.append(_spread(a - b, max(0.0, differ - (a - b) ** 2) / groups))
    return paired(rows, [np.zeros(3) for _ in rows], groups, (-1.0, 1.0), groups)


def _spread(value: float, variance: float) -> Array:
    """A statistic with two replicates of this variance, as `estimate` takes it."""
    half = math.sqrt(variance / 2)
    return np.array([value, value - half, value + half])


def _shares(runs: Runs, defense: str) -> list[float]:
    """The owner's accuracy of each seed; empty where a seed does not hold it."""
    found = [run.record["results"].get("task_val_accuracy") for run in runs.of(defense)]
    return [] if any(v is None or not math.isfinite(v) for v in found) else [float(v) for v in found]


def _target(runs: Runs, defense: str, by: str) -> tuple[Estimate, Estimate | None]:
    """Accuracy of the target, and how far it falls below the reference's."""
    scaled = runs.plan.get("scale", "undefended") is not None
    if by == VICTIMS:
        own, base = (runs.cell(d, TARGET, "answer", "accuracy", defense) for d in (defense, runs.reference))
        return own.estimate(), base.minus(own) if scaled else None
    groups = int(runs.plan["data"]["groups"]["task_val"])
    own_shares = _shares(runs, defense)
    accuracy = shares(own_shares, groups)
    if defense == runs.reference:
        return accuracy, Estimate(0.0, 0.0, 0.0, groups)
    known = [s for s in runs.seeds if (defense, s) in runs.runs]
    before = [float(runs.runs[runs.reference, s].record["results"]["task_val_accuracy"]) for s in known]
    return accuracy, fall(before, own_shares, groups) if scaled else None


def _option(runs: Runs, results: Results, defense: str, by: str, folder: str) -> Option:
    rows = [r for r in results.rows if r.defense == defense and r.headline]
    named = [r for r in rows if r.attribute != INPUT and r.metric == "accuracy"]
    drawn = next((r for r in rows if (r.attribute, r.metric) == (INPUT, "psnr")), None)
    worst = max(named, key=lambda r: over(r).high, default=None)
    failed = {"advantage": any(_broken(r) for r in named), "psnr": drawn is not None and _broken(drawn)}
    first = runs.of(defense)[0].record["results"]
    accuracy, drop = _target(runs, defense, by)
    return Option(
        folder=folder,
        at=str(runs.plan["at"]),
        defense=defense,
        reference=defense == runs.reference,
        judged_on=by,
        accuracy=accuracy,
        drop=drop,
        advantage=over(worst) if worst else None,
        attribute=worst.attribute if worst else "",
        attack=worst.attack if worst else "",
        psnr=drawn.value if drawn else None,
        certificates=_certificates(runs, defense, named),
        payload_bytes=int(first["payload_bytes"]),
        edge_macs=first["edge_macs"],
        seeds=len(runs.of(defense)),
        flags=tuple(dict.fromkeys(f for r in (*named, *((drawn,) if drawn else ())) for f in r.flags)),
        untrusted=tuple(name for name, is_failed in failed.items() if is_failed),
    )


def _broken(row: Row) -> bool:
    return "calibration_failed" in row.flags


def _certificates(runs: Runs, defense: str, named: Sequence[Row]) -> dict[str, float]:
    """What is promised of every attacker, by unit, the worst of attributes and seeds."""
    found = {}
    if named and all(r.certified is not None for r in named):
        found[ANYBODY] = 100 * max(r.certified or 0.0 for r in named)
    logs = [run.record["results"]["fit"] for run in runs.of(defense) if run.record["results"]["guarantee"]]
    for unit in PROMISED if len(logs) == len(runs.of(defense)) else ():
        if all(unit in log for log in logs):
            found[unit] = max(float(log[unit]) for log in logs)
    return found
