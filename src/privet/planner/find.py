"""From a name on the command line to a plan: people, pool, device, tables, choice."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import torch

from privet import run, workers
from privet.data.assemble import BUILT_IN, open_source
from privet.data.corpus import Corpus
from privet.errors import DataError, Infeasible, ModelError, RunError, SpecError
from privet.planner import characterize as characterizing
from privet.planner import device as devices
from privet.planner import earlier, own
from privet.planner.choosing import Limits
from privet.planner.device import Device
from privet.planner.grid import Grid, layers
from privet.planner.identify import Anonymity, anonymity
from privet.planner.known import known
from privet.planner.measuring import Public
from privet.planner.plan import Plan, check, plan, possible
from privet.planner.table import Table
from privet.pretrained import pool
from privet.pretrained.pool import Source
from privet.runtime import export
from privet.schedule import Source as Where
from privet.setting import Report, usable
from privet.train import inputs, one_thread

Loading = Callable[[int, int], None] | None
LABEL = "label"  # the column that image sets call their question, on the hub and elsewhere
GUESSES = (1, 10, 100)  # pictures of an adversary's own
MOST = 0.5  # of the channels, from which on an extractor counts as identified
BESIDE = "weights"  # a folder of this name beside the data is its pool


@dataclass(frozen=True)
class Question:
    """What is asked: whose data, which networks, how thoroughly, for which device.

    pool: a folder of pretrained networks (None: the folder `weights` beside the data, or else a network of our own);
    sources: some of them, or REFERENCE=FILE; public: another data set for the characterization; profile: a file that
    describes the device; strategy: `paper` or `pareto`; known: attack the choice as one who knows it would, too; seed:
    of the client's random choices (None: from the operating system)."""

    where: Where
    limits: Limits
    effort: str = "quick"
    pool: str | None = None
    sources: tuple[str, ...] = ()
    public: str | None = None
    profile: str | None = None
    margin: float = 1.0
    switch: float | None = None
    inner: float = 1.0
    strategy: str = "paper"
    known: bool | None = None
    seed: int | None = None
    device: str = "cpu"
    jobs: int = 0


@dataclass(frozen=True)
class Found:
    """A plan with what it was chosen from, how thoroughly; `earlier` is where the plan that was here before is kept,
    `limit` how many people it was made from at most."""

    plan: Plan
    table: Table
    device: Device
    corpus: Corpus
    refused: dict[str, str]
    out: Path
    effort: str
    earlier: Path | None = None
    limit: int | None = None


def find(question: Question, out: Path, *, report: Report = None, loading: Loading = None) -> Found:
    """Characterize what is not in `out` yet, choose, verify, and write the plan with its edge.

    Raises Infeasible where no plan keeps the limits, and the errors of data, pool and folder."""
    grid = Grid.named(question.effort)
    if question.seed is not None and not 0 <= question.seed < 2**63:
        raise SpecError(
            f"the seed is {question.seed}; give a whole number from 0 to 2**63 - 1, or none for a secret one"
        )
    check(question.margin, question.switch, question.inner, question.strategy)
    workers.wanted(question.jobs)
    usable(question.device)
    corpus = people(question.where, loading)
    with run.locked(out), one_thread():
        profile = Device.read(Path(question.profile), corpus.shape) if question.profile else None
        public = among(question, corpus, loading)
        try:
            possible(question.limits, Public.of(corpus, grid.pictures))
        except Infeasible as why:
            raise earlier.refused(out, why) from why
        sources, refused = networks(question, corpus, out, report)
        asked = {source.name: layers(source, grid, corpus.shape) for source in sources}
        device = profile or timed(sources, asked, corpus, out, report)
        table = characterizing.characterize(
            sources, public, grid, out, device=question.device, jobs=question.jobs, report=report
        )
        seed = secrets.randbits(63) if question.seed is None else question.seed
        try:
            made = plan(
                sources, corpus, table, question.limits, device, grid, margin=question.margin, switch=question.switch,
                inner=question.inner, strategy=question.strategy, public=public, seed=seed, out=out,
                device=question.device, report=report,
            )  # fmt: skip
        except Infeasible as why:
            raise earlier.refused(out, why) from why
        chosen = {source.name: source for source in sources}[made.source]
        made = replace(made, anonymity=guessed(made, chosen, question, corpus, report))
        if question.known or (question.known is None and identified(made.anonymity)):
            begun, head = made.verified.begun, head_of(made, chosen)
            assert begun is not None, "every verification says where other attacks begin"
            made = replace(made, known=known(head, corpus, begun, seed=0, jobs=question.jobs, report=report))
        before = write(made, chosen, corpus, question.where, out)
    return Found(made, table, device, corpus, refused, out, question.effort, before, question.where.limit)


def people(where: Where, loading: Loading = None) -> Corpus:
    """The corpus; of a data set with one obvious question its target need not be named."""
    if where.target is None and where.data not in BUILT_IN and LABEL in open_source(where.data).columns():
        where = replace(where, target=LABEL)
    return replace(where, hidden=("none",)).load(loading)


