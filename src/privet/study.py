"""The only loop over trials: plan them, run them in processes of one thread each, stop when told to, say what came out.

An audit is a study with one cut. Trials that an earlier run finished are read back; a study that is stopped keeps what
it has and reports it as unfinished. A defense that cannot do what was asked of it on these people, or whose training
runs away, is refused with its own sentence and stops nobody else.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from privet import run, workers
from privet.errors import CutError, DataError, ModelError, PayloadError, PrivetError, RunError, SpecError
from privet.report import rows
from privet.report.results import Results
from privet.report.runs import Runs
from privet.schedule import Schedule, Study
from privet.train import one_thread


@dataclass(frozen=True)
class Event:
    """Something to show: a stage of a trial (`done` of `total`), or with `ended` that a trial is finished."""

    trial: str
    text: str
    done: int = 0
    total: int = 1
    ended: bool = False


Listener = Callable[[Event], None]
Refused = dict[tuple[str, int], PrivetError]  # trials that said why they cannot be
REFUSALS = (SpecError, CutError, DataError, ModelError, PayloadError)


def execute(planned: Schedule, listen: Listener | None = None) -> Results:
    """Run what is missing, then read everything back. Ctrl-C and --max-minutes end early with the best answer so
    far. Where all defended trials were refused, raises the first one's error."""
    refused: Refused = {}
    perform(planned, listen, refused)
    if refused and {t for t in planned.trials if t[0] != planned.study.reference} <= set(refused):
        raise next(iter(refused.values()))
    return collect(planned.study.plan, any_version=planned.study.any_version)


def perform(planned: Schedule, listen: Listener | None = None, refused: Refused | None = None) -> bool:
    """Run what is missing; False where it was stopped before its end. Trials that are refused are put into `refused`,
    and why into the plan."""
    study, refused = planned.study, {} if refused is None else refused
    with run.locked(study.out):
        try:
            with workers.deaf():  # whoever sees a plan may press Ctrl-C, and is answered
                run.sweep(study.out / "runs")
                run.write_text(study.plan, json.dumps(planned.json(), indent=1, allow_nan=False))
            todo = [t for t in planned.trials if t not in planned.finished]
            jobs = min(workers.wanted(study.jobs), max(1, len(todo)))
            started = time.monotonic()
            limit = None if study.max_minutes is None else started + 60 * study.max_minutes
            if todo and jobs == 1:
                _inline(planned, todo, limit, listen, refused)
            elif todo:
                _pooled(planned, todo, jobs, limit, listen, refused)
        except KeyboardInterrupt:
            if listen:
                listen(Event("study", "stopped", ended=True))
        if refused:
            why = [{"defense": d, "seed": s, "why": str(error)} for (d, s), error in refused.items()]
            run.write_text(study.plan, json.dumps(planned.json() | {"refused": why}, indent=1, allow_nan=False))
        left = [t for t in planned.trials if t not in refused]
        return all((study.out / "runs" / planned.names[t] / "run.json").is_file() for t in left)


def collect(out: Path, *, any_version: bool = False) -> Results:
    """The results of a study's folder (or of its plan, a .json file in a folder of several), made again from its
    runs."""
    read = runs(out, any_version=any_version)
    try:
        return rows.results(read.plan, read.runs)
    except (KeyError, TypeError, ValueError, IndexError) as problem:
        raise RunError(
            f"the study in {out} is damaged ({type(problem).__name__}: {problem}); delete its runs and run it again"
        ) from problem


def runs(out: Path, *, any_version: bool = False) -> Runs:
    """The plan and the finished trials of a study's folder, or of its plan; RunError where it is not one."""
    plan = out if out.is_file() else out / "study.json"
    if not plan.is_file() and (several := sorted(str(p) for p in out.glob("study-*.json"))):
        raise RunError(f"{out} holds several studies; give the plan of one: {', '.join(several)}")
    try:
        stored = json.loads(plan.read_text(encoding="utf-8"))
        stored["folder"] = str(plan.parent)
        return Runs(stored, rows.read_runs(stored, plan.parent, any_version=any_version))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(
            f"{out} is not the folder of a study ({type(problem).__name__}: {problem}); give the --out of an audit"
        ) from problem


