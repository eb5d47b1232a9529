"""One trial, told once: a network is trained, cut and defended, answers its question, and is attacked. Everything else
is a room on that way."""

from __future__ import annotations

import math
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import nn

from privet import cost, models, run, trained
from privet import defense as defenses
from privet.auditing import own, wire
from privet.auditing.judge import Rules, judge
from privet.auditing.threat import Threat, portfolio
from privet.content import contents
from privet.data.corpus import Corpus
from privet.run import Run
from privet.setting import Report, Setting, stage, trial_name
from privet.split import cuts, split
from privet.train import Effort, inputs

REFERENCE = "none"
CONTENT_ON = 256  # people of task_val


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

    model = trained.task_model(setting, corpus, seed, out, report)
    halves = trained.cut(model, setting, corpus)
    defended = defenses.parse(defense).fit(
        halves, corpus, effort=effort, seed=seed, progress=stage(report, f"fitting {defense}")
    )
    defended = defended.to(setting.device)

    observed = wire.observe(defended, corpus, threat, seed, setting.device)
    found = judge(
        observed, corpus, Rules(threat, attacks, effort, seed, setting.device, setting.curves),
        reference=defense == REFERENCE, calibrated=calibrated, report=report, clock=time.process_time,
        panel=trained.panel(setting, corpus, seed, out, report),
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
        "training": trained.training_log(setting, corpus, seed, out),
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
