"""Small people, small studies: synthetic tables whose hidden attribute is known to leak or not, one finished study on
digits shared by all tests, and studies whose every number is made up."""

from __future__ import annotations

import atexit
import functools
import shutil
import signal
import sys
import tempfile
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import asdict, replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import torch
from torch import nn

from driver import TINY
from privet import api, data
from privet.auditing.audit import Evidence, attribute_scores
from privet.auditing.checks import Check
from privet.auditing.judge import truth_of
from privet.auditing.tables import tabulate
from privet.auditing.threat import Threat
from privet.data.corpus import ROLES, Corpus, Part
from privet.defense import Defended
from privet.defenses.none import Nothing
from privet.run import Run, versions
from privet.split import Split

Array = np.ndarray
SMALL = replace(TINY, name="small", attack_epochs=15, decoder_epochs=15, attack_steps=150, patience=4, calibration=200)
SIZES = {"task_train": 60, "task_val": 20, "aux_train": 240, "aux_val": 80, "victim": 120}
ATTACKS = ("boosted_trees", "decoder", "inversion", "linear_probe", "mlp_probe")  # each kind; all of them elsewhere
QUESTION = {
    "limit": 150, "effort": "tiny", "seeds": 2, "defenses": ["none", "gaussian:sigma=1"], "attacks": ATTACKS, "jobs": 1
}  # fmt: skip
AUDIT = ["audit", "--limit=150", "--effort=tiny", "--seeds=2", "--defense=none", "--defense=gaussian:sigma=1"]
AUDIT += [f"--attack={name}" for name in ATTACKS]  # the same on the command line


def people(leak: float = 1.0, *, classes: int = 3, width: int = 6, seed: int = 0, **sizes: int) -> Corpus:
    """Rows in [0, 1]: column 0 says the target `y`; columns 1.. say the hidden `s` as strongly as `leak`; the side
    attribute `t` is s in nine people of ten."""
    generator = np.random.default_rng(seed)
    parts = {}
    for start, role in enumerate(ROLES):
        n = (SIZES | sizes)[role]
        y, s = generator.integers(0, 2, n), generator.integers(0, classes, n)
        t = np.where(generator.random(n) < 0.9, s, generator.integers(0, classes, n))
        x = generator.random((n, width)) * 0.5
        x[:, 0] += 0.5 * y
        x[:, 1 : 1 + classes] += 0.5 * leak * np.eye(classes)[s][:, : width - 1]
        ids = np.array([f"{10_000 * start + i:016x}" for i in range(n)])
        labels = {"s": s.astype(np.int64), "t": t.astype(np.int64)}
        parts[role] = Part(ids, np.arange(n) + 10_000 * start, x.astype(np.float32), y.astype(np.int64), labels)
    names = tuple(f"v{i}" for i in range(classes))
    return Corpus("people", "table", "y", ("s",), ("t",), {"y": ("no", "yes"), "s": names, "t": names}, parts)


def halves(corpus: Corpus, units: int = 8) -> Split:
    """An edge that keeps the input and adds nothing, and a small server behind it."""
    generator = torch.Generator().manual_seed(0)
    width = corpus.shape[0]
    server = nn.Sequential(nn.Linear(width, units), nn.ReLU(), nn.Linear(units, corpus.n_classes(corpus.target)))
    with torch.no_grad():
        for parameter in server.parameters():
            parameter.copy_(torch.randn(parameter.shape, generator=generator) / 3)
    return Split(nn.Identity().eval(), server.eval(), "cut", corpus.shape)


def undefended(corpus: Corpus) -> Defended:
    """The input itself travels."""
    return Nothing().fit(halves(corpus), corpus, effort=SMALL, seed=0)


@functools.cache
def _digits() -> tuple[api.Answer, Path]:
    out = Path(tempfile.mkdtemp(prefix="privet-tests-"))
    atexit.register(shutil.rmtree, out, ignore_errors=True)
    return api.audit("digits", out=out, **QUESTION), out


def digits() -> tuple[api.Answer, Path]:
    """One finished study on scikit-learn's digits (150 a part, tiny effort, two seeds) and its folder, made once in a
    process. Nobody writes into the folder: copy it."""
    return _digits()


def posterior(s: Array, classes: int, strength: float, generator: np.random.Generator) -> Array:
    """A posterior [N, K] that knows s the better the larger `strength`; 0 knows nothing."""
    logits = generator.normal(size=(len(s), classes)) + strength * np.eye(classes)[np.maximum(s, 0)]
    return np.exp(logits) / np.exp(logits).sum(1, keepdims=True)


Maker = Callable[[str, int], Mapping[str, float]]


