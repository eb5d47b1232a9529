"""What a study will do, drawn up and checked before any time is spent: people, network, cut, defenses, trials."""

from __future__ import annotations

import math
import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from privet import cost, data, experiment, models, run, trained, workers
from privet import defense as defenses
from privet.attack import costly, slow
from privet.auditing import curves
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.errors import CutError, DataError, RunError, SpecError
from privet.experiment import REFERENCE
from privet.joint import hidden_attributes
from privet.searching import TRIED
from privet.setting import Report, Setting, trial_name
from privet.split import Cut, cuts, split
from privet.train import Effort, inputs, one_thread

SLOWER = 0.9  # of what all others take together: a slow attack, on average over the 25 defenses


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
    top: str | None = None
    dependence: str | None = None

    def load(self, progress: Callable[[int, int], None] | None = None) -> Corpus:
        """The corpus; its roles depend on the contents alone."""
        return data.load(**asdict(self), progress=progress)


@dataclass(frozen=True)
class Study:
    """Everything that was asked: people, network, cut, defenses, seeds, and how long it may take.

    Studies of different names may share the folder `out`: a trial's folder is named by what it depends on, so that they
    share trained networks and equal trials, too. The methods are what differs where nothing is trained and somebody
    else's payloads are attacked (`privet.recorded`).
    """

    source: Source
    setting: Setting
    defenses: tuple[str, ...]
    seeds: int
    out: Path
    jobs: int = 0
    max_minutes: float | None = None
    any_version: bool = False
    name: str = "study"

    @property
    def plan(self) -> Path:
        """The file that says which trials belong to this study."""
        return self.out / f"{self.name}.json"

    def load(self, progress: Callable[[int, int], None] | None = None) -> Corpus:
        """The people; their roles depend on the contents alone."""
        return self.source.load(progress)

    @property
    def reference(self) -> str:
        """What comes first, carries floors and calibration, and gives every number its scale."""
        return REFERENCE

    def systems(self, corpus: Corpus) -> list[str]:
        """What is compared, the reference first; SpecError, CutError and others for what cannot be."""
        named = {REFERENCE: REFERENCE}  # shortest spelling -> as given; two spellings of one defense are one trial
        for text in self.defenses:
            named.setdefault(defenses.spell(defenses.parse(text)), text)
        if (corpus.task_val.y >= 0).sum() < 2 or (corpus.victim.y >= 0).sum() < 10:
            raise DataError(
                f"too few people carry the target {corpus.target!r} to choose and to score; label more of them"
            )
        halves = split(_network(self.setting, corpus).eval(), inputs(corpus.victim.x[:2]), self.setting.at)
        for text in named.values():
            wanted = defenses.parse(text)
            defenses.check(wanted, halves)
            for link in getattr(wanted, "defenses", (wanted,)):
                if hasattr(link, "attribute"):
                    hidden_attributes(corpus, link.attribute)
        return list(named.values())

    def trial_name(self, corpus: Corpus, system: str, seed: int, *, calibrated: bool) -> str:
        """The name of a trial's folder."""
        return trial_name(self.setting, corpus, system, seed, calibrated)

    def prepare(self, corpus: Corpus, seed: int, report: Report = None) -> None:
        """What all trials of a seed share."""
        trained.task_model(self.setting, corpus, seed, self.out, report)
        trained.picture_judge(self.setting, corpus, seed, self.out, report)

    def trial(self, corpus: Corpus, system: str, seed: int, *, calibrated: bool, report: Report = None) -> run.Run:
        """One trial, run or read back."""
        return experiment.trial(
            self.setting, corpus, system, seed, self.out,
            calibrated=calibrated, any_version=self.any_version, report=report,
        )  # fmt: skip

    def lacking(self, corpus: Corpus) -> dict[str, str]:
        """Quantities that `--fail-if` asks for in vain, each with the reason and a remedy."""
        return {}

    def told(self, corpus: Corpus) -> dict[str, Any]:
        """What a plan says of the systems compared: title, command, model, cut, threat, and the name of the scale."""
        setting = self.setting
        return {
            "title": f"{corpus.name}: {corpus.target}, hiding {', '.join(corpus.hidden)}",
            "command": command(self, corpus),
            "model": setting.model + (f", trained on with {setting.training}" if setting.training else ""),
            "at": setting.at,
            "threat": Threat.named(setting.threat, setting.side).describe(),
        }

    def seconds(self, corpus: Corpus) -> tuple[float, float]:
        """Rough seconds that one step of an attack takes for an example, and that training takes in one trial."""
        per_example, effort = _seconds_per_example(self.setting, corpus), Effort.named(self.setting.effort)
        return per_example, effort.tune_epochs * len(corpus.task_train) * per_example

    def __post_init__(self) -> None:
        if not 1 <= self.seeds <= 1000:
            raise SpecError(f"--seeds must be at least 1 and at most 1000, got {self.seeds}")
        workers.wanted(self.jobs)
        if self.max_minutes is not None and not self.max_minutes > 0:
            raise SpecError(f"--max-minutes must be positive, got {self.max_minutes}")


@dataclass
class Schedule:
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
        """What `Study.plan` holds: enough to make the report again without the data."""
        study = self.study
        listed = list(dict.fromkeys(d for d, _ in self.trials))
        return {
            "format": run.FORMAT,
            "folder": str(study.out),
            "data": data.describe(self.corpus),
            "data_digest": self.corpus.digest,
            "effort": study.setting.effort,
            "reference": study.reference,
            "defenses": listed,
            "seeds": sorted({s for _, s in self.trials}),
            "trials": [{"defense": d, "seed": s, "name": self.names[d, s]} for d, s in self.trials],
        } | study.told(self.corpus)


