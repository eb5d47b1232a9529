"""Runs to results: select the headline on aux_val, put every number beside its floor and interval, raise the flags."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from privet.auditing.checks import Check
from privet.auditing.estimate import Estimate
from privet.auditing.flags import FLAGS
from privet.auditing.tables import TARGET
from privet.metrics import collapsed
from privet.payload import Array
from privet.report.bounds import bounds
from privet.report.groups import Analysis, analyses
from privet.report.judged import judged
from privet.report.persons import linked, many
from privet.report.results import Bound, Results, Row
from privet.report.runs import INPUT, Runs
from privet.report.spending import learned, purses
from privet.run import Run

RESOLVED = 1000  # people, of whom one is .1 %
FEW_VICTIMS = 100


def results(plan: dict[str, Any], finished: dict[tuple[str, int], Run]) -> Results:
    """Everything a finished (or interrupted) study says."""
    runs = Runs(plan, finished)
    checks = tuple(Check(**c) for s in runs.seeds for c in runs.runs[runs.reference, s].record["results"]["checks"])
    found, grouped = bounds(runs), analyses(runs)
    rows = tuple(row for defense in runs.defenses for row in _rows(runs, defense, checks, found, grouped))
    goals = dict.fromkeys((row.attribute, row.metric) for row in rows)
    floors: dict[str, dict[str, dict[str, Estimate]]] = {}
    for goal, metric in goals:
        floors.setdefault(goal, {})[metric] = {
            n: c.estimate() for n, c in runs.floors(goal, metric, runs.reference).items()
        }
    raised = dict.fromkeys(flag for row in rows for flag in row.flags)
    drawn = {d: _pictures(runs, d) for d in runs.defenses}
    return Results(
        title=str(plan["title"]),
        command=str(plan["command"]),
        folder=str(plan["folder"]),
        data=plan["data"],
        model=str(plan["model"]),
        at=str(plan["at"]),
        cut_shape=tuple(runs.first.record["results"]["cut_shape"]),
        threat=plan["threat"],
        effort=str(plan["effort"]),
        seeds=tuple(runs.seeds),
        rows=rows,
        floors=floors,
        checks=checks,
        flags={f: {"explanation": FLAGS[f].explanation, "what_to_do": FLAGS[f].what_to_do} for f in raised},
        defenses=tuple(runs.defenses),
        guarantees={d: _guarantee(runs.of(d)[0]) for d in runs.defenses},
        logs={d: runs.of(d)[0].record["results"]["fit"] for d in runs.defenses},
        originals=runs.first.arrays.get("victim/pictures"),
        reconstructions={d: p[1] for d, p in drawn.items() if p},
        reconstruction_by={d: p[0] for d, p in drawn.items() if p},
        unfinished=_unfinished(plan, finished),
        refused=tuple(f"{r['defense']}, seed {r['seed']}: {r['why']}" for r in _refused(plan, finished)),
        seconds=float(sum(r.record["seconds"] for r in finished.values())),
        versions=dict(runs.first.record["versions"]),
        digest=_digest(finished),
        left_out=dict(runs.first.record["results"]["left_out"]),
        bounds=found,
        groups=grouped,
        purses=purses(runs),
        curves=learned(runs),
        many=many(runs),
        linked=linked(runs),
        scale=_scale(plan),
    )


def _rows(
    runs: Runs, defense: str, checks: tuple[Check, ...], bounds: tuple[Bound, ...], grouped: tuple[Analysis, ...]
) -> Iterator[Row]:
    own = runs.of(defense)
    by_group = {(g.attribute, "accuracy"): g for g in grouped if g.defense == defense}
    certified = {(b.attribute, b.metric): b.bound for b in bounds if b.defense == defense and b.among is None}
    seed_set = [s for s in runs.seeds if (defense, s) in runs.runs]
    utility = runs.cell(defense, TARGET, "answer", "accuracy").estimate() if runs.answered(defense) else None
    scaled = _scale(runs.plan) is not None
    common = _common_flags(runs, own, utility, len(seed_set))
    for goal in (*(h["name"] for h in runs.plan["data"]["hidden"]), INPUT):
        heads: dict[str, str] = {}
        for attack, metric in (*runs.scores(goal), *runs.own(defense, goal)):
            heads.setdefault(metric, runs.headline(defense, goal, metric))
            best = runs.headline(runs.reference, goal, metric)
            value = runs.cell(defense, goal, attack, metric)
            floor = runs.floor(goal, metric, defense)
            raw = runs.cell(runs.reference, goal, best, metric, defense)
            undefended, ground = raw.estimate(), floor.estimate()
            hidden = not scaled or raw.minus(floor).low > 0
            mean = value.estimate()
            span = undefended.mean - ground.mean
            is_head = attack == heads[metric]
            flags = [*common, *_goal_flags(runs, goal, attack, checks)]
            flags += ["nothing_to_hide"] if not hidden else []
            flags += ["above_undefended"] if defense != runs.reference and value.minus(raw).low > 0 else []
            advantage = value.minus(floor)
            flags += ["below_floor"] if is_head and advantage.high < 0 else []
            flags += _adversary_flags(runs, own, goal, attack)
            flags += ["few_victims"] if mean.n < FEW_VICTIMS else []
            flags += ["unresolved"] if metric == "tpr_at_tenth_fpr" and _others(runs, goal) < RESOLVED else []
            yield Row(
                data=str(runs.plan["data"]["name"]),
                model=str(runs.plan["model"]),
                at=str(runs.plan["at"]),
                defense=defense,
                attack=attack,
                goal="reconstruct" if goal == INPUT else "attribute",
                threat=str(runs.plan["threat"]["name"]),
                attribute=goal,
                metric=metric,
                value=mean,
                floor=ground,
                undefended=undefended if scaled else None,
                normalized=(mean.mean - ground.mean) / span if scaled and hidden and span > 0 else None,
                utility=utility,
                payload_bytes=int(own[0].record["results"]["payload_bytes"]),
                edge_macs=own[0].record["results"]["edge_macs"],
                seeds=len(seed_set),
                flags=tuple(dict.fromkeys(flags)),
                headline=is_head,
                certified=certified.get((goal, metric)),
                advantage=advantage,
                groups=by_group.get((goal, metric)) if is_head else None,
                judged=judged(runs, defense, attack) if (goal, metric) == (INPUT, "psnr") else (),
            )


def _scale(plan: dict[str, Any]) -> str | None:
    """What the reference is called; None where a recording stands alone and there is no scale."""
    name = plan.get("scale", "undefended")
    return None if name is None else str(name)


def _common_flags(runs: Runs, own: list[Run], utility: Estimate | None, seeds: int) -> list[str]:
    flags = [f for f in runs.plan["data"]["flags"] if f in FLAGS]
    labels = runs.first.arrays["victim/target"]
    majority = float(np.bincount(labels[labels >= 0], minlength=1).max()) / max(1, int((labels >= 0).sum()))
    results = [run.record["results"] for run in own]
    raised = {
        "one_seed": seeds == 1,
        "quick_effort": runs.plan["effort"] == "quick",
        "utility_lost": utility is not None and utility.low <= majority,
        "single_query": any(r["stochastic"] for r in results) and runs.plan["threat"]["name"] != "repeated",
        "shared_noise": any(r["shared_noise"] for r in results),
        "saturated": any(r["saturated"] for r in results),
        "payload_chunked": any(r.get("chunked") for r in results),
        "unfinished": seeds < len(runs.plan["seeds"]),
    }
    fitted = dict.fromkeys(flag for r in results for flag in r.get("flags", ()))
    return flags + list(fitted) + [flag for flag, is_raised in raised.items() if is_raised]


def _goal_flags(runs: Runs, goal: str, attack: str, checks: tuple[Check, ...]) -> list[str]:
    raised = []
    mine = [c for c in checks if c.attribute == goal and not c.passed]
    if any(c.decisive for c in mine):
        raised.append("calibration_failed")
    if any(not c.decisive and c.attack == attack for c in mine):
        raised.append("weak_attack")
    if goal != INPUT:
        labels = runs.first.arrays[f"victim/hidden/{goal}"]
        values = next(len(h["classes"]) for h in runs.plan["data"]["hidden"] if h["name"] == goal)
        counts = np.bincount(labels[labels >= 0], minlength=values)
        raised += ["small_class"] if counts.min() < 20 else []
    return raised


def _others(runs: Runs, goal: str) -> int:
    """How many people do not hold the most frequent value of an attribute."""
    labels = runs.first.arrays[f"victim/hidden/{goal}"]
    counts = np.bincount(labels[labels >= 0])
    return int(counts.sum() - counts.max())


def _adversary_flags(runs: Runs, own: list[Run], goal: str, attack: str) -> list[str]:
    raised = []
    logs = [run.record["results"]["logs"].get(f"{goal}/{attack}", {}) for run in own]
    if sum(bool(log.get("underfit")) for log in logs) * 2 > len(logs):
        raised.append("underfit")
    if goal != INPUT:
        labels = runs.first.arrays[f"victim/hidden/{goal}"]
        known = labels >= 0
        named = [run.arrays[runs.posterior(goal, attack)][known].argmax(1) for run in own]
        raised += ["collapsed"] if any(collapsed(n, labels[known]) is not None for n in named if n.size) else []
    return raised


def _pictures(runs: Runs, defense: str) -> tuple[str, Array] | None:
    run = runs.of(defense)[0]
    if not any(key.startswith("picture/") for key in run.arrays):
        return None
    attack = runs.headline(defense, INPUT, "psnr")
    return attack, run.arrays[f"picture/{attack}"]


def _guarantee(run: Run) -> str:
    results = run.record["results"]
    return str(results["guarantee"] or f"promises nothing: {results['no_guarantee']}")


def _unfinished(plan: dict[str, Any], finished: dict[tuple[str, int], Run]) -> tuple[str, ...]:
    refused = {(r["defense"], r["seed"]) for r in _refused(plan, finished)}
    trials = [(d, s) for d in plan["defenses"] for s in plan["seeds"]]
    return tuple(f"{d}, seed {s}" for d, s in trials if (d, s) not in finished and (d, s) not in refused)


def _refused(plan: dict[str, Any], finished: dict[tuple[str, int], Run]) -> list[dict[str, Any]]:
    return [r for r in plan.get("refused", ()) if (r["defense"], r["seed"]) not in finished]


def _digest(finished: dict[tuple[str, int], Run]) -> str:
    import hashlib

    return hashlib.sha256("".join(finished[key].digest for key in sorted(finished)).encode()).hexdigest()


def read_runs(plan: dict[str, Any], folder: Path, *, any_version: bool = False) -> dict[tuple[str, int], Run]:
    """The finished trials that a plan names."""
    from privet import run

    found: dict[tuple[str, int], Run] = {}
    for trial in plan["trials"]:
        done = run.read(folder / "runs" / trial["name"], any_version=any_version)
        if done:
            found[trial["defense"], trial["seed"]] = done
    return found
