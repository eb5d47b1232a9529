"""One trial, told once: a network is trained, cut and defended, answers its question, and is attacked. Everything else
is a room on that way."""

from __future__ import annotations

import inspect
import json
import math
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any, cast

import numpy as np
import torch
from torch import nn

from privet import cost, models, pretrained, run
from privet import defense as defenses
from privet.architectures import BUILT_IN
from privet.auditing import judges, own, wire
from privet.auditing.judge import Rules, judge
from privet.auditing.panel import Panel
from privet.auditing.threat import Threat, portfolio
from privet.content import contents
from privet.data.corpus import Corpus
from privet.errors import ModelError, SpecError, unknown
from privet.run import Run
from privet.split import Split, cuts, split
from privet.train import Effort, fit_task, inputs

REFERENCE = "none"
CONTENT_ON = 256  # people of task_val
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


def trial(
    setting: Setting,
    corpus: Corpus,
    defense: str,
    seed: int,
    out: Path,
    *,
    calibrated: bool = False,
    any_version: bool = False,
    report: Report = None,
) -> Run:
    """Defense, cut and seed to a finished run; an earlier run of the same identity is read back."""
    folder = out / "runs" / trial_name(setting, corpus, defense, seed, calibrated)
    if done := run.read(folder, any_version=any_version):
        return done
    started = time.monotonic()
    effort, threat = Effort.named(setting.effort), Threat.named(setting.threat, setting.side)
    attacks, left_out = portfolio(threat, setting.attacks, setting.effort)

    model = task_model(setting, corpus, seed, out, report)
    halves = cut(model, setting, corpus)
    defended = defenses.parse(defense).fit(
        halves, corpus, effort=effort, seed=seed, progress=_stage(report, f"fitting {defense}")
    )
    defended = defended.to(setting.device)

    observed = wire.observe(defended, corpus, threat, seed, setting.device)
    found = judge(
        observed, corpus, Rules(threat, attacks, effort, seed, setting.device, setting.curves),
        reference=defense == REFERENCE, calibrated=calibrated, report=report, clock=time.process_time,
        panel=panel(setting, corpus, seed, out, report),
        stage=_first_stage(model, setting, corpus) if calibrated else None,
        beside=own.cotrained(defended, observed, setting.device),
    )  # fmt: skip
    content = _content(model, setting, corpus, seed) if defense == REFERENCE else None

    example = inputs(corpus.victim.x[:1], setting.device)
    noise = [torch.as_tensor(n, device=setting.device) for n in defended.draw(1, np.random.default_rng(seed))]
    results = found.results | {
        "fit": defended.log,
        "guarantee": defended.guarantee.statement,
        "no_guarantee": None if defended.guarantee.statement else defended.guarantee.scope,
        "payload_bytes": defended.payload_bytes,
        "edge_macs": cost.macs(defended.edge_half, example, *noise),
        "stochastic": defended.stochastic,
        "shared_noise": any(n.per == "batch" for n in defended.obfuscator.noise),
        "task_val_accuracy": wire.owner_accuracy(defended, corpus, seed, setting.device),
        "flags": list(defended.flags),
        "training": _training_log(setting, corpus, seed, out),
        "content": content,
        "cut_shape": list(halves.shape),
        "left_out": left_out,
    }
    record = {
        "setting": asdict(setting),
        "defense": defense,
        "seed": seed,
        "data": corpus.digest,
        "results": results,
        "versions": run.versions(),
        "seconds": time.monotonic() - started,
        "attack_seconds": found.seconds,
    }
    return run.write(folder, record, found.arrays)


def task_model(setting: Setting, corpus: Corpus, seed: int, out: Path | None, report: Report = None) -> nn.Module:
    """The undefended network of one seed, trained once and kept as safetensors beside the runs (not kept where `out` is
    None)."""
    kept = _model_file(setting, corpus, seed, out) if out else None
    if kept is None or not _sound(kept):
        model, log = _trained(setting, corpus, seed, out, report)
        if kept and log:
            run.write_text(kept.with_suffix(".json"), json.dumps(log, allow_nan=False))
    if kept:
        if not _sound(kept):
            _keep(model, kept)
        # Read back even by who trained it: the layout in memory decides about the last bit of a convolution.
        model = models.load(
            setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), weights=kept, seed=seed
        )
    return model.to(setting.device).eval()


def _keep(model: nn.Module, kept: Path) -> None:
    """Write a network, and its hash beside it."""
    run.ensure(kept.parent)
    with run.writing(kept):
        models.save_weights(model, kept)
    run.write_text(kept.with_suffix(".sha256"), run.file_hash(kept))


