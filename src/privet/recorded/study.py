"""A study of recordings: the trials of `privet.study`, in which nothing is trained but the adversaries."""

from __future__ import annotations

import shlex
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
import torch

from privet import run, schedule
from privet.attack import Probe, Solver
from privet.auditing.judge import Rules, judge
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.errors import SpecError
from privet.nets import mlp
from privet.recorded import files as recordings
from privet.recorded import shipped
from privet.recorded.columns import PREFIX
from privet.recorded.system import Recordings
from privet.setting import Report, Setting, file_of
from privet.train import Effort

DEFAULT = "digits"  # what is audited where nothing is named


@dataclass(frozen=True)
class Recording(schedule.Study):
    """Payload `files`, or a `bundle` and the people of `source`; `defenses` are the names of the systems."""

    files: tuple[str, ...] = ()
    prefix: str = PREFIX
    bundle: str | None = None
    on_bad: str = "stop"

    def load(self, progress: Callable[[int, int], None] | None = None) -> Corpus:
        if self.bundle:
            return shipped.load(self.bundle, self.source, progress)
        return recordings.read(self.files, self.source, prefix=self.prefix, on_bad=self.on_bad, progress=progress)

    @property
    def reference(self) -> str:
        return self.defenses[0]

    def systems(self, corpus: Corpus) -> list[str]:
        self.portfolio(corpus)
        return list(self.defenses)

    def threat(self, corpus: Corpus) -> Threat:
        """The adversary, with what this recording lets it learn from."""
        asked = Threat.named(self.setting.threat, self.setting.side)
        if asked.queries > 1 and not self.bundle:
            raise SpecError(
                f"the threat {asked.name!r} sees {asked.queries} payloads of one input, and a payload file holds one; "
                "choose server, eavesdropper or few_labels"
            )
        return asked.of_recording(_recordings(corpus).held)

    def portfolio(self, corpus: Corpus) -> tuple[dict[str, Probe | Solver], dict[str, str]]:
        """The attacks that run, and those left out with the reason."""
        return portfolio(self.threat(corpus), self.setting.attacks, self.setting.effort)

    def trial_name(self, corpus: Corpus, system: str, seed: int, *, calibrated: bool) -> str:
        attacks, _ = self.portfolio(corpus)
        identity = asdict(self.setting) | {
            "system": _recordings(corpus).systems[system].digest,
            "effort": asdict(Effort.named(self.setting.effort)),
            "attacks": sorted((name, file_of(type(attack))) for name, attack in attacks.items()),
            "seed": seed,
            "reference": system == self.reference,
            "calibrated": calibrated,
            "data": corpus.digest,
        }
        return run.name_of(identity, asdict(Setting("", "")))

    def prepare(self, corpus: Corpus, seed: int, report: Report = None) -> None:
        """Nothing is shared: nobody trains a network here."""

    def trial(self, corpus: Corpus, system: str, seed: int, *, calibrated: bool, report: Report = None) -> run.Run:
        folder = self.out / "runs" / self.trial_name(corpus, system, seed, calibrated=calibrated)
        if done := run.read(folder, any_version=self.any_version):
            return done
        started = time.monotonic()
        attacks, left_out = self.portfolio(corpus)
        threat, effort = self.threat(corpus), Effort.named(self.setting.effort)
        sender = _recordings(corpus).systems[system]
        observed = sender.observe(corpus, threat, seed)
        found = judge(
            observed, corpus, Rules(threat, attacks, effort, seed, self.setting.device, self.setting.curves),
            reference=system == self.reference, calibrated=calibrated, report=report, clock=time.process_time,
        )  # fmt: skip
        record = {
            "setting": asdict(self.setting),
            "defense": system,
            "seed": seed,
            "data": corpus.digest,
            "results": found.results | sender.facts() | {"left_out": left_out},
            "versions": run.versions(),
            "seconds": time.monotonic() - started,
            "attack_seconds": found.seconds,
        }
        return run.write(folder, record, found.arrays)

    def lacking(self, corpus: Corpus) -> dict[str, str]:
        found = {}
        if len(self.defenses) == 1:
            found["normalized"] = "a recording alone has no scale; use advantage, or audit it beside an undefended one"
        if self.files:
            found["certified"] = "no bound on every attacker can be had of a file; use advantage, or audit a bundle"
            judged = [_recordings(corpus).systems[name] for name in self.defenses[1:] or self.defenses]
            if np.all(corpus.victim.y < 0) or any(system.sent(corpus, "victim", 0)[1] is None for system in judged):
                found["utility"] = (
                    "how well the service answers was not recorded; give the column answer and the true classes as "
                    "--target, or leave this gate out"
                )
        return found

    def told(self, corpus: Corpus) -> dict[str, Any]:
        several = len(self.defenses) > 1
        subject = f"{len(self.defenses)} recordings: what their" if several else f"{self.reference}: what its"
        return {
            "title": f"{subject} payloads say about {', '.join(corpus.hidden)}",
            "command": command(self, corpus),
            "model": "",
            "at": "",
            "threat": self.threat(corpus).describe(),
            "scale": self.reference if several else None,
        }

    def seconds(self, corpus: Corpus) -> tuple[float, float]:
        width = max(system.width for system in _recordings(corpus).systems.values())
        many = max(corpus.n_classes(name) for name in corpus.hidden)
        generator = torch.Generator().manual_seed(0)
        return schedule.timed(mlp(width, (256,), many).train(), torch.rand(64, width, generator=generator)), 0.0