def networks(
    question: Question, corpus: Corpus, out: Path, report: Report = None
) -> tuple[list[Source], dict[str, str]]:
    """The pool, without what has met the private people: by default the first network of the folder that has not."""
    folder = question.pool or _beside(question.where.data)
    if not question.sources and (not folder or len(corpus.shape) != 3):
        question = replace(question, sources=(own.NAME,))

    def opened(name: str) -> Source:
        if own.is_own(name):
            return own.source(corpus, question.effort, out, 0, question.device, report)
        return pool.load(folder, name, corpus.shape)

    wanted = question.sources or tuple(pool.names(str(folder)))
    loaded = [opened(name) for name in wanted]
    usable, refused = pool.usable(loaded, corpus)
    if question.sources and refused:
        name, why = next(iter(refused.items()))
        raise SpecError(f"the network {name!r} may not serve here: {why}; leave it out")
    return (usable if question.sources else usable[:1]), refused


def timed(
    sources: Sequence[Source], asked: dict[str, list[int]], corpus: Corpus, out: Path, report: Report = None
) -> Device:
    """This device, measured once and kept."""
    path = out / "device.json"
    if path.is_file():
        with contextlib.suppress(SpecError, RunError):  # of samples of another size, or damaged: measured again
            known = replace(Device.read(path, corpus.shape), here=True)
            have = {(one.source, one.layer) for one in known.layers}
            if all((name, m) in have for name, numbers in asked.items() for m in numbers):
                return known
    made = devices.measured(sources, asked, corpus.shape, report)
    made.write(path)
    return made


def among(question: Question, corpus: Corpus, loading: Loading = None) -> Corpus:
    """The people of whom tables are made: public ones of the corpus, or another set."""
    if question.public is None:
        return corpus
    try:
        public = people(replace(question.where, data=question.public), loading)
    except (DataError, SpecError) as why:
        raise DataError(f"the public set (--public {question.public}) does not serve: {why}") from why
    if public.shape != corpus.shape:
        raise SpecError(
            f"the public set has samples of {list(public.shape)}, the private one of {list(corpus.shape)}; "
            "give --resize, or a public set of as many colors"
        )
    return public


def head_of(made: Plan, source: Source) -> torch.nn.Sequential:
    """The extractor of a plan, with sliced weights."""
    kept = {k: torch.tensor(v) for k, v in made.kept.items()}
    return source.chain.head(made.layer, torch.tensor(made.channels), kept)


def guessed(
    made: Plan, source: Source, question: Question, corpus: Corpus, report: Report = None
) -> tuple[Anonymity, ...]:
    """What an adversary with pictures of its own and the whole pool can say of the extractor; nothing of a network that
    nobody else has."""
    folder = question.pool or _beside(question.where.data)
    if len(corpus.shape) != 3 or own.is_own(source.name):
        return ()
    if report:
        report("guessing the network from its features", 0, 1)
    others: list[str] = []
    with contextlib.suppress(ModelError):  # a folder without any that is known
        others = pool.names(folder) if folder else []
    known = [source, *(pool.load(folder, name, corpus.shape) for name in others if name != source.name)]
    head = head_of(made, source)
    x = inputs(corpus.aux_train.x[: max(GUESSES)])
    return tuple(anonymity(head, made.source, made.layer, made.channels, x, known, GUESSES))


def identified(found: Sequence[Anonymity]) -> bool:
    """Whether an adversary's own pictures name the network, the layer and most of its channels."""
    return any(one.named and one.rate >= MOST for one in found)


def write(made: Plan, source: Source, corpus: Corpus, where: Where, out: Path) -> Path | None:
    """plan.json and edge.onnx, for the client's eyes alone. The same extractor once more takes the salt of its plan
    over, so that releases go on; a plan that was here and says anything else is set aside. Returns where to."""
    run.ensure(out)
    draft = out / ".edge.onnx"
    try:
        export.export_edge(devices.shipped(head_of(made, source), corpus.shape), draft, corpus.shape)
        os.chmod(draft, 0o600)
        told = _told(made, corpus, where) | {"edge": run.file_hash(draft)}
        told["salt"] = earlier.salt(out, told) or secrets.token_hex(16)
        before = None if earlier.stands(out, told) else earlier.set_aside(out)
        os.replace(draft, out / "edge.onnx")
    finally:
        draft.unlink(missing_ok=True)
    run.write_text(out / "plan.json", json.dumps(run.sealed(told), indent=1, allow_nan=False), mode=0o600)
    return before


def _told(made: Plan, corpus: Corpus, where: Where) -> dict[str, Any]:
    """A plan with the people that it was made from."""
    return made.json() | {
        "input_shape": list(corpus.shape),
        "target": corpus.target,
        "read_as": {name: getattr(where, name) for name in ("resize", "group", "limit", "top")},
        "data": corpus.digest,
    }


def _beside(where: str) -> str | None:
    folder = Path(where).resolve().parent / BESIDE
    return str(folder) if Path(where).exists() and folder.is_dir() else None
