"""Profile: what a client pays for each cut and kept share, measured on the owner's own held-out people.

"The server also provides a profile of the average reduction in target accuracy by removing a given fraction of the
signal content for each split layer" (Samragh et al. 2021, arXiv:2104.11413, section 4.3). No attack runs here."""

from __future__ import annotations

import inspect
import json
import math
import shlex
from collections.abc import Callable, Iterable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from privet import cost, data, models, run, schedule, trained
from privet import defense as defenses
from privet.auditing.estimate import estimate, paired, weights
from privet.data.corpus import Corpus, Part
from privet.defense import Defended
from privet.errors import CutError, DataError, PrivetError, SpecError
from privet.payload import Array
from privet.report.profiles import Profile, Row, choose
from privet.schedule import Source, Study
from privet.setting import Setting
from privet.split import Split
from privet.train import Effort, inputs, labelled, one_thread, predict

SHARES = ("free", "0.8", "0.5", "0.3", "0.2", "0.1", "0.05", "1", "2", "4", "8")
CHUNK = 256
Report = Callable[[str, int, int], None] | None


@dataclass(frozen=True)
class Question:
    """What is profiled. keeps: kept shares of the rank (`0.5`), numbers of coefficients (`4`) or `free`; cuts: module
    paths, all legal ones where empty; order and bits are those of `signal_content`."""

    keeps: tuple[str, ...] = SHARES
    cuts: tuple[str, ...] = ()
    order: str = "energy"
    bits: int | None = None
    seeds: int = 3
    at_most: float = 0.01
    sure: bool = False

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= 1000:
            raise SpecError(f"--seeds must be at least 1 and at most 1000, got {self.seeds}")
        if not math.isfinite(self.at_most) or not 0 <= self.at_most <= 1:
            raise SpecError(f"--at-most is a share of accuracy from 0 to 1 (0.01 is one point), got {self.at_most}")
        if self.order not in ("energy", "singular"):
            raise SpecError(f"--order is energy or singular, got {self.order!r}")
        for keep in self.keeps:
            _number(keep)
            defenses.parse(self.defense(keep))

    def defense(self, keep: str) -> str:
        """The defense of a kept share, as the command line writes it."""
        bits = f",bits={self.bits}" if self.bits is not None else ""
        return f"signal_content:keep={keep}{f',order={self.order}' if self.order != 'energy' else ''}{bits}"


def profile(
    source: Source, setting: Setting, question: Question, out: Path, *, report: Report = None, loading: Any = None
) -> Profile:
    """Fit every share at every cut for each seed, or find it from before, and compare with the undefended network.

    setting.at is ignored; with setting.training the network is trained on at each cut, and compared with itself.
    Raises the errors of `privet.errors`: SpecError for shares, CutError for unknown cuts or where no cut begins with a
    linear operator, DataError where too few people are held out, RunError for the folder.
    """
    setting.check()
    if not source.hidden and source.data != "digits":
        source = replace(source, hidden=("all",))  # what is hidden has no say here
    corpus = source.load(loading)
    if not setting.model:
        setting = schedule.with_defaults(setting, corpus)
    case = _Case(source, setting, question, corpus, _held_out(corpus), out)
    with run.locked(out), one_thread():
        cuts, refused = _cuts(setting, corpus, question)
        jobs = [(seed, cut, keep) for seed in range(question.seeds) for cut in cuts for keep in question.keeps]
        networks = {seed: _Network(case, seed, report) for seed in range(question.seeds)}
        plain = {seed: network.undefended("") for seed, network in networks.items()}
        found: _Found = {}
        for done, (seed, cut, keep) in enumerate(jobs):
            if report:
                report(f"seed {seed}, {cut}, keep={keep}", done, len(jobs))
            name = f"{cut}, keep={keep}"
            if name not in refused:
                try:
                    answers = networks[seed].row(cut, question.defense(keep))
                except SpecError as why:  # more coefficients than this cut has
                    refused[name] = str(why)
                    found.pop((cut, keep), None)
                else:
                    base = networks[seed].undefended(cut) if setting.training else plain[seed]
                    found.setdefault((cut, keep), {})[seed] = (base, answers)
    if not found:
        raise SpecError(f"nothing could be profiled: {'; '.join(dict.fromkeys(refused.values())) or 'no cut applies'}")
    return _profile(case, plain, found, refused)


_Found = dict[tuple[str, str], dict[int, tuple[dict[str, Any], dict[str, Any]]]]


@dataclass(frozen=True)
class _Case:
    """A profile's question with its people."""

    source: Source
    setting: Setting
    question: Question
    corpus: Corpus
    part: Part
    out: Path