def study(
    source: schedule.Source, setting: Setting, *, defenses: tuple[str, ...], seeds: int, out: Path, jobs: int,
    max_minutes: float | None, any_version: bool, files: tuple[str, ...], prefix: str, bundle: str | None,
    on_bad: str | None,
) -> Recording:  # fmt: skip
    """The study of payload files or of a bundle; source.data is empty where nobody named it. SpecError where both are
    given, or what only a split of our own takes."""
    if files and bundle:
        raise SpecError("--payloads and a bundle are two systems recorded in two ways; audit one of them at a time")
    unfit = {
        "--defense": defenses, "--model": setting.model, "--at": setting.at, "--weights": setting.weights,
        "--freeze": setting.freeze, "--training": setting.training,
    }  # fmt: skip
    if files:
        unfit |= {
            "--data": source.data, "--aux": source.aux, "--victims": source.victims, "--top": source.top,
            "--dependence": source.dependence,
        }  # fmt: skip
    if given := [name for name, value in unfit.items() if value]:
        what = "payload files bring their own people and are attacked" if files else "a bundle is attacked"
        raise SpecError(f"{what} as recorded, so {', '.join(given)} cannot be given; leave it out")
    source = source if files else replace(source, data=source.data or DEFAULT)
    names = recordings.labels(files) if files else [shipped.label(str(bundle))]
    return Recording(
        source, replace(setting, model="recorded"), tuple(names), seeds, out, jobs, max_minutes, any_version,
        files=files, prefix=prefix, bundle=bundle, on_bad=on_bad or ("stop" if files else "skip"),
    )  # fmt: skip


def command(study: Recording, corpus: Corpus) -> str:
    """The command line that makes this study again."""
    source, setting = study.source, study.setting
    words = ["privet", "audit"]
    words += [study.bundle, "--data", source.data] if study.bundle else []
    words += [w for file in study.files for w in ("--payloads", file)]
    words += ["--target", source.target] if source.target else []
    words += [w for name in corpus.hidden for w in ("--hidden", name)]
    words += [w for name in setting.side for w in ("--side", name)]
    words += [w for attack in setting.attacks for w in ("--attack", attack)]
    optional = {
        "--payload-columns": None if study.prefix == PREFIX else study.prefix, "--resize": source.resize,
        "--aux": source.aux, "--victims": source.victims, "--group": source.group, "--limit": source.limit,
        "--top": source.top, "--dependence": source.dependence,
        "--on-bad": None if study.on_bad == ("skip" if study.bundle else "stop") else study.on_bad,
        "--device": None if setting.device == "cpu" else setting.device,
    }  # fmt: skip
    words += [w for key, value in optional.items() if value is not None for w in (key, str(value))]
    words += ["--threat", setting.threat, "--effort", setting.effort, "--seeds", str(study.seeds)]
    return shlex.join([*words, "--out", str(study.out)])


def _recordings(corpus: Corpus) -> Recordings:
    assert isinstance(corpus, Recordings)
    return corpus
