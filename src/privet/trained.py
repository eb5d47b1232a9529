"""The networks of a study: the task's and the judge's, each trained once and kept beside the runs; cut as the user
froze them."""

from __future__ import annotations

import json
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any, cast

import torch
from torch import nn

from privet import defense as defenses
from privet import models, run
from privet.auditing import judges
from privet.auditing.panel import Panel
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.errors import ModelError
from privet.pretrained import outsiders
from privet.setting import Report, Setting, file_of, further_training, source_of, stage
from privet.split import Split, split
from privet.train import Effort, fit_task, inputs


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
            corpus, effort=effort, seed=seed, device=setting.device, progress=stage(report, "training the judge")
        )
        _keep(learned, kept)
    with torch.random.fork_rng(devices=[]):
        network = judges.judge(corpus)
    models.load_weights(network, kept)
    return network.to(setting.device).eval()


def panel(setting: Setting, corpus: Corpus, seed: int, out: Path, report: Report = None) -> Panel | None:
    """Everybody who judges rebuilt pictures; None where none are rebuilt."""
    network = picture_judge(setting, corpus, seed, out, report)
    outside = outsiders.load(setting.judges) if setting.judges and network else {}
    return Panel(corpus, network, outside, setting.device) if network else None


def training_log(setting: Setting, corpus: Corpus, seed: int, out: Path) -> dict[str, Any] | None:
    file = _model_file(setting, corpus, seed, out).with_suffix(".json") if setting.training else None
    return cast("dict[str, Any]", json.loads(file.read_text(encoding="utf-8"))) if file and file.is_file() else None


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
        progress=stage(report, "training the task"),
    )
    return model, {}


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
        progress=stage(report, f"training with {setting.training}"),
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


def _model_file(setting: Setting, corpus: Corpus, seed: int, out: Path) -> Path:
    """Where the task network of this setting is kept: its name is the hash of what it depends on."""
    weights = Path(setting.weights) if setting.weights else None
    identity = {
        "model": setting.model,
        "weights": run.file_hash(weights) if weights else None,
        "code": source_of(setting.model),
        "at": setting.at if setting.freeze in ("edge", "server") or setting.training else None,
        "training": further_training(setting),
        "freeze": setting.freeze,
        "device": setting.device,
        "effort": asdict(Effort.named(setting.effort)) | {"name": ""},
        "seed": seed,
        "data": corpus.digest,
        "versions": run.versions()["privet"],
    }
    return out / "models" / f"{run.name_of(identity, {})}.safetensors"


def _keep(model: nn.Module, kept: Path) -> None:
    """Write a network, and its hash beside it."""
    run.ensure(kept.parent)
    with run.writing(kept):
        models.save_weights(model, kept)
    run.write_text(kept.with_suffix(".sha256"), run.file_hash(kept))


def _sound(kept: Path) -> bool:
    """Whether a kept network is there and is what was written; a damaged one is trained again."""
    beside = kept.with_suffix(".sha256")
    return kept.is_file() and beside.is_file() and beside.read_text(encoding="utf-8") == run.file_hash(kept)
