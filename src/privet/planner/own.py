"""A pool where nobody has one: a small network trained on the public people, so that a plan can be made of anything."""

from __future__ import annotations

import os
from dataclasses import asdict, replace
from pathlib import Path

from privet import models, run
from privet.data.corpus import Corpus
from privet.pretrained import pool
from privet.pretrained.pool import Source
from privet.setting import Report, file_of, stage
from privet.train import Effort, fit_task

NAME = "own"  # of --source, and the first word of the names of such networks


def is_own(name: str) -> bool:
    """Whether a source of this name is such a network, and not somebody's `owner.py:network`."""
    return name.partition(" ")[0] == NAME


def source(corpus: Corpus, effort: str, out: Path, seed: int, device: str = "cpu", report: Report = None) -> Source:
    """A network for the corpus' question, trained on aux_train and kept in `out` with the ids of those people.

    For pictures a small VGG (from 8 px), for the rest a perceptron."""
    name = "vgg" if len(corpus.shape) == 3 and min(corpus.shape[1:]) >= 8 else "mlp"
    identity = {
        "model": name,
        "code": file_of(models.resolve(name)),
        "effort": asdict(Effort.named(effort)),
        "data": corpus.digest,
        "seed": seed,
        "device": device,
    }
    path = out / f"{name}-{run.name_of(identity, {})}.safetensors"
    if not path.is_file():
        turned = {"task_train": "aux_train", "task_val": "aux_val", "aux_train": "task_train", "aux_val": "task_val"}
        public = replace(corpus, parts={turned.get(r, r): p for r, p in corpus.parts.items()}, digest="")
        model = models.load(name, shape=corpus.shape, classes=corpus.n_classes(corpus.target), seed=seed)
        told = stage(report, "training a network on public people")
        fit_task(model, public, effort=Effort.named(effort), seed=seed, device=device, progress=told)
        ids = [id_ for role in ("task_train", "task_val") for id_ in public.parts[role].ids.tolist()]
        run.ensure(out)
        with run.writing(path):
            models.save_weights(model, path, pool.header([], ids))
            os.chmod(path, 0o600)  # nobody else has it
    return replace(pool.load(None, f"{name}={path}", corpus.shape), name=f"{NAME} {name}")
