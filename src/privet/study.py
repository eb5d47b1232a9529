"""The only loop over trials: plan them, run them in processes of one thread each, stop when told to, say what came out.

An audit is a study with one cut. Trials that an earlier run finished are read back; a study that is stopped keeps what
it has and reports it as unfinished.
"""

from __future__ import annotations

import json
import math
import multiprocessing
import os
import shlex
import signal
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import torch

from privet import cost, data, experiment, models, run
from privet import defense as defenses
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus
from privet.errors import CutError, DataError, RunError, SpecError
from privet.experiment import REFERENCE, Setting
from privet.report import rows
from privet.report.results import Results
from privet.split import Cut, cuts, split
from privet.train import Effort, inputs


@dataclass(frozen=True)
class Source:
    """Where the people come from: the arguments of `privet.data.load`."""

    data: str
    target: str | None = None
    hidden: tuple[str, ...] = ()
    side: tuple[str, ...] = ()
    resize: str | None = None
    aux: str | None = None
    victims: str | None = None
    group: str | None = None
    limit: int | None = None
    on_bad: str = "skip"

    def load(self, progress: Callable[[int, int], None] | None = None) -> Corpus:
        """The corpus; its roles depend on the contents alone."""
        return data.load(**asdict(self), progress=progress)


@dataclass(frozen=True)
class Study:
    """Everything that was asked: people, network, cut, defenses, seeds, and how long it may take."""

    source: Source
    setting: Setting
    defenses: tuple[str, ...]
    seeds: int
    out: Path
    jobs: int = 0
    max_minutes: float | None = None
    any_version: bool = False

    def __post_init__(self) -> None:
        if self.seeds < 1:
            raise SpecError(f"--seeds must be at least 1, got {self.seeds}")
        if self.jobs < 0:
            raise SpecError(f"--jobs must be 0 (all cores) or more, got {self.jobs}")
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise SpecError(f"--max-minutes must be positive, got {self.max_minutes}")


@dataclass(frozen=True)
class Event:
    """Something to show: a stage of a trial (`done` of `total`), or with `ended` that a trial is finished."""

    trial: str
    text: str
    done: int = 0
    total: int = 1
    ended: bool = False


Listener = Callable[[Event], None]


@dataclass
class Plan:
    """The trials of a study and what has to be known before the first one starts."""

    study: Study
    corpus: Corpus
    trials: list[tuple[str, int]]
    names: dict[tuple[str, int], str]
    finished: set[tuple[str, int]] = field(default_factory=set)

    @property
    def dependence(self) -> dict[str, float]:
        """I(y; s) in nats: how much the answer itself says about each hidden attribute."""
        return data.dependence(self.corpus)

    def calibrates(self, trial: tuple[str, int]) -> bool:
        """The first undefended trial calibrates the attacks for the study."""
        return trial == self.trials[0]

    def json(self) -> dict[str, Any]:
        """`study.json`: enough to make the report again without the data."""
        study = self.study
        threat = Threat.named(study.setting.threat, study.setting.side)
        listed = list(dict.fromkeys(d for d, _ in self.trials))
        return {
            "format": run.FORMAT,
            "title": f"{self.corpus.name}: {self.corpus.target}, hiding {', '.join(self.corpus.hidden)}",
            "command": command(study, self.corpus),
            "folder": str(study.out),
            "data": data.describe(self.corpus),
            "data_digest": self.corpus.digest,
            "model": study.setting.model,
            "at": study.setting.at,
            "threat": threat.describe(),
            "effort": study.setting.effort,
            "reference": REFERENCE,
            "defenses": listed,
            "seeds": sorted({s for _, s in self.trials}),
            "trials": [{"defense": d, "seed": s, "name": self.names[d, s]} for d, s in self.trials],
        }


def plan(study: Study, corpus: Corpus) -> Plan:
    """Check everything that can be wrong before any time is spent, and list the trials, the undefended reference
    first."""
    experiment.check(study.setting)
    for attribute in study.setting.side:
        if attribute not in corpus.classes:
            raise DataError(
                f"the side information {attribute!r} is not among the attributes {', '.join(corpus.classes)}"
            )
    named: dict[str, None] = {REFERENCE: None}
    for text in study.defenses:
        defense = defenses.parse(text)
        named.setdefault(text if defenses.spell(defense) != REFERENCE else REFERENCE)
    example = inputs(corpus.victim.x[:2])
    weights = Path(study.setting.weights) if study.setting.weights else None
    model = models.load(
        study.setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), weights=weights
    )
    split(model.eval(), example, study.setting.at)
    trials = [(d, s) for s in range(study.seeds) for d in named]
    names = {(d, s): experiment.trial_name(study.setting, corpus, d, s, (d, s) == trials[0]) for d, s in trials}
    planned = Plan(study, corpus, trials, names)
    planned.finished = {t for t in trials if (study.out / "runs" / names[t] / "run.json").is_file()}
    return planned