def study(
    corpus: Corpus,
    knowledge: Mapping[str, Mapping[str, float]],
    *,
    seeds: int = 2,
    utility: float = 0.95,
    pictures: Mapping[str, float] | None = None,
    checks: tuple[Check, ...] = (),
    effort: str = "standard",
    threat: str = "server",
    stochastic: bool = False,
    saturated: int = 0,
    logs: Mapping[str, Any] | None = None,
    edit: Callable[[str, int, dict[str, Array]], None] | None = None,
    replicates: int = 60,
    seed: int = 0,
) -> tuple[dict[str, Any], dict[tuple[str, int], Run]]:
    """A plan and its finished runs as `experiment.trial` writes them, from made-up posteriors.

    knowledge: defense -> attack -> strength; the first defense is the reference. pictures: defense -> dB that the
    decoder gains over the mean image. `edit` may change the arrays of a trial before they are tabulated."""
    generator = np.random.default_rng(seed)
    defenses = list(knowledge)
    runs: dict[tuple[str, int], Run] = {}
    victim, held = corpus.victim, corpus.aux_val
    for number in range(seeds):
        for defense, attacks in knowledge.items():
            evidence = Evidence()
            right = generator.random(len(victim)) < utility
            answers = np.where(right, victim.y, 1 - victim.y)
            for name in corpus.hidden:
                classes = corpus.n_classes(name)
                for attack, strength in attacks.items():
                    evidence.arrays[f"posterior/{name}/{attack}"] = posterior(
                        victim.s[name], classes, strength, generator
                    )
                    known = held.s[name] >= 0
                    guessed = posterior(held.s[name][known], classes, strength, generator)
                    evidence.selection.setdefault(name, {})[attack] = attribute_scores(guessed, held.s[name][known])
                if defense == defenses[0]:
                    counts = (
                        np.bincount(corpus.aux_train.s[name][corpus.aux_train.s[name] >= 0], minlength=classes) + 1e-3
                    )
                    constant = np.tile(counts / counts.sum(), (len(victim), 1))
                    evidence.arrays |= {f"floor/{name}/majority": constant, f"floor/{name}/label_only": constant}
            if pictures is not None:
                noise = generator.normal(0, 0.5, len(victim))
                evidence.arrays["score/input/decoder/psnr"] = 12 + pictures[defense] + noise
                evidence.selection["input"] = {"decoder": {"psnr": 12 + pictures[defense]}}
                if defense == defenses[0]:
                    evidence.arrays["floor/input/mean_image/psnr"] = 12 + noise
            if edit:
                edit(defense, number, evidence.arrays)
            tables = tabulate(evidence, corpus, answers, replicates)
            seen = SimpleNamespace(answers={"victim": answers})
            results = {
                "selection": evidence.selection,
                "logs": dict(logs or {}),
                "fit": {},
                "guarantee": None,
                "no_guarantee": "made up",
                "payload_bytes": 64,
                "edge_macs": 1000,
                "stochastic": stochastic and defense != defenses[0],
                "shared_noise": False,
                "saturated": saturated,
                "cut_shape": [6],
                "checks": [asdict(c) for c in checks] if (defense, number) == (defenses[0], 0) else [],
                "left_out": {},
            }
            record = {"results": results, "versions": versions(), "seconds": 1.0}
            arrays = evidence.arrays | tables | truth_of(corpus, seen)  # type: ignore[arg-type]
            runs[defense, number] = Run(Path("nowhere"), record, arrays)
    trials = [{"defense": d, "seed": s, "name": f"{i:016x}"} for i, (d, s) in enumerate(runs)]
    plan = {
        "format": 1,
        "title": "made up",
        "command": "privet audit",
        "folder": "nowhere",
        "data": data.describe(corpus),
        "data_digest": corpus.digest,
        "model": "mlp",
        "at": "fc1",
        "threat": Threat.named(threat).describe(),
        "effort": effort,
        "reference": defenses[0],
        "defenses": defenses,
        "seeds": list(range(seeds)),
        "trials": trials,
    }
    return plan, runs


@contextmanager
def command_line(*arguments: str) -> Iterator[None]:
    """sys.argv of `privet ARGUMENTS`; Ctrl-C is heard again afterwards."""
    before, heard = sys.argv, signal.getsignal(signal.SIGINT)
    sys.argv = ["privet", *arguments]
    try:
        yield
    finally:
        sys.argv = before
        signal.signal(signal.SIGINT, heard)


def privet(*arguments: object) -> int:
    """Run the command line in this process; its exit code."""
    from privet.__main__ import main

    with command_line(*map(str, arguments)):
        try:
            main()
        except SystemExit as end:
            return 0 if end.code is None else int(end.code)
    return 0