def _profile(case: _Case, plain: dict[int, dict[str, Any]], found: _Found, refused: dict[str, str]) -> Profile:
    """The tables under one set of weights, the rows, and the choice."""
    part, question = case.part, case.question
    drawn = weights(part.groups, Effort.named(case.setting.effort).bootstrap, seed=0)
    groups, people = len(np.unique(part.groups)), len(part)

    def tables(answers: Iterable[dict[str, Any]]) -> list[Array]:
        return [np.asarray(drawn @ _bits(a["correct"]) / drawn.sum(1)) for a in answers]

    rows = []
    for (cut, keep), seeds in found.items():
        before, after = (tables(pair[side] for pair in seeds.values()) for side in (0, 1))
        first = seeds[min(seeds)][1]
        rows.append(
            Row(
                cut, _number(keep), first["kept"], first["rank"], first["null_dimension"], first["payload_bytes"],
                first["payload_bytes"] / _raw(case.corpus), first["edge_macs"],
                paired(before, after, people, (-1.0, 1.0), groups), estimate(after, people, (0, 1), groups),
            )
        )  # fmt: skip
    made = Profile(
        title=f"{case.corpus.name}: the profile of {case.corpus.target}",
        data=data.describe(case.corpus),
        model=case.setting.model,
        effort=case.setting.effort,
        seeds=question.seeds,
        people=people,
        groups=groups,
        undefended=estimate(tables(plain.values()), people, (0, 1), groups),
        rows=choose(rows, question.at_most, question.sure),
        refused=refused,
        at_most=question.at_most,
        sure=question.sure,
        folder=str(case.out),
        command=_command(case),
    )
    return replace(made, audit=_audit(made, case))


class _Network:
    """The task network of one seed: trained once (with setting.training once a cut), each row kept as JSON under its
    identity."""

    def __init__(self, case: _Case, seed: int, report: Report) -> None:
        self.setting, self.corpus, self.part, self.out = case.setting, case.corpus, case.part, case.out
        self.effort = Effort.named(case.setting.effort)
        self.seed, self.report = seed, report
        self._models: dict[str, torch.nn.Module] = {}

    def model(self, cut: str) -> torch.nn.Module:
        """Trained or read back when it is first asked for; without a cut, the network of the task alone."""
        key = cut if self.setting.training else ""
        if key not in self._models:
            setting = replace(self.setting, at=key) if key else replace(self.setting, training=None)
            self._models = {key: trained.task_model(setting, self.corpus, self.seed, self.out, self.report)}
        return self._models[key]

    def undefended(self, cut: str) -> dict[str, Any]:
        """Who is answered rightly without a defense."""
        return self._kept(cut, "", lambda: {"correct": self._hex(self._answers(self.model(cut)))})

    def row(self, cut: str, defense: str) -> dict[str, Any]:
        """What one defended split costs, and who is answered rightly."""
        return self._kept(cut, defense, lambda: self._fit(cut, defense))

    def _fit(self, cut: str, defense: str) -> dict[str, Any]:
        halves = trained.cut(self.model(cut), replace(self.setting, at=cut), self.corpus)
        defended = defenses.parse(defense).fit(halves, self.corpus, effort=self.effort, seed=self.seed)
        defended = defended.to(self.setting.device)
        example = inputs(self.part.x[:1], self.setting.device)
        return {
            "kept": int(defended.log["kept"]),
            "rank": int(defended.log["rank"]),
            "null_dimension": int(defended.log["null_dimension"]),
            "payload_bytes": defended.payload_bytes,
            "edge_macs": cost.macs(defended.edge_half, example),
            "correct": self._hex(self._served(defended)),
        }

    def _served(self, defended: Defended) -> Array:
        """The answers that come back for the payloads that would travel."""
        device, answers = self.setting.device, []
        for start in range(0, len(self.part), CHUNK):
            payload = defended.encode(inputs(self.part.x[start : start + CHUNK], device))
            answers.append(defended.server(payload, device).argmax(1).cpu().numpy())
        return np.concatenate(answers)

    def _answers(self, model: torch.nn.Module) -> Array:
        return predict(model, self.part.x, self.setting.device).argmax(1).numpy()

    def _hex(self, answers: Array) -> str:
        """One bit a person, most significant first; the count stands in front."""
        return f"{len(answers)}:{np.packbits(answers == self.part.y).tobytes().hex()}"

    def _kept(self, cut: str, defense: str, make: Callable[[], dict[str, Any]]) -> dict[str, Any]:
        identity = asdict(replace(self.setting, at=cut)) | {
            "weights": run.file_hash(Path(self.setting.weights)) if self.setting.weights else None,
            "defense": defenses.spell(defenses.parse(defense)) if defense else "",
            "code": [
                run.file_hash(Path(inspect.getfile(c))) for c in (_Network, type(defenses.parse("signal_content")))
            ],
            "effort": asdict(self.effort) | {"name": ""},
            "seed": self.seed,
            "data": self.corpus.digest,
            "versions": run.versions()["privet"],
        }
        file = self.out / "profile" / f"{run.name_of(identity, {})}.json"
        if file.is_file():
            try:
                stored = dict(json.loads(file.read_text(encoding="utf-8")))
                whole = ("kept", "rank", "null_dimension", "payload_bytes", "edge_macs") if defense else ()
                if len(_bits(stored["correct"])) == len(self.part) and all(type(stored[k]) is int for k in whole):
                    return stored
            except (OSError, ValueError, KeyError, TypeError):
                pass  # damaged: computed again, and written over
        made = make()
        run.write_text(file, json.dumps(made | {"cut": cut, "defense": defense, "seed": self.seed}, indent=1))
        return made


