"""Planning over finished runs: of all cuts, methods and strengths that were audited, the one that keeps the limits and
the most of the target.

    feasible   the cautious end of every interval within its limit: the upper ends of drop, advantage and PSNR
    chosen     the feasible option with the highest target accuracy; of equals the lower advantage, then fewer bytes

Target accuracy is that of the owner's held-out people where the runs hold it; the victims' then has no say. What is not
known, or rests on attacks that failed their calibration, keeps no limit."""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np

from privet import run
from privet.auditing.estimate import Estimate
from privet.errors import Infeasible, RunError, SpecError
from privet.planner import earlier, finished
from privet.planner.finished import ANYBODY, PROMISED, VICTIMS, Finished, Option
from privet.planner.pareto import undominated

UNITS = {"drop": "points", "advantage": "points", "psnr": "dB", "payload": "bytes", "ms": "ms"}
LACKING = {
    "drop": "have no undefended reference; audit beside one",
    "advantage": "attacked no hidden attribute; audit with --hidden",
    "psnr": "tried no reconstruction; audit with --attack decoder",
    "certificate": "promise nothing in this unit",
    "ms": "say what the edge computes; audit a split of your own",
}


@dataclass(frozen=True)
class Limits:
    """At most so many points of target accuracy lost, points of an attack above the best floor, dB of a reconstruction,
    of what is promised (in its unit), bytes of a payload, milliseconds a picture; None: no limit."""

    drop: float | None = None
    advantage: float | None = None
    psnr: float | None = None
    certificate: float | None = None
    payload: int | None = None
    ms: float | None = None
    unit: str = ANYBODY

    def __post_init__(self) -> None:
        if not self.given:
            raise SpecError(
                "a plan over runs needs a limit: give --max-drop, --max-advantage, --max-psnr, --max-certificate, "
                "--max-payload or --max-ms"
            )
        for name, value in self.given.items():
            if not math.isfinite(value) or value < 0:
                raise SpecError(f"--max-{name} is a number of {self.unit_of(name)} from 0 on, got {value}")

    @property
    def given(self) -> dict[str, float]:
        """The limits that there are, by name."""
        return {k: v for k, v in asdict(self).items() if k != "unit" and v is not None}

    def unit_of(self, name: str) -> str:
        """What a limit is counted in."""
        return UNITS.get(name, self.unit)

    def over(self, told: Mapping[str, float]) -> set[str]:
        """The limits that figures by name are beyond."""
        return {name for name, value in self.given.items() if told[name] > value}


@dataclass(frozen=True)
class Planned:
    """What a plan over runs says. `front` are the options that no other beats in everything by their means; `chosen` is
    None where none keeps the limits, and `refused` then says why."""

    limits: Limits
    studies: tuple[Finished, ...]
    front: tuple[Option, ...]
    chosen: Option | None
    refused: Infeasible | None

    @property
    def options(self) -> tuple[Option, ...]:
        """Everything that was judged, study by study."""
        return tuple(o for study in self.studies for o in study.options)

    def json(self) -> dict[str, Any]:
        """One object as `--json` prints it."""
        why = str(self.refused) if self.refused else lead(self)
        return {
            "feasible": self.chosen is not None,
            "chosen": _json(self.chosen, self.limits) if self.chosen else None,
            "front": [_json(o, self.limits) for o in self.front],
            "options": [_json(o, self.limits) for o in self.options],
            "limits": asdict(self.limits),
            "why": why.replace("**", "").replace("`", ""),
            "cautions": cautions(self),
            "binding": list(self.refused.binding) if self.refused else [],
            "nearest": self.refused.nearest if self.refused else {},
        }


def find(folders: Sequence[Path], limits: Limits, out: Path, *, any_version: bool = False) -> Planned:
    """Judge the runs of these folders, and write plan.json where something keeps the limits.

    Raises RunError for a folder that is no finished study, or for studies that cannot be compared; SpecError for a
    limit on what none of them measured. Where nothing keeps the limits, what is returned says so and nothing is
    written."""
    run.ensure(out)
    with run.locked(out):
        places = {folder.resolve(): folder for folder in folders}
        studies = [finished.read(folder, any_version=any_version) for folder in places.values()]
        _comparable(studies)
        if limits.ms is not None:
            studies = [finished.timed(one) for one in studies]
        made = plan(studies, limits)
        if made.refused:
            return replace(made, refused=earlier.refused(out, made.refused))
        earlier.set_aside(out)
        if made.chosen:
            run.write_text(out / "plan.json", json.dumps(made.json(), indent=1, allow_nan=False))
    return made