def _inline(
    planned: Schedule, todo: Sequence[tuple[str, int]], limit: float | None, listen: Listener | None, refused: Refused
) -> None:
    study = planned.study
    with one_thread():
        for defense, seed in todo:
            if limit is not None and time.monotonic() > limit:
                return
            label = f"{defense}, seed {seed}"

            def report(text: str, done: int, total: int, label: str = label) -> None:
                if limit is not None and time.monotonic() > limit:
                    raise KeyboardInterrupt
                if listen:
                    listen(Event(label, text, done, total))

            with _refusing((defense, seed), refused, study.reference):
                study.trial(
                    planned.corpus, defense, seed, calibrated=planned.calibrates((defense, seed)), report=report
                )
            if listen:
                listen(_end((defense, seed), refused))


@contextmanager
def _refusing(trial: tuple[str, int], refused: Refused, reference: str) -> Iterator[None]:
    """Note why a trial cannot be; without the reference nothing can."""
    try:
        yield
    except REFUSALS as why:
        if trial[0] == reference:
            raise
        refused[trial] = why


def _end(trial: tuple[str, int], refused: Refused) -> Event:
    text = f"refused: {refused[trial]}" if trial in refused else "done"
    return Event(f"{trial[0]}, seed {trial[1]}", text, ended=True)


def _pooled(
    planned: Schedule, todo: Sequence[tuple[str, int]], jobs: int, limit: float | None, listen: Listener | None,
    refused: Refused,
) -> None:  # fmt: skip
    """Models first, then the references that give every number its scale, then the rest: an early end leaves an
    answer."""
    study = planned.study
    queue: Any = workers.CONTEXT.Queue()
    waiting: dict[Future[None], int | tuple[str, int]] = {}
    seeds = list(dict.fromkeys(s for _, s in todo))
    later = [t for t in todo if t[0] != study.reference]
    with workers.pool(jobs, _start, study, queue) as pool:
        with workers.deaf():
            for seed in seeds:
                waiting[pool.submit(_prepare, seed)] = seed
        while waiting:
            done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            _drain(queue, listen)
            for future in done:
                job = waiting.pop(future)
                of = job if isinstance(job, tuple) else (study.reference, job)
                with _refusing(of, refused, study.reference):
                    future.result()
                if isinstance(job, int):
                    seeds.remove(job)
                    ready = [t for t in todo if t == (study.reference, job)] + (later if not seeds else [])
                    with workers.deaf():
                        for trial in ready:
                            waiting[pool.submit(_trial, *trial, planned.calibrates(trial))] = trial
                elif listen:
                    listen(_end(job, refused))
            if limit is not None and time.monotonic() > limit:
                raise KeyboardInterrupt


def _drain(queue: Any, listen: Listener | None) -> None:
    while not queue.empty():
        event = queue.get()
        if listen:
            listen(event)


_worker: dict[str, Any] = {}


def _start(study: Study, queue: Any) -> None:
    _worker.update(study=study, queue=queue, corpus=study.load())


def _report(label: str) -> Callable[[str, int, int], None]:
    return lambda text, done, total: _worker["queue"].put(Event(label, text, done, total))


def _prepare(seed: int) -> None:
    study: Study = _worker["study"]
    with one_thread():
        study.prepare(_worker["corpus"], seed, _report(f"task, seed {seed}"))


def _trial(defense: str, seed: int, calibrated: bool) -> None:
    study: Study = _worker["study"]
    with one_thread():
        study.trial(_worker["corpus"], defense, seed, calibrated=calibrated, report=_report(f"{defense}, seed {seed}"))