def picture_judge(setting: Setting, corpus: Corpus, seed: int, out: Path, report: Report = None) -> judges.Judge | None:
    """The judge of rebuilt pictures of one seed, trained once for all defenses and kept beside the networks; None where
    no picture is rebuilt."""
    attacks, _ = portfolio(Threat.named(setting.threat, setting.side), setting.attacks, setting.effort)
    if len(corpus.shape) != 3 or all(attack.goal != "reconstruct" for attack in attacks.values()):
        return None
    effort = Effort.named(setting.effort)
    identity = {
        "judge": file_of(judges.Judge),
        "effort": asdict(effort) | {"name": ""},
        "device": setting.device,
        "seed": seed,
        "data": corpus.digest,
        "versions": run.versions()["privet"],
    }
    kept = out / "models" / f"{run.name_of(identity, {})}.safetensors"
    if not _sound(kept):
        learned = judges.train(
            corpus, effort=effort, seed=seed, device=setting.device, progress=_stage(report, "training the judge")
        )
        _keep(learned, kept)
    with torch.random.fork_rng(devices=[]):
        network = judges.judge(corpus)
    models.load_weights(network, kept)
    return network.to(setting.device).eval()


def panel(setting: Setting, corpus: Corpus, seed: int, out: Path, report: Report = None) -> Panel | None:
    """Everybody who judges rebuilt pictures; None where none are rebuilt."""
    network = picture_judge(setting, corpus, seed, out, report)
    outside = pretrained.load(setting.judges) if setting.judges and network else {}
    return Panel(corpus, network, outside, setting.device) if network else None


def _trained(
    setting: Setting, corpus: Corpus, seed: int, out: Path | None, report: Report
) -> tuple[nn.Module, dict[str, Any]]:
    """The network trained now, and what further training logged; that starts from the network of the task alone."""
    if setting.training:
        model = task_model(replace(setting, training=None), corpus, seed, out, report)
        return model, _train_on(model, setting, corpus, seed, report)
    weights = Path(setting.weights) if setting.weights else None
    model = models.load(
        setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), weights=weights, seed=seed
    )
    fit_task(
        model,
        corpus,
        effort=Effort.named(setting.effort),
        seed=seed,
        frozen=frozen(model, setting, corpus),
        still=still(model, setting, corpus),
        device=setting.device,
        progress=_stage(report, "training the task"),
    )
    return model, {}


def _model_file(setting: Setting, corpus: Corpus, seed: int, out: Path) -> Path:
    """Where the task network of this setting is kept: its name is the hash of what it depends on."""
    weights = Path(setting.weights) if setting.weights else None
    identity = {
        "model": setting.model,
        "weights": run.file_hash(weights) if weights else None,
        "code": _source(setting.model),
        "at": setting.at if setting.freeze in ("edge", "server") or setting.training else None,
        "training": _training(setting),
        "freeze": setting.freeze,
        "device": setting.device,
        "effort": asdict(Effort.named(setting.effort)) | {"name": ""},
        "seed": seed,
        "data": corpus.digest,
        "versions": run.versions()["privet"],
    }
    return out / "models" / f"{run.name_of(identity, {})}.safetensors"


def _train_on(model: nn.Module, setting: Setting, corpus: Corpus, seed: int, report: Report) -> dict[str, Any]:
    """Let a defense train the network further at the cut, and put the weights back into the whole, in place. Returns
    what the training logged."""
    method = defenses.parse(setting.training or "")
    halves = cut(model.eval(), setting, corpus)
    done = method.fit(
        halves,
        corpus,
        effort=Effort.named(setting.effort),
        seed=seed,
        progress=_stage(report, f"training with {setting.training}"),
    )
    trained = done.split
    weights = trained.edge.state_dict() | trained.server.state_dict()
    names = model.state_dict().keys()
    if not names <= weights.keys():
        lost = ", ".join(sorted(names - weights.keys())[:3])
        raise ModelError(
            f"the halves that {setting.training!r} trained cannot be put together again (no weights for {lost}); "
            f"use it as a defense instead: --defense {setting.training}"
        )
    model.load_state_dict({name: weights[name] for name in names})
    return done.log


def _training(setting: Setting) -> list[str | None] | None:
    """What identifies the further training: its spelling and the file of its method."""
    if not setting.training:
        return None
    method = defenses.parse(setting.training)
    return [defenses.spell(method), file_of(type(method))]


def _training_log(setting: Setting, corpus: Corpus, seed: int, out: Path) -> dict[str, Any] | None:
    file = _model_file(setting, corpus, seed, out).with_suffix(".json") if setting.training else None
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8"))) if file and file.is_file() else None


def _content(model: nn.Module, setting: Setting, corpus: Corpus, seed: int) -> dict[str, list[dict[str, Any]]]:
    """The signal content that each layer passes on, beside that of the same network before any training, on the
    owner's people."""
    x = inputs(corpus.task_val.x[:CONTENT_ON], setting.device)
    fresh = models.load(setting.model, shape=corpus.shape, classes=corpus.n_classes(corpus.target), seed=seed)
    networks = {"trained": model, "untrained": fresh.to(setting.device)}
    return {name: [asdict(layer) for layer in contents(network, x)] for name, network in networks.items()}