def execute(planned: Plan, listen: Listener | None = None) -> Results:
    """Run what is missing, then read everything back. Ctrl-C and --max-minutes end early with the best answer so
    far."""
    study = planned.study
    with run.locked(study.out):
        run.sweep(study.out / "runs")
        run.write_text(study.out / "study.json", json.dumps(planned.json(), indent=1, allow_nan=False))
        todo = [t for t in planned.trials if t not in planned.finished]
        jobs = min(study.jobs or os.cpu_count() or 1, max(1, len(todo)))
        started = time.monotonic()
        limit = None if study.max_minutes is None else started + 60 * study.max_minutes
        try:
            if todo and (jobs == 1 or multiprocessing.current_process().daemon):
                _inline(planned, todo, limit, listen)
            elif todo:
                _pooled(planned, todo, jobs, limit, listen)
        except KeyboardInterrupt:
            if listen:
                listen(Event("study", "stopped; reporting what is finished", ended=True))
        return collect(study.out, any_version=study.any_version)


def collect(out: Path, *, any_version: bool = False) -> Results:
    """The results of a study's folder, made again from its runs."""
    read = runs(out, any_version=any_version)
    return rows.results(read.plan, read.runs)


def runs(out: Path, *, any_version: bool = False) -> rows.Runs:
    """The plan and the finished trials of a study's folder; RunError where it is not one."""
    try:
        stored = json.loads((out / "study.json").read_text(encoding="utf-8"))
        stored["folder"] = str(out)
        return rows.Runs(stored, rows.read_runs(stored, out, any_version=any_version))
    except (OSError, ValueError, KeyError, TypeError) as problem:
        raise RunError(
            f"{out} is not the folder of a study ({type(problem).__name__}: {problem}); give the --out of an audit"
        ) from problem


def command(study: Study, corpus: Corpus) -> str:
    """The command line that makes this study again."""
    source, setting = study.source, study.setting
    words = ["privet", "audit", "--data", source.data, "--target", corpus.target]
    words += [w for h in corpus.hidden for w in ("--hidden", h)]
    words += [w for h in setting.side for w in ("--side", h)]
    words += ["--model", setting.model, "--at", setting.at]
    words += [w for d in study.defenses for w in ("--defense", d)]
    words += [w for a in setting.attacks for w in ("--attack", a)]
    optional = {
        "--weights": setting.weights, "--freeze": setting.freeze, "--resize": source.resize, "--aux": source.aux,
        "--victims": source.victims, "--group": source.group, "--limit": source.limit,
    }  # fmt: skip
    words += [w for key, value in optional.items() if value is not None for w in (key, str(value))]
    words += ["--threat", setting.threat, "--effort", setting.effort, "--seeds", str(study.seeds)]
    words += ["--out", str(study.out)]
    return shlex.join(words)


def estimate(planned: Plan) -> float:
    """A rough number of seconds that the missing trials will take, from a few timed steps on this machine."""
    study, corpus = planned.study, planned.corpus
    missing = len(planned.trials) - len(planned.finished)
    if not missing:
        return 0.0
    effort = Effort.named(study.setting.effort)
    with one_thread():
        per_example = _seconds_per_example(study, corpus)
    untrained = study.setting.freeze == "both"
    seeds = {s for t, s in planned.trials if (t, s) not in planned.finished}
    training = 0 if untrained else len(seeds) * effort.task_epochs * len(corpus.task_train) * per_example
    epochs, _ = effort.attack_schedule("attribute", len(corpus.aux_train))
    drawn, _ = effort.attack_schedule("reconstruct", len(corpus.aux_train))
    attacking = (0.06 * epochs * effort.grid * len(corpus.hidden) + 0.35 * drawn) * len(
        corpus.aux_train
    ) * per_example + 2 * len(corpus.hidden)
    jobs = max(1, min(study.jobs or os.cpu_count() or 1, missing))
    return (training + attacking * (missing + 2)) / jobs + 4


def _seconds_per_example(study: Study, corpus: Corpus) -> float:
    model = models.load(study.setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target)).train()
    x = inputs(corpus.task_train.x[:64])
    if len(x) < 2:
        return 1e-3
    times = []
    for _ in range(3):
        started = time.perf_counter()
        model(x).logsumexp(1).sum().backward()
        times.append(time.perf_counter() - started)
    return min(times) / len(x)


