"""What a trial depends on: said by the user, checked before anything is loaded, and what names its runs."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import torch

from privet import defense as defenses
from privet import models, run
from privet.architectures import BUILT_IN
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.errors import SpecError, unknown
from privet.pretrained import outsiders
from privet.train import Effort

Report = Callable[[str, int, int], None] | None


@dataclass(frozen=True)
class Setting:
    """What one trial depends on, beside its defense and seed. Paths are not part of it: contents are, by hash."""

    model: str
    at: str
    threat: str = "server"
    side: tuple[str, ...] = ()
    attacks: tuple[str, ...] = ()
    effort: str = "standard"
    weights: str | None = None
    freeze: str | None = None
    device: str = "cpu"
    training: str | None = None  # a defense that trains both halves on, whose network all defenses then start from
    curves: bool = False  # whether the strongest attacks learn again from fewer people
    judges: str | None = None  # a folder of networks that other people trained, asked about rebuilt pictures

    def check(self) -> None:
        """Refuse with SpecError what can be seen to be wrong before anything is loaded."""
        if self.freeze not in (None, "edge", "server", "both"):
            raise SpecError(unknown("half to freeze", self.freeze, ("edge", "server", "both")))
        usable(self.device)
        if self.freeze and not self.weights and self.model in ("", *BUILT_IN):
            raise SpecError(
                f"--freeze {self.freeze} keeps {self.model or 'the default network'} as it is drawn "
                f"at random; give --weights"
            )
        if self.training:
            method = defenses.parse(self.training)
            if not getattr(method, "trains", False):
                raise SpecError(
                    f"--training takes a defense that trains the network and sends what it sent before, such as "
                    f"content_training; {self.training!r} does not: give it as --defense"
                )
        Effort.named(self.effort)
        portfolio(Threat.named(self.threat, self.side), self.attacks)
        if self.judges:
            outsiders.load(self.judges)


def trial_name(setting: Setting, corpus: Corpus, defense: str, seed: int, calibrated: bool) -> str:
    """The name of a trial's folder."""
    threat, chosen = Threat.named(setting.threat, setting.side), defenses.parse(defense)
    identity = asdict(setting) | {
        "weights": run.file_hash(Path(setting.weights)) if setting.weights else None,
        "code": source_of(setting.model),
        "effort": asdict(Effort.named(setting.effort)),
        "training": further_training(setting),
        "judges": sorted((n, run.file_hash(file)) for n, file in outsiders.files(setting.judges).items())
        if setting.judges
        else None,
        "attacks": sorted(
            (name, file_of(type(a))) for name, a in portfolio(threat, setting.attacks, setting.effort)[0].items()
        ),
        "defense": defenses.spell(chosen),
        "methods": [file_of(type(link)) for link in getattr(chosen, "defenses", (chosen,))],
        "seed": seed,
        "calibrated": calibrated,
        "data": corpus.digest,
    }
    return run.name_of(
        identity,
        {
            "threat": "server",
            "side": (),
            "weights": None,
            "freeze": None,
            "device": "cpu",
            "training": None,
            "curves": False,
            "judges": None,
            "calibrated": False,
        },
    )


def further_training(setting: Setting) -> list[str | None] | None:
    """What identifies the further training: its spelling and the file of its method."""
    if not setting.training:
        return None
    method = defenses.parse(setting.training)
    return [defenses.spell(method), file_of(type(method))]


def source_of(reference: str) -> str | None:
    """The hash of the file that holds a user's own network, so that an edited network is another trial."""
    if ":" not in reference or reference.startswith(("torchvision:", "timm:")):
        return None
    return file_of(models.resolve(reference))


def file_of(code: Any) -> str | None:
    """The hash of the file in which a class or function is written, or None."""
    try:
        file = inspect.getsourcefile(code)
    except TypeError:
        return None
    return run.file_hash(Path(file)) if file else None


def stage(report: Report, text: str) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(text, done, total)


def among(report: Report, number: int, count: int) -> Report:
    """What one of several stages tells, in the progress of all of them."""
    if report is None:
        return None
    return lambda text, done, total: report(text, number * total + done, count * total)


def usable(device: str) -> None:
    """SpecError where a device is not there."""
    if device.split(":")[0] not in ("cpu", "cuda"):
        raise SpecError(f"the device {device!r} cannot be used here (cpu and cuda can); use --device cpu")
    try:
        torch.empty(0, device=device)
    except (RuntimeError, AssertionError) as problem:
        reason = (str(problem).strip().splitlines() or ["no reason given"])[0]
        raise SpecError(f"the device {device!r} cannot be used here ({reason}); use --device cpu") from problem