def plan(studies: Sequence[Finished], limits: Limits) -> Planned:
    """The choice among the options of these studies. SpecError for a limit on what none of them measured."""
    options = [o for study in studies for o in study.options]
    for name in limits.given:
        if all(math.isinf(told(o, limits)[name]) for o in options) and not any(name in o.untrusted for o in options):
            raise SpecError(
                f"--max-{name} cannot be judged: none of these runs {LACKING[name]}, or leave the limit out"
            )
    feasible = [o for o in options if not limits.over(told(o, limits))]
    chosen = min(feasible, key=_preference, default=None)
    refused = None if chosen else infeasible(options, limits)
    return Planned(limits, tuple(studies), tuple(front(options, limits)), chosen, refused)


def told(option: Option, limits: Limits) -> dict[str, float]:
    """What is held against limits: the cautious ends of intervals; infinite where it is not known, or not trusted."""
    figures = {
        "drop": _points(option.drop),
        "advantage": _points(option.advantage),
        "psnr": option.psnr.high if option.psnr else math.inf,
        "certificate": option.certificates.get(limits.unit, math.inf),
        "payload": float(option.payload_bytes),
        "ms": math.inf if option.ms is None else option.ms,
    }
    return figures | dict.fromkeys(option.untrusted, math.inf)


def front(options: Sequence[Option], limits: Limits) -> list[Option]:
    """The options that no other beats in everything: in target accuracy, advantage, PSNR, bytes, and whatever else has
    a limit, by the means of what was measured. What is not known of one counts as the worst."""
    asked = ["advantage", "psnr", "payload", *(n for n in ("certificate", "ms") if n in limits.given)]
    kept = undominated(np.array([[-o.accuracy.mean, *(_mean(o, name, limits) for name in asked)] for o in options]))
    return [o for o, is_kept in zip(options, kept, strict=True) if is_kept]


def infeasible(options: Sequence[Option], limits: Limits) -> Infeasible:
    """Which limit binds: the one without which something would do, and what of it would be enough; else the option that
    comes nearest, as a share of how far the worst one is beyond each limit."""
    figures = [told(o, limits) for o in options]
    nearest: dict[str, float] = {}
    said = []
    for name, value in limits.given.items():
        free = [(f, o) for f, o in zip(figures, options, strict=True) if limits.over(f) <= {name}]
        found, option = min(free, key=lambda pair: pair[0][name], default=({name: math.inf}, None))
        if option and math.isfinite(found[name]):
            nearest[name] = found[name]
            said.append(
                f"{option.name} has {amount(name, found[name], limits)} instead of {amount(name, value, limits)}"
            )
    if nearest:
        return Infeasible(
            f"no finished run keeps all limits; the limit on {' or on '.join(map(_word, nearest))} binds: "
            f"{'; or '.join(said)} (cautious ends of intervals); audit other strengths, or allow more",
            nearest, nearest,
        )  # fmt: skip
    excess = [{n: max(0.0, f[n] - v) for n, v in limits.given.items()} for f in figures]
    most = {n: max((e[n] for e in excess if math.isfinite(e[n])), default=0.0) or 1.0 for n in limits.given}
    best = min(range(len(options)), key=lambda i: max(excess[i][n] / most[n] for n in most))
    nearest = {n: figures[best][n] for n in limits.over(figures[best]) if math.isfinite(figures[best][n])}
    binding = tuple(limits.over(figures[best]))
    reach = " and ".join(amount(n, v, limits) + f" of {_word(n)}" for n, v in nearest.items()) or "nothing known"
    return Infeasible(
        f"no finished run keeps all limits, nor all but one of them; the nearest is {options[best].name} with {reach} "
        "(cautious ends of intervals); audit other strengths, or allow more",
        binding, nearest,
    )  # fmt: skip


def certificate(text: str) -> tuple[float, str]:
    """`3nats`, `1epsilon` or `60%` (no attacker names an attribute for more than so many in a hundred) as number and
    unit; SpecError for anything else."""
    units = (*PROMISED, ANYBODY)
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*([a-z%]+)\s*", text)
    if not match or match[2] not in units:
        raise SpecError(
            f"--max-certificate is a number with its unit, {' or '.join(units)}, such as 3nats; got {text!r}"
        )
    return float(match[1]), match[2]


def amount(name: str, value: float, limits: Limits) -> str:
    """A figure with its unit, rounded up."""
    if name == "payload":
        return f"{math.ceil(value):,} bytes"
    rounded = math.ceil(value * 100 - 1e-9) / 100
    return f"{rounded:g} {limits.unit_of(name)}"


