"""How long the whole portfolio takes on one defended pair of halves, both networks given.

    python benchmarks/portfolio.py [DATA TARGET HIDDEN [MODEL CUT PEOPLE SIDE DEFENSE]]   # alone: the embedded digits

The network is trained and the defense fitted before the clock starts. `people` are all from whom attacks learn, on whom
they choose and are scored: aux_train, aux_val and the victims; the owner's are a thousand. Every attack of the curious
server at standard effort runs (the slow ones, `wide_probe` among them, are not in it), on as many threads as there are
cores. One JSON line for each attack, the dearest first, and one for all."""

from __future__ import annotations

import json
import os
import sys
import time

import numpy as np
import torch

from privet import trained
from privet.auditing import audit, wire
from privet.auditing.threat import Threat, portfolio
from privet.data.corpus import Corpus
from privet.defense import parse
from privet.schedule import Source, with_defaults
from privet.setting import Setting
from privet.train import Effort

ROLES = ("aux_train", "aux_val", "victim")
OWNERS = 1000  # people a part, of the owner: the networks are not what is timed


def of(corpus: Corpus, people: int) -> Corpus:
    """The same corpus with so many people beside the owner's, in the proportions of their parts."""
    whole = sum(len(corpus.parts[role]) for role in ROLES)
    share = min(1.0, people / whole)
    generator = np.random.default_rng(0)
    parts = dict(corpus.parts)
    for role in parts:
        n = round(share * len(parts[role])) if role in ROLES else min(OWNERS, len(parts[role]))
        parts[role] = parts[role].take(np.sort(generator.choice(len(parts[role]), n, replace=False)))
    return Corpus(
        corpus.name, corpus.kind, corpus.target, corpus.hidden, corpus.side, corpus.classes, parts,
        flags=corpus.flags, person=corpus.person,
    )  # fmt: skip


def main(
    data: str = "digits", target: str = "", hidden: str = "digit", model: str = "", cut: str = "",
    people: str = "5000", side: str = "", defense: str = "signal_content:keep=8",
) -> None:  # fmt: skip
    """JSON lines on standard output."""
    torch.set_num_threads(os.cpu_count() or 1)
    corpus = of(Source(data, target or None, tuple(hidden.split(",")), resize=side or None).load(), int(people))
    effort, threat = Effort.named("standard"), Threat.named("server")
    setting = with_defaults(Setting(model, cut, effort="quick"), corpus)
    halves = trained.cut(trained.task_model(setting, corpus, 0, None), setting, corpus)
    defended = parse(defense).fit(halves, corpus, effort=Effort.named("quick"), seed=0)
    attacks, _ = portfolio(threat, (), "standard")
    started = time.perf_counter()
    observed = wire.observe(defended, corpus, threat, 0)
    evidence = audit.attack(
        observed, corpus, threat, attacks, effort=effort, seed=0, clock=time.perf_counter,
        report=lambda text, done, total: print(f"{done}/{total} {text}", file=sys.stderr, flush=True),
    )  # fmt: skip
    seconds = time.perf_counter() - started
    for name, took in sorted(evidence.seconds.items(), key=lambda item: -item[1]):
        print(json.dumps({"what": name, "seconds": round(took, 1)}))
    about = {"model": setting.model, "at": setting.at, "z": list(halves.shape), "defense": defense}
    sizes = {role: len(corpus.parts[role]) for role in ROLES}
    print(json.dumps({"what": "portfolio", "minutes": round(seconds / 60, 2), "attacks": len(attacks)} | about | sizes))


if __name__ == "__main__":
    main(*sys.argv[1:])