def draw_up(study: Study, corpus: Corpus) -> Schedule:
    """Check everything that can be wrong before any time is spent, and list the trials, the undefended reference
    first. Finished runs are read here: RunError where one is damaged or of another version."""
    study.setting.check()
    if study.out.is_file():
        raise RunError(f"--out {study.out} is a file; give a folder, which is made where there is none")
    for attribute in study.setting.side:
        if attribute not in corpus.classes:
            raise DataError(
                f"the side information {attribute!r} is not among the attributes {', '.join(corpus.classes)}"
            )
    _enough(corpus)
    if study.setting.curves:
        _enough_for_curves(study, corpus)
    systems = study.systems(corpus)
    trials = [(d, s) for s in range(study.seeds) for d in systems]
    names = {(d, s): study.trial_name(corpus, d, s, calibrated=(d, s) == trials[0]) for d, s in trials}
    planned = Schedule(study, corpus, trials, names)
    planned.finished = {
        t for t in trials if run.read(study.out / "runs" / names[t], any_version=study.any_version) is not None
    }
    return planned


def _enough(corpus: Corpus) -> None:
    """Every question needs somebody who carries its label: the victims to score, the adversary to learn and to
    choose."""
    for attribute in corpus.hidden:
        for role, least in (("aux_train", 10), ("aux_val", 2), ("victim", 10)):
            part = corpus.parts[role]
            known = part.s[attribute] >= 0
            if known.sum() < least or len(np.unique(part.groups[known])) < 2:
                raise DataError(
                    f"{attribute!r} is known of {int(known.sum())} people in the part {role}; an audit needs "
                    f"{least} of "
                    f"2 groups or more: give more data, label more of it, or leave {attribute!r} out"
                )


def _enough_for_curves(study: Study, corpus: Corpus) -> None:
    threat = Threat.named(study.setting.threat, study.setting.side)
    labelled = max(int((corpus.aux_train.s[name] >= 0).sum()) for name in corpus.hidden)
    people = max(min(labelled, threat.labels or labelled), min(len(corpus.aux_train), threat.pairs or labelled))
    if not curves.sizes(people):
        raise SpecError(
            f"--curves needs {curves.LEAST << (curves.FEWEST - 1)} people to learn from, halved down to "
            f"{curves.LEAST}, and this adversary has {people}; give more data, another --threat, or leave it out"
        )


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
        "--victims": source.victims, "--group": source.group, "--limit": source.limit, "--top": source.top,
        "--training": setting.training, "--judges": setting.judges,
        "--on-bad": None if source.on_bad == "skip" else source.on_bad,
        "--device": None if setting.device == "cpu" else setting.device,
    }  # fmt: skip
    words += [w for key, value in optional.items() if value is not None for w in (key, str(value))]
    words += ["--curves"] if setting.curves else []
    words += ["--threat", setting.threat, "--effort", setting.effort, "--seeds", str(study.seeds)]
    words += ["--out", str(study.out)]
    return shlex.join(words)


def estimate(planned: Schedule, *, trained: bool = False) -> float:
    """A rough number of seconds that the missing trials will take, from a few timed steps on this machine; `trained`
    where another study makes the task networks."""
    study, corpus = planned.study, planned.corpus
    missing = len(planned.trials) - len(planned.finished)
    if not missing:
        return 0.0
    effort = Effort.named(study.setting.effort)
    with one_thread():
        per_example, fitting = study.seconds(corpus)
    seeds = {s for t, s in planned.trials if (t, s) not in planned.finished}
    untrained = trained or study.setting.freeze == "both" or not fitting
    passes = (0 if untrained else effort.task_epochs) + (effort.task_epochs if study.setting.training else 0)
    training = len(seeds) * passes * len(corpus.parts.get("task_train", ())) * per_example
    training += fitting * sum(t not in planned.finished and t[0] != study.reference for t in planned.trials)
    epochs, _ = effort.attack_schedule("attribute", len(corpus.aux_train))
    drawn, _ = effort.attack_schedule("reconstruct", len(corpus.aux_train))
    attacks, _ = portfolio(
        Threat.named(study.setting.threat, study.setting.side), study.setting.attacks, study.setting.effort
    )
    naming = sum(attack.goal == "attribute" for attack in attacks.values()) * len(corpus.hidden)
    attacking = (0.015 * epochs * effort.grid * naming + 0.35 * drawn) * len(corpus.aux_train) * per_example + naming
    # a few settings on some people, then everybody who is asked about
    searched = 1.5 * (TRIED * (effort.grid + 2) + effort.asked) * sum(map(costly, attacks.values()))
    attacking += searched * effort.inversion_steps * per_example
    attacking *= 1 + SLOWER * sum(map(slow, attacks.values()))
    attacking *= 1.4 if study.setting.curves else 1
    jobs = max(1, min(workers.wanted(study.jobs), missing))
    return (training + attacking * (missing + 2)) / jobs + 4


def _seconds_per_example(setting: Setting, corpus: Corpus) -> float:
    model = models.load(setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target)).train()
    return timed(model, inputs(corpus.task_train.x[:64]))


def timed(model: nn.Module, x: torch.Tensor) -> float:
    """Seconds that one training step of a network takes for an example of x [B, ...]."""
    if len(x) < 2:
        return 1e-3
    times = []
    for _ in range(3):
        started = time.perf_counter()
        model(x).logsumexp(1).sum().backward()
        times.append(time.perf_counter() - started)
    return min(times) / len(x)


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
    return cuts(_network(setting, corpus).eval(), inputs(corpus.victim.x[:2]))


def _network(setting: Setting, corpus: Corpus) -> nn.Module:
    weights = Path(setting.weights) if setting.weights else None
    return models.load(setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), weights=weights)