def lead(made: Planned) -> str:
    """The choice as a sentence."""
    best = made.chosen
    if best is None:
        return str(made.refused)
    whom = "the victims" if best.judged_on == VICTIMS else "the owner's held-out people"
    where = f" at `{best.at}`" if best.at else ""
    said = [f"Take **{best.defense}**{where}: target accuracy on {whom} is **{_percent(best.accuracy)}**"]
    if best.advantage is not None:
        said.append(f"the strongest attack on {best.attribute} is {_gap(best.advantage)} above what needs no payload")
    if best.psnr is not None:
        said.append(f"pictures are redrawn at {best.psnr.mean:.1f} dB ({best.psnr.low:.1f} to {best.psnr.high:.1f})")
    return ", ".join(said) + f"; **{best.payload_bytes:,} bytes** travel."


def cautions(made: Planned) -> list[str]:
    """What the numbers do not say."""
    said, options = [], made.options
    if any(o.judged_on == VICTIMS for o in options):
        said.append(
            "CHOSEN ON THE VICTIMS: these runs hold no accuracy on the owner's people, so the target was judged on the "
            "very people who are attacked; its figure is optimistic, measure it again on others."
        )
    said.append(
        f"{len(options)} options were judged, each by its own interval; attacks can only be scored on victims, so the "
        "one that was chosen is partly the lucky one. An audit of it with other seeds or people says how much."
    )
    flags = made.chosen.flags if made.chosen else ()
    if flags:
        said.append(f"Flags of the chosen run: {', '.join(flags)}.")
    if untrusted := [o.name for o in options if o.untrusted]:
        said.append(f"Attacks failed their calibration, so no limit on leakage is kept by {', '.join(untrusted)}.")
    for study in made.studies:
        said += [f"{study.folder}: not finished, {trial}." for trial in study.results.unfinished]
        said += [f"{study.folder}: refused, {why}." for why in study.results.refused]
    if len({_attackers(study) for study in made.studies}) > 1:
        said.append(
            "The studies were attacked with different effort or attacks; less of either looks like less leakage."
        )
    if made.limits.certificate is not None and made.limits.unit == ANYBODY and len(made.studies) > 1:
        said.append("Bounds on every attacker hold together within one study, not over several.")
    if made.limits.ms is not None:
        said.append(
            "Milliseconds: the undefended edge was timed here under ONNX Runtime on one thread, defenses in proportion "
            "to their multiply-accumulates; time the bundle that privet fit writes before you rely on it."
        )
    return said


def _comparable(studies: Sequence[Finished]) -> None:
    """RunError where options of different studies do not mean the same."""
    first = studies[0]
    for other in studies[1:]:
        for what, remedy in (("data_digest", "people"), ("threat", "threat")):
            if other.runs.plan[what] != first.runs.plan[what]:
                raise RunError(
                    f"{first.folder} and {other.folder} were not audited with the same {remedy}, so their figures "
                    "cannot be compared; plan over one of them, or audit both alike"
                )
        if other.options[0].judged_on != first.options[0].judged_on:
            raise RunError(
                f"only one of {first.folder} and {other.folder} holds accuracies on the owner's people; run the other "
                "again, or plan over one of them"
            )


def _attackers(study: Finished) -> tuple[str, ...]:
    return study.results.effort, *map(str, study.runs.first.record["setting"]["attacks"])


def _preference(option: Option) -> tuple[float, float, int]:
    advantage = option.advantage.mean if option.advantage else math.inf
    return -option.accuracy.mean, advantage, option.payload_bytes


def _points(value: Estimate | None) -> float:
    return 100 * value.high if value else math.inf


def _mean(option: Option, name: str, limits: Limits) -> float:
    if name in option.untrusted:
        return math.inf
    if name in ("advantage", "psnr"):
        value: Estimate | None = getattr(option, name)
        return value.mean if value else math.inf
    return told(option, limits)[name]


def _word(name: str) -> str:
    return {"drop": "lost accuracy", "psnr": "PSNR", "payload": "payload bytes"}.get(name, name)


def _percent(value: Estimate) -> str:
    return f"{100 * value.mean:.1f} % ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _gap(value: Estimate) -> str:
    return f"{100 * value.mean:.1f} points ({100 * value.low:.1f} to {100 * value.high:.1f})"


def _json(option: Option, limits: Limits) -> dict[str, Any]:
    held = {k: v if math.isfinite(v) else None for k, v in told(option, limits).items()}
    return asdict(option) | {"held": held, "over": sorted(limits.over(told(option, limits)))}