def _first_stage(model: nn.Module, setting: Setting, corpus: Corpus) -> nn.Module | None:
    """The network up to its first legal cut, where that has at least as many values as the input."""
    example = inputs(corpus.victim.x[:2], setting.device)
    first = cuts(model, example)[0]
    return split(model, example, first.name).edge if math.prod(first.shape) >= math.prod(corpus.shape) else None


def check(setting: Setting) -> None:
    """Refuse with SpecError what can be seen to be wrong before anything is loaded."""
    if setting.freeze not in (None, "edge", "server", "both"):
        raise SpecError(unknown("half to freeze", setting.freeze, ("edge", "server", "both")))
    if setting.device.split(":")[0] not in ("cpu", "cuda"):
        raise SpecError(f"the device {setting.device!r} cannot be used here (cpu and cuda can); use --device cpu")
    try:
        torch.empty(0, device=setting.device)
    except (RuntimeError, AssertionError) as problem:
        reason = (str(problem).strip().splitlines() or ["no reason given"])[0]
        raise SpecError(f"the device {setting.device!r} cannot be used here ({reason}); use --device cpu") from problem
    if setting.freeze and not setting.weights and setting.model in ("", *BUILT_IN):
        raise SpecError(
            f"--freeze {setting.freeze} keeps {setting.model or 'the default network'} as it is drawn "
            f"at random; give --weights"
        )
    if setting.training:
        method = defenses.parse(setting.training)
        if not getattr(method, "trains", False):
            raise SpecError(
                f"--training takes a defense that trains the network and sends what it sent before, such as "
                f"content_training; {setting.training!r} does not: give it as --defense"
            )
    Effort.named(setting.effort)
    portfolio(Threat.named(setting.threat, setting.side), setting.attacks)
    if setting.judges:
        pretrained.load(setting.judges)


def _sound(kept: Path) -> bool:
    """Whether a kept network is there and is what was written; a damaged one is trained again."""
    beside = kept.with_suffix(".sha256")
    return kept.is_file() and beside.is_file() and beside.read_text(encoding="utf-8") == run.file_hash(kept)


def cut(model: nn.Module, setting: Setting, corpus: Corpus) -> Split:
    """Both halves, with what the user froze."""
    halves = split(model, inputs(corpus.victim.x[:2], setting.device), setting.at)
    both = (
        frozenset({"edge", "server"})
        if setting.freeze == "both"
        else frozenset({setting.freeze} if setting.freeze else ())
    )
    return Split(halves.edge, halves.server, halves.cut, halves.shape, halves.tracer, both)


def frozen(model: nn.Module, setting: Setting, corpus: Corpus) -> frozenset[str]:
    """Names of the parameters that `freeze` keeps as they are."""
    if setting.freeze is None:
        return frozenset()
    names = frozenset(name for name, _ in model.named_parameters())
    if setting.freeze == "both":
        return names
    halves = split(model, inputs(corpus.victim.x[:2]), setting.at)
    kept = frozenset(name for name, _ in getattr(halves, setting.freeze).named_parameters()) & names
    if not kept and any(True for _ in getattr(halves, setting.freeze).parameters()):
        raise ModelError(
            f"the {setting.freeze} half of {setting.model!r} cannot be told apart by parameter names; use --freeze both"
        )
    return kept


def still(model: nn.Module, setting: Setting, corpus: Corpus) -> frozenset[str]:
    """Names of the modules that `freeze` keeps in eval mode: statistics and dropout belong to a half, too."""
    if setting.freeze not in ("edge", "server"):
        return frozenset()
    half = getattr(split(model, inputs(corpus.victim.x[:2]), setting.at), setting.freeze)
    return frozenset(name for name, _ in half.named_modules() if name) & frozenset(
        n for n, m in model.named_modules() if not list(m.children())
    )


def trial_name(setting: Setting, corpus: Corpus, defense: str, seed: int, calibrated: bool) -> str:
    """The name of a trial's folder."""
    threat, chosen = Threat.named(setting.threat, setting.side), defenses.parse(defense)
    identity = asdict(setting) | {
        "weights": run.file_hash(Path(setting.weights)) if setting.weights else None,
        "code": _source(setting.model),
        "effort": asdict(Effort.named(setting.effort)),
        "training": _training(setting),
        "judges": sorted((n, run.file_hash(file)) for n, file in pretrained.files(setting.judges).items())
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


def _source(reference: str) -> str | None:
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


def _stage(report: Report, text: str) -> Callable[[int, int], None] | None:
    if report is None:
        return None
    return lambda done, total: report(text, done, total)
