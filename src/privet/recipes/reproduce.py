"""Reproduce a paper: commit the criteria, run the studies that the claims need, judge, and write the page.

Everything lies in one folder: trials and trained networks are shared by all studies, and running again goes on where it
stopped."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from privet import run, schedule, study, workers
from privet.data.corpus import Corpus
from privet.errors import MissingExtra, SpecError
from privet.experiment import REFERENCE
from privet.recipes.claims import Grid, Judgement, Recipe, Where, judge
from privet.recipes.commitment import MEASURED, Change, commit
from privet.recipes.evidence import PUBLISHED, Evidence
from privet.recipes.measurement import Finding, Measurement
from privet.schedule import Schedule, Source, Study
from privet.setting import Report, Setting
from privet.study import Event, Listener

Loading = Callable[[int, int], None]
UNFINISHED = "not finished when the run was stopped; run the same command again to finish it"
SHORT = 40.0  # seconds of a study that are not worth processes of their own


@dataclass(frozen=True)
class Work:
    """What will be run: the studies and measurements by key, why others are not, and about how many seconds it
    takes."""

    studies: Mapping[str, Schedule]
    measurements: Mapping[str, Measurement]
    absent: Mapping[str, str]
    seconds: float

    @property
    def trials(self) -> int:
        """All trials, each once, and measurements."""
        return len(self._names()) + len(self.measurements)

    @property
    def finished(self) -> int:
        """Trials that are there already."""
        return len({p.names[t] for p in self.studies.values() for t in p.finished})

    def _names(self) -> set[str]:
        return {name for planned in self.studies.values() for name in planned.names.values()}


@dataclass(frozen=True)
class Reproduction:
    """A paper's claims, judged, with everything that the page shows."""

    recipe: Recipe
    grid: Grid
    where: Where
    evidence: Evidence
    judgements: tuple[Judgement, ...]
    changes: tuple[Change, ...]
    command: str
    only: tuple[str, ...] = ()
    seconds: float = 0.0
    notes: tuple[str, ...] = field(default=())


def plan(recipe: Recipe, grid: Grid, where: Where, only: Sequence[str] = (), loading: Loading | None = None) -> Work:
    """Draw up the studies that the chosen claims need, checked before any time is spent.

    SpecError where none of them can be run here, with what is missing."""
    jobs = workers.wanted(where.jobs)
    if grid.as_published and not recipe.exact:
        raise SpecError(
            f"{recipe.name} cannot be run as published: its network or its optimizer is another one here; leave "
            "--as-published out (--effort full takes the paper's grid)"
        )
    if where.data is not None and not where.data.is_dir():
        raise SpecError(f"there is no folder {where.data}; give --data DIR, a folder that holds the named sets")
    chosen = recipe.chosen(only)
    shown = {*only, *(name for claim in chosen for name in claim.figures)}
    needed = {key for claim in chosen for key in claim.needs}
    needed |= {key for figure in recipe.figures if figure.id in shown for key in figure.needs}
    asked = {key: s for key, s in recipe.studies(grid, where).items() if key in needed}
    absent = {key: why for key, s in asked.items() if (why := where.lacks(s))}
    if len(absent) == len(asked):
        reasons = "; ".join(dict.fromkeys(absent.values())) or "none of these claims belongs to it"
        raise SpecError(f"nothing of {recipe.name} can be run with --effort {grid.name}: {reasons}")
    corpora: dict[Source, Corpus] = {}
    planned, measurements = {}, {}
    for key, one in asked.items():
        if key in absent:
            continue
        if isinstance(one, Measurement):
            measurements[key] = one
        else:
            if one.source not in corpora:
                corpora[one.source] = one.source.load(loading)
            named = _named(one, key, where)
            setting = schedule.with_defaults(named.setting, corpora[one.source])
            planned[key] = schedule.draw_up(replace(named, setting=setting), corpora[one.source])
    seconds = _seconds(planned) + sum(one.seconds for one in measurements.values()) / jobs
    return Work(planned, measurements, absent, seconds)


def study_name(key: str) -> str:
    """The name of a study's plan in the shared folder."""
    return "study-" + "".join(c if c.isalnum() else "-" for c in key)


def _named(one: Study, key: str, where: Where) -> Study:
    """The study in the shared folder, under a name of its own."""
    return replace(
        one, out=where.out, jobs=where.jobs, any_version=where.any_version, name=study_name(key),
        setting=replace(one.setting, device=where.device),
    )  # fmt: skip


def _seconds(planned: Mapping[str, Schedule]) -> float:
    """The sum over studies; a task network that several of them share is trained once, equal trials are run once."""
    total, trained, met = 0.0, set[tuple[Source, Setting]](), set[str]()
    for one in planned.values():
        network = (
            one.study.source,
            replace(one.study.setting, at="", threat="server", side=(), attacks=(), training=None),
        )
        known = _with(one, met)
        total += schedule.estimate(known, trained=network in trained)
        trained.add(network)
        met |= set(one.names.values())
    return total


def _with(one: Schedule, met: set[str]) -> Schedule:
    """The schedule with the trials that other studies run as well counted as finished."""
    return replace(one, finished=one.finished | {t for t in one.trials if one.names[t] in met})


