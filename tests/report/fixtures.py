"""Synthetic but plausible studies for the tests of the report: no trained network, every number drawn from a seed."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np

from privet.auditing.checks import Check
from privet.auditing.estimate import Estimate
from privet.auditing.flags import FLAGS
from privet.report.crowds import Crowd, Guesses
from privet.report.groups import Analysis, analyze, sides
from privet.report.results import Results, Row

ATTACKS = ("linear_probe", "mlp_probe", "server_probe", "boosted_trees")
OTHER = {
    "balanced_accuracy": (0.20, 0.55),
    "auc": (0.50, 0.86),
    "bits": (0.0, 0.71),
    "coverage_at_95_precision": (0.0, 0.22),
    "tpr_at_1_fpr": (0.01, 0.31),
}
HOSTILE = "<script>window.hacked=1</script>"


def rate(mean: float, half: float = 0.018, n: int = 4626) -> Estimate:
    """A rate in [0, 1] with a symmetric interval, cut at the ends."""
    mean = min(max(mean, 0.0), 1.0)
    return Estimate(mean, max(0.0, mean - half), min(1.0, mean + half), n)


def free(mean: float, half: float, n: int = 4626) -> Estimate:
    """A number on any scale with a symmetric interval."""
    return Estimate(mean, mean - half, mean + half, n)


def attribute(name: str, frequencies: dict[str, float]) -> dict[str, Any]:
    """As privet.data.describe tells of an attribute."""
    return {
        "name": name,
        "classes": list(frequencies),
        "victim_frequencies": list(frequencies.values()),
        "victim_missing": 0,
    }


def description(
    name: str, kind: str, shape: tuple[int, ...], target: Any, hidden: list[Any], **more: Any
) -> dict[str, Any]:
    """As privet.data.describe tells of a corpus."""
    examples = {"task_train": 5761, "task_val": 1440, "aux_train": 5762, "aux_val": 1440, "victim": 4626}
    return {
        "name": name,
        "kind": kind,
        "shape": list(shape),
        "examples": examples,
        "groups": {k: v - 57 for k, v in examples.items()},
        "target": target,
        "hidden": hidden,
        "side": [],
        "dependence": {h["name"]: 0.004 + 0.031 * i for i, h in enumerate(hidden)},
        "notes": ["Near-duplicates are kept in one part: 57 groups of two or more pictures."],
        "flags": [],
        "digest": "9f8a" * 16,
    } | more


def findings(
    base: dict[str, Any],
    hidden: dict[str, tuple[float, float]],
    kept: dict[str, float],
    utility: dict[str, float],
    rng: np.random.Generator,
) -> list[Row]:
    """Rows of every defense, attribute, attack and metric; `hidden` holds floor and undefended, `kept` leakage."""
    rows = []
    for position, (name, (floor, raw)) in enumerate(hidden.items()):
        scales = {"accuracy": (floor, raw)} | {
            m: (lo, lo + (hi - lo) * (0.0 if raw - floor < 0.02 else min(1.0, (raw - floor) * 5)))
            for m, (lo, hi) in OTHER.items()
        }
        for defense, keep in kept.items():
            best = ATTACKS[(position + len(defense)) % len(ATTACKS)]
            share = min(1.0, max(0.0, keep * (1 - 0.25 * position / max(1, len(hidden))))) if defense != "none" else 1.0
            for attack in ATTACKS:
                loss = 0.0 if attack == best else float(rng.uniform(0.02, 0.2))
                for metric, (low, high) in scales.items():
                    span = high - low
                    value = low + span * max(share - loss, -0.02)
                    half = 0.016 if metric != "bits" else 0.03
                    make = free if metric == "bits" else rate
                    empty = span < 0.02
                    flags = (
                        ("nothing_to_hide",)
                        if empty
                        else (("underfit",) if attack == "mlp_probe" and keep < 0.5 else ())
                    )
                    rows.append(
                        Row(
                            **base,
                            defense=defense,
                            attack=attack,
                            goal="attribute",
                            attribute=name,
                            metric=metric,
                            value=make(value, half),
                            floor=make(low, half * 0.8),
                            undefended=make(high, half),
                            normalized=None if empty else (value - low) / span,
                            utility=rate(utility[defense], 0.011),
                            payload_bytes=int(40 + 4608 * keep),
                            edge_macs=int(1_204_000 * (1.2 - 0.2 * keep)),
                            seeds=3,
                            flags=flags,
                            headline=attack == best,
                            advantage=free(value - low, half),
                        )
                    )
    return rows


def rebuilt(base: dict[str, Any], kept: dict[str, float], utility: dict[str, float]) -> list[Row]:
    """Rows of reconstruction: mean image 14.2 dB, undefended 23.8 dB."""
    rows = []
    for defense, keep in kept.items():
        for attack, loss in (("decoder", 0.0), ("gradient_inversion", 0.3)):
            for metric, low, high, half in (("psnr", 14.2, 23.8, 0.25), ("ssim", 0.24, 0.83, 0.012)):
                share = max(0.0, (1.0 if defense == "none" else keep * 0.8) - loss)
                rows.append(
                    Row(
                        **base,
                        defense=defense,
                        attack=attack,
                        goal="reconstruct",
                        attribute="input",
                        metric=metric,
                        value=free(low + (high - low) * share, half),
                        floor=free(low, half / 2),
                        undefended=free(high, half),
                        normalized=share,
                        utility=rate(utility[defense], 0.011),
                        payload_bytes=int(40 + 4608 * keep),
                        edge_macs=int(1_204_000 * (1.2 - 0.2 * keep)),
                        seeds=3,
                        flags=(),
                        headline=attack == "decoder",
                        advantage=free((high - low) * share, half),
                    )
                )
    return rows


def faces(n: int, size: int, rng: np.random.Generator) -> np.ndarray:
    """Cartoon heads, uint8 [n, 3, size, size]: ellipse, two eyes, a mouth, on a gradient."""
    grid = np.linspace(-1, 1, size)
    yy, xx = np.meshgrid(grid, grid, indexing="ij")
    out = np.empty((n, 3, size, size))
    for i in range(n):
        skin, back, hair = (
            rng.uniform(0.45, 0.95, 3) * [1, 0.8, 0.65],
            rng.uniform(0.1, 0.9, 3),
            rng.uniform(0.05, 0.4, 3),
        )
        dx, dy = rng.uniform(-0.12, 0.12, 2)
        face = ((xx - dx) / 0.55) ** 2 + ((yy - dy) / 0.74) ** 2 < 1
        top = (((xx - dx) / 0.66) ** 2 + ((yy - dy + 0.16) / 0.8) ** 2 < 1) & ~(face & (yy - dy > -0.42))
        eyes = (((np.abs(xx - dx) - 0.22) / 0.08) ** 2 + ((yy - dy + 0.12) / 0.06) ** 2) < 1
        mouth = (((xx - dx) / 0.24) ** 2 + ((yy - dy - 0.38) / rng.uniform(0.04, 0.1)) ** 2) < 1
        shade = 1 - 0.25 * (xx - dx)
        picture = back[:, None, None] * (0.75 + 0.25 * yy)
        picture = np.where(face, skin[:, None, None] * shade, picture)
        picture = np.where(top, hair[:, None, None], picture)
        picture = np.where(eyes & face, 0.08, picture)
        out[i] = np.where(mouth & face, np.array([0.6, 0.2, 0.22])[:, None, None], picture)
    return (out.clip(0, 1) * 255).astype(np.uint8)


def blurred(x: np.ndarray, keep: float, rng: np.random.Generator) -> np.ndarray:
    """What an attack rebuilds: the pictures mixed with their mean and smoothed, the more the less is kept."""
    soft = x.astype(float)
    for _ in range(int(14 * (1 - keep)) + 1):
        soft = (soft + np.roll(soft, 1, 2) + np.roll(soft, -1, 2) + np.roll(soft, 1, 3) + np.roll(soft, -1, 3)) / 5
    mixed = keep * soft + (1 - keep) * soft.mean(0, keepdims=True) + rng.normal(0, 2, x.shape)
    return mixed.clip(0, 255).astype(np.uint8)


def calibration(hidden: list[str], pictures: bool, failing: str = "") -> tuple[Check, ...]:
    """Every attack against the constant and the planted bit; `failing` is an attribute with a blind linear probe."""
    checks = []
    for name in hidden:
        for attack in ATTACKS:
            blind = name == failing and attack == "linear_probe"
            checks.append(Check("constant", attack, name, "accuracy", 0.428, "at most 0.461", True, 0))
            found = 0.613 if blind else 0.994
            checks.append(Check("planted_bit", attack, name, "accuracy", found, "at least 0.900", not blind, 0))
    if pictures:
        checks.append(Check("identity", "decoder", "input", "psnr", 27.9, "at least 20.200", True, 0))
    return tuple(checks)


@cache
def crowds(attribute: str, names: tuple[str, ...], kept: tuple[tuple[str, float], ...]) -> tuple[Analysis, ...]:
    """The groups of 240 people under every defense, the reference first; the first value is served worse, the last one
    is held by five. A defense that keeps nothing has a collapsed adversary."""
    generator = np.random.default_rng(len(attribute))
    s, y = generator.integers(0, max(1, len(names) - 1), 240), generator.integers(0, 2, 240)
    s[:5] = len(names) - 1
    found = []
    for _, keep in kept:
        answers = np.where(generator.random(240) < np.where(s == 0, 0.75, 0.9), y, 1 - y)
        named = np.where(generator.random(240) < keep, s, 0 if keep < 0.03 else generator.integers(0, len(names), 240))
        found.append(Guesses("mlp_probe", [answers], [named]))
    every = sides(Crowd(names, s, y, np.arange(240), "yes"), found, 20)
    return tuple(analyze(side, every[0], d, attribute) for side, (d, _) in zip(every, kept, strict=True))


def study(
    *,
    hidden: dict[str, tuple[float, float]],
    kept: dict[str, float],
    utility: dict[str, float],
    data: dict[str, Any],
    pictures: bool = False,
    failing: str = "",
    guarantees: dict[str, str] | None = None,
    **more: Any,
) -> Results:
    """A whole Results; `more` replaces its fields."""
    rng = np.random.default_rng(7)
    base = {"data": data["name"], "model": "cnn", "at": "flatten", "threat": "server"}
    rows = findings(base, hidden, kept, utility, rng) + (rebuilt(base, kept, utility) if pictures else [])
    originals = faces(8, 50, rng) if pictures else None
    raised = {f for r in rows for f in r.flags} | ({"calibration_failed"} if failing else set()) | set(data["flags"])
    fields: dict[str, Any] = {
        "title": f"What {data['name']} still tells at flatten",
        "command": f"privet audit --data {data['name']} --hidden {','.join(hidden)} --seeds 3",
        "folder": "runs/4be1",
        "data": data,
        "model": "cnn",
        "at": "flatten",
        "cut_shape": (64, 6, 6),
        "threat": {
            "name": "server",
            "paragraph": "The server is honest but curious: it answers as agreed and keeps every payload. It knows "
            "both halves and the obfuscator, and owns people of its own whose inputs and hidden attributes it knows.",
        },
        "effort": "standard",
        "seeds": (0, 1, 2),
        "rows": tuple(rows),
        "floors": {
            a: {"accuracy": {"majority": rate(lo), "label_only": rate(lo - 0.004)}} for a, (lo, _) in hidden.items()
        }
        | ({"input": {"psnr": {"mean_image": free(14.2, 0.12)}}} if pictures else {}),
        "checks": calibration(list(hidden), pictures, failing),
        "flags": {f: {"explanation": FLAGS[f].explanation, "what_to_do": FLAGS[f].what_to_do} for f in sorted(raised)},
        "defenses": tuple(kept),
        "guarantees": guarantees
        or dict.fromkeys(kept, "promises nothing, because a deterministic map of the input is measured, not bounded"),
        "logs": {d: {"kept": round(k, 2)} for d, k in kept.items()},
        "originals": originals,
        "reconstructions": {} if originals is None else {d: blurred(originals, k, rng) for d, k in kept.items()},
        "reconstruction_by": dict.fromkeys(kept, "decoder") if pictures else {},
        "unfinished": (),
        "seconds": 1843.2,
        "versions": {"python": "3.11.9", "privet": "0.1.0", "torch": "2.13.0", "numpy": "2.1.0"},
        "digest": "c0ffee" * 10 + "c0ff",
        "left_out": {"gradient_inversion": "needs architecture, which the threat 'eavesdropper' does not grant"},
        "groups": tuple(
            found
            for h in data["hidden"]
            if h["name"] in hidden
            for found in crowds(h["name"], tuple(h["classes"]), tuple(kept.items()))
        ),
    }
    return Results(**(fields | more))


RACE = {"White": 0.43, "Black": 0.19, "Asian": 0.14, "Indian": 0.17, "Other": 0.07}
AGES = {"0-9": 0.14, "10-19": 0.08, "20-29": 0.31, "30-39": 0.19, "40-49": 0.1, "50-59": 0.1, "60+": 0.08}


def utk(**more: Any) -> Results:
    """Faces: gender is asked, race and age are hidden, pictures are rebuilt; three defenses beside the reference."""
    data = description(
        "utkface",
        "image",
        (3, 50, 50),
        attribute("gender", {"male": 0.53, "female": 0.47}),
        [attribute("race", RACE), attribute("age_group", AGES)],
    )
    kept = {"none": 1.0, "signal_content:keep=8": 0.9, "gaussian:sigma=.5": 0.55, "label_only": 0.0}
    utility = {"none": 0.884, "signal_content:keep=8": 0.881, "gaussian:sigma=.5": 0.842, "label_only": 0.884}
    bound = "At most 1 bit leaves the edge: no guess of anything about a person improves more than twofold."
    promises = dict.fromkeys(kept, "promises nothing, because its noise or pruning is measured, not bounded") | {
        "label_only": bound
    }
    return study(
        hidden={"race": (0.43, 0.63), "age_group": (0.31, 0.47)},
        kept=kept,
        utility=utility,
        data=data,
        pictures=True,
        guarantees=promises,
        **more,
    )


def table(**more: Any) -> Results:
    """A table without pictures: one hidden attribute, two defenses, one of which destroys the answer."""
    data = description(
        "adult",
        "table",
        (108,),
        attribute("income", {"<=50K": 0.76, ">50K": 0.24}),
        [attribute("sex", {"Male": 0.67, "Female": 0.33})],
    )
    kept, utility = (
        {"none": 1.0, "disco:ratio=.6": 0.4, "gaussian:sigma=4": 0.02},
        {"none": 0.853, "disco:ratio=.6": 0.848, "gaussian:sigma=4": 0.766},
    )
    return study(hidden={"sex": (0.67, 0.79)}, kept=kept, utility=utility, data=data, **more)


def uncalibrated() -> Results:
    """As faces, but the linear probe did not find the bit planted for race."""
    return utk(checks=calibration(["race", "age_group"], True, "race"))


def empty() -> Results:
    """Nothing to hide: the undefended attack touches the floor."""
    data = description(
        "digits",
        "image",
        (1, 8, 8),
        attribute("digit", {str(i): 0.1 for i in range(10)}),
        [attribute("source", {"a": 0.5, "b": 0.5})],
    )
    return study(
        hidden={"source": (0.50, 0.51)},
        kept={"none": 1.0, "gaussian:sigma=1": 0.5},
        utility={"none": 0.97, "gaussian:sigma=1": 0.93},
        data=data,
    )


def hostile() -> Results:
    """Names that would run if they were not escaped, in every place where data may put a name."""
    classes = {HOSTILE: 0.6, "'\"><img src=x onerror=alert(1)>": 0.4}
    name, defense = f"sex{HOSTILE}", f"gaussian:{HOSTILE}"
    data = description(
        f"set{HOSTILE}",
        "image",
        (3, 50, 50),
        attribute(f"y{HOSTILE}", classes),
        [attribute(name, classes)],
        notes=[HOSTILE],
    )
    return study(
        hidden={name: (0.5, 0.7)},
        kept={"none": 1.0, defense: 0.5},
        utility={"none": 0.9, defense: 0.88},
        data=data,
        pictures=True,
        title=HOSTILE,
        command=f"privet audit --data '{HOSTILE}'",
        threat={"name": HOSTILE, "paragraph": HOSTILE},
        unfinished=(HOSTILE,),
        guarantees={"none": HOSTILE, defense: HOSTILE},
        logs={"none": {HOSTILE: HOSTILE}},
        versions={HOSTILE: HOSTILE},
        left_out={HOSTILE: HOSTILE},
        flags={HOSTILE: {"explanation": HOSTILE, "what_to_do": HOSTILE}},
        checks=(Check(HOSTILE, HOSTILE, name, "accuracy", 0.1, HOSTILE, False, 0),),
    )


def crowded() -> Results:
    """Twelve defenses and eight attributes."""
    names = ["gender", "young", "smiling", "makeup", "lipstick", "cheekbones", "mouth_open", "glasses"]
    rng = np.random.default_rng(3)
    hidden = {n: (f := float(rng.uniform(0.5, 0.8)), f + float(rng.uniform(0.05, 0.19))) for n in names}
    specs = [
        "none",
        *(f"disco:ratio=.{r},alpha=.5" for r in (2, 4, 6, 8)),
        *(f"gaussian:sigma={s}" for s in (0.1, 0.3, 1, 3)),
    ]
    specs += ["signal_content:keep=8", "label_only", "gaussian:sigma=.1+disco:ratio=.6,alpha=.5"]
    kept = {
        d: float(k) for d, k in zip(specs, [1, 0.9, 0.8, 0.6, 0.3, 0.95, 0.7, 0.4, 0.05, 0.5, 0.0, 0.35], strict=True)
    }
    utility = {d: 0.91 - 0.06 * (1 - k) ** 2 - 0.01 * float(rng.uniform()) for d, k in kept.items()}
    data = description(
        "celeba",
        "image",
        (3, 64, 64),
        attribute("attractive", {"no": 0.52, "yes": 0.48}),
        [attribute(n, {"no": hidden[n][0], "yes": 1 - hidden[n][0]}) for n in names],
    )
    return study(hidden=hidden, kept=kept, utility=utility, data=data, pictures=True)


def unfinished() -> Results:
    """Stopped after one seed."""
    told = (
        "gaussian:sigma=.5 with seed 1 did not start, because the study was stopped.",
        "All trials of seed 2 did not start.",
    )
    extra = {
        f: {"explanation": FLAGS[f].explanation, "what_to_do": FLAGS[f].what_to_do} for f in ("one_seed", "unfinished")
    }
    return utk(seeds=(0,), unfinished=told, flags=extra)


ALL = {f.__name__: f for f in (utk, table, uncalibrated, empty, hostile, crowded, unfinished)}