def _held_out(corpus: Corpus) -> Part:
    """The owner's held-out people who carry the target; DataError where nothing could vary among them."""
    part = corpus.task_val
    rows = labelled(part, part.y)
    found = Part(part.ids[rows], part.groups[rows], part.x[rows], part.y[rows], {k: v[rows] for k, v in part.s.items()})
    if len(np.unique(found.groups)) < 2:
        raise DataError(
            f"{len(rows)} people of the part task_val carry the target {corpus.target!r}; a profile needs 2 or more"
        )
    return found


def _cuts(setting: Setting, corpus: Corpus, question: Question) -> tuple[list[str], dict[str, str]]:
    """The cuts at which the method applies, and why it does not at the others."""
    names = question.cuts or [cut.name for cut in schedule.legal_cuts(setting, corpus)]
    fresh = models.load(setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target)).eval()
    found: list[str] = []
    refused: dict[str, str] = {}
    sent: dict[str, torch.Tensor] = {}
    for name in dict.fromkeys(names):
        halves: Split = trained.cut(fresh, replace(setting, at=name), corpus)  # CutError names the legal ones
        try:
            defenses.check(defenses.parse(question.defense("free")), halves)
        except PrivetError as why:
            refused[name] = str(why)
            continue
        sent[name] = predict(halves.edge, corpus.victim.x[:2], setting.device).flatten(1)
        twin = next((known for known in found if torch.equal(sent[known], sent[name])), None)
        if twin and not question.cuts:
            refused[twin] = f"sends the same as {name}"
            found.remove(twin)
        found.append(name)
    if not found:
        reasons = "; ".join(f"{name}: {why}" for name, why in refused.items())
        raise CutError(f"signal_content applies to no cut of {setting.model!r} among {', '.join(names)}: {reasons}")
    return found, refused


def _raw(corpus: Corpus) -> int:
    """Bytes of one raw input: a byte a pixel, four a column."""
    return math.prod(corpus.shape) * corpus.task_val.x.dtype.itemsize


def _bits(text: str) -> Array:
    count, _, packed = text.partition(":")
    return np.unpackbits(np.frombuffer(bytes.fromhex(packed), np.uint8))[: int(count)].astype(np.float64)


def _number(keep: str) -> str | int | float:
    try:
        return keep if keep == "free" else float(keep) if "." in keep or "e" in keep.lower() else int(keep)
    except ValueError:
        raise SpecError(
            f"--keep is free, a share such as 0.5 or a number such as 4, got {keep!r}; repeat it for several"
        ) from None


def _audit(made: Profile, case: _Case) -> str:
    """The command that measures what the recommendation leaks."""
    if made.best is None:
        return ""
    defense, there = case.question.defense(str(made.best.keep)), replace(case.setting, at=made.best.cut)
    study = Study(case.source, there, ("none", defense), case.question.seeds, Path("privet-out"))
    return schedule.command(study, case.corpus)


def _command(case: _Case) -> str:
    """The command that makes this profile again."""
    source, setting, question, corpus, out = case.source, case.setting, case.question, case.corpus, case.out
    words = ["privet", "profile", "--data", source.data, "--target", corpus.target, "--model", setting.model]
    words += [w for h in (source.hidden if source.hidden != ("all",) else ()) for w in ("--hidden", h)]
    words += [w for name in question.cuts for w in ("--at", name)]
    words += [w for keep in (question.keeps if question.keeps != SHARES else ()) for w in ("--keep", keep)]
    optional = {
        "--weights": setting.weights, "--resize": source.resize, "--group": source.group, "--limit": source.limit,
        "--top": source.top, "--bits": question.bits, "--order": None if question.order == "energy" else question.order,
        "--device": None if setting.device == "cpu" else setting.device, "--training": setting.training,
    }  # fmt: skip
    words += [w for key, value in optional.items() if value is not None for w in (key, str(value))]
    words += ["--at-most", f"{question.at_most:g}", *(["--sure"] if question.sure else [])]
    return shlex.join([*words, "--effort", setting.effort, "--seeds", str(question.seeds), "--out", str(out)])