def reproduce(
    recipe: Recipe,
    grid: Grid,
    where: Where,
    *,
    only: Sequence[str] = (),
    max_minutes: float | None = None,
    listen: Listener | None = None,
    announce: Callable[[Work], None] | None = None,
    loading: Loading | None = None,
) -> Reproduction:
    """Judge a paper's claims on runs of this machine; finished runs are kept and found again.

    `announce` hears of the plan with its estimate before the first trial. Ctrl-C and `max_minutes` end early: what is
    not finished then is said to be missing. Raises the errors of `privet.errors`, each with its remedy."""
    if max_minutes is not None and not max_minutes > 0:
        raise SpecError(f"--max-minutes must be positive, got {max_minutes}")
    work = plan(recipe, grid, where, only, loading)
    if announce:
        announce(work)
    changes = commit(where.out, recipe, grid)
    started = time.monotonic()
    stopped = False
    for key, planned in work.studies.items():
        left = None if max_minutes is None else max_minutes - (time.monotonic() - started) / 60
        if stopped or (left is not None and left <= 0):
            stopped = True
        else:
            stopped = not study.perform(_due(planned, left), _labelled(listen, key))
    end = math.inf if max_minutes is None else started + 60 * max_minutes
    findings, lacking = ({}, {}) if stopped else measure(work.measurements, where.out, end, listen)
    unfinished = {key: lacking.get(key, UNFINISHED) for key in work.measurements if key not in findings}
    absent = dict(work.absent) | unfinished
    evidence = replace(gather(work.studies, absent, recipe.published), findings=findings)
    judged = tuple(judge(recipe, evidence, only))
    seconds = sum(
        r.record["seconds"] for r in {r.folder: r for k in evidence.studies.values() for r in k.runs.values()}.values()
    ) + sum(found.seconds for found in findings.values())
    return Reproduction(
        recipe, grid, where, evidence, judged, changes, command(recipe, grid, where, only), tuple(only), seconds
    )


def gather(
    studies: Mapping[str, Schedule], absent: Mapping[str, str], published: tuple[str, ...] = PUBLISHED
) -> Evidence:
    """Read back what is finished; a study without its undefended reference is absent, with the reason."""
    found, missing = {}, dict(absent)
    for key, planned in studies.items():
        begun = planned.study.plan.is_file()  # its reference may be there from a study that shares it
        if begun and any(defense == REFERENCE for defense, _ in _there(planned)):
            found[key] = study.runs(planned.study.plan, any_version=planned.study.any_version)
        else:
            missing[key] = UNFINISHED
    return Evidence(found, missing, published)


def measure(
    measurements: Mapping[str, Measurement], out: Path, end: float, listen: Listener | None = None
) -> tuple[dict[str, Finding], dict[str, str]]:
    """Perform measurements in their order until `end` (of the monotonic clock) or Ctrl-C; what is finished, and why
    others cannot be performed here."""
    found, lacking = dict[str, Finding](), dict[str, str]()
    if not measurements:
        return found, lacking
    run.ensure(out / MEASURED)
    with run.locked(out):
        for key, one in measurements.items():
            try:
                found[key] = one.perform(_told(key, end, listen))
            except MissingExtra as why:
                lacking[key] = str(why)
                if listen:
                    listen(Event(key, f"not run: {why}", ended=True))
                continue
            except KeyboardInterrupt:
                if listen:
                    listen(Event("study", "stopped", ended=True))
                break
            if listen:
                listen(Event(key, "done", ended=True))
    return found, lacking


def _told(key: str, end: float, listen: Listener | None) -> Report:
    """Tell of progress, and stop where the time is over."""

    def report(text: str, done: int, total: int) -> None:
        if time.monotonic() > end:
            raise KeyboardInterrupt
        if listen:
            listen(Event(key, text, done, total))

    return report


def _due(planned: Schedule, minutes: float | None) -> Schedule:
    """The schedule as it stands now: trials that an earlier study has finished meanwhile are found, and what is short
    runs in this process, because others take seconds to start."""
    one = planned.study
    now = replace(planned, finished=_there(planned))
    alone = one.jobs == 0 and schedule.estimate(replace(now, study=replace(one, jobs=1))) < SHORT
    return replace(now, study=replace(one, max_minutes=minutes, jobs=1 if alone else one.jobs))


def _there(planned: Schedule) -> set[tuple[str, int]]:
    return {t for t in planned.trials if (planned.study.out / "runs" / planned.names[t] / "run.json").is_file()}


def _labelled(listen: Listener | None, key: str) -> Listener | None:
    if listen is None:
        return None
    return lambda event: listen(Event(f"{event.trial} [{key}]", event.text, event.done, event.total, event.ended))


def command(recipe: Recipe, grid: Grid, where: Where, only: Sequence[str] = ()) -> str:
    """The command line that does this again."""
    words = ["privet", "reproduce", recipe.name]
    words += ["--data", str(where.data)] if where.data else []
    words += ["--effort", grid.name, "--seeds", str(grid.seeds)]
    words += [w for name in only for w in ("--only", name)]
    words += ["--as-published"] if grid.as_published else []
    words += ["--device", where.device] if where.device != "cpu" else []
    return shlex.join([*words, "--out", str(where.out)])


def default_folder(recipe: Recipe, grid: Grid) -> Path:
    """Where a reproduction goes when nothing is said: a folder of its own for each paper and grid."""
    return Path(f"privet-{recipe.name}-{grid.name}{'-as-published' if grid.as_published else ''}")