@contextmanager
def one_thread() -> Iterator[None]:
    """One thread for torch, so that results do not depend on how many cores there are."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def _inline(planned: Plan, todo: Sequence[tuple[str, int]], limit: float | None, listen: Listener | None) -> None:
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

            experiment.trial(
                study.setting, planned.corpus, defense, seed, study.out,
                calibrated=planned.calibrates((defense, seed)), any_version=study.any_version, report=report,
            )  # fmt: skip
            if listen:
                listen(Event(label, "done", ended=True))


def _pooled(
    planned: Plan, todo: Sequence[tuple[str, int]], jobs: int, limit: float | None, listen: Listener | None
) -> None:
    """Models first, seed by seed; a seed's trials start when its model is there."""
    study = planned.study
    context = multiprocessing.get_context("spawn")
    queue: Any = context.Queue()
    pool = ProcessPoolExecutor(jobs, mp_context=context, initializer=_start, initargs=(study, queue))
    waiting: dict[Future[None], int | tuple[str, int]] = {}
    try:
        for seed in dict.fromkeys(s for _, s in todo):
            waiting[pool.submit(_prepare, seed)] = seed
        while waiting:
            done, _ = wait(waiting, timeout=0.2, return_when=FIRST_COMPLETED)
            _drain(queue, listen)
            for future in done:
                job = waiting.pop(future)
                try:
                    future.result()
                except BrokenProcessPool as problem:
                    raise RunError(
                        "a worker process ended without a word, usually for want of memory; "
                        "run the same command with --jobs 1, finished trials are kept"
                    ) from problem
                if isinstance(job, int):
                    for trial in (t for t in todo if t[1] == job):
                        waiting[pool.submit(_trial, *trial, planned.calibrates(trial))] = trial
                elif listen:
                    listen(Event(f"{job[0]}, seed {job[1]}", "done", ended=True))
            if limit is not None and time.monotonic() > limit:
                raise KeyboardInterrupt
    except BaseException:
        pool.shutdown(wait=False, cancel_futures=True)
        for child in multiprocessing.active_children():
            child.terminate()
        raise
    pool.shutdown()


def _drain(queue: Any, listen: Listener | None) -> None:
    while not queue.empty():
        event = queue.get()
        if listen:
            listen(event)


_worker: dict[str, Any] = {}


def _start(study: Study, queue: Any) -> None:
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    torch.set_num_threads(1)
    _worker.update(study=study, queue=queue, corpus=study.source.load())


def _report(label: str) -> Callable[[str, int, int], None]:
    return lambda text, done, total: _worker["queue"].put(Event(label, text, done, total))


def _prepare(seed: int) -> None:
    study: Study = _worker["study"]
    experiment.task_model(study.setting, _worker["corpus"], seed, study.out, _report(f"task, seed {seed}"))


def _trial(defense: str, seed: int, calibrated: bool) -> None:
    study: Study = _worker["study"]
    experiment.trial(
        study.setting, _worker["corpus"], defense, seed, study.out,
        calibrated=calibrated, any_version=study.any_version, report=_report(f"{defense}, seed {seed}"),
    )  # fmt: skip


def with_defaults(setting: Setting, corpus: Corpus) -> Setting:
    """Fill in the network and the cut that suit the data, where none was given; a network of your own needs a cut of
    yours."""
    model, at = models.default_model(corpus.kind, corpus.shape)
    if not setting.model:
        return replace(setting, model=model, at=setting.at or at)
    if setting.model == model and not setting.at:
        return replace(setting, at=at)
    if not setting.at:
        legal = [c.name for c in legal_cuts(setting, corpus)]
        raise CutError(f"say where to cut {setting.model!r} with --at; its legal cuts: {', '.join(legal)}")
    return setting


def survey(
    reference: str, *, shape: str | None, classes: int, weights: Path | None, source: Source
) -> list[dict[str, Any]]:
    """Every legal cut of a network with what would travel (float16) and what the edge would compute."""
    if shape is None:
        corpus = source.load()
        kind, size, count = corpus.kind, corpus.shape, corpus.n_classes(corpus.target)
    else:
        try:
            size, count = tuple(int(n) for n in shape.split("x")), classes
        except ValueError:
            raise SpecError(f"--shape is written like 3x50x50, got {shape!r}") from None
        kind = "image" if len(size) == 3 else "table"
    reference = reference or models.default_model(kind, size)[0]
    model = models.load(reference, shape=size, classes=count, weights=weights).eval()
    example = torch.zeros(2, *size)
    return [
        {
            "model": reference,
            "cut": cut.name,
            "shape": list(cut.shape),
            "bytes": 2 * math.prod(cut.shape),
            "edge_macs": cost.macs(split(model, example, cut.name).edge, example[:1]),
        }
        for cut in cuts(model, example)
    ]


def legal_cuts(setting: Setting, corpus: Corpus) -> list[Cut]:
    """The legal cuts of a network on this data."""
    weights = Path(setting.weights) if setting.weights else None
    model = models.load(setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), weights=weights)
    return cuts(model.eval(), inputs(corpus.victim.x[:2]))
