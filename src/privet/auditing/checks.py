"""The audit distrusts itself: calibrations inside every audit.

A calibration knows the right answer: a constant payload must give the majority, a planted bit must be found, the input
sent as it is must be reconstructed. When one fails, the numbers that rest on it are struck through.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import TypedDict

import numpy as np
import torch
from torch import Tensor, nn

from privet.attack import Probe, Solver, View, costly
from privet.auditing import battery, floors, pictures
from privet.auditing.audit import attribute_material, attribute_scores
from privet.auditing.battery import Material
from privet.auditing.threat import Threat
from privet.auditing.wire import Observed
from privet.data.corpus import Corpus
from privet.train import Effort, inputs, some

CALIBRATED = 3
PER_CLASS = 20  # people from whom a planted attribute is learned: with six of each of 100 classes none finds it
RECOVERED = 25.0  # dB, behind the first stage of the undefended network
BATTERY = "(selected on aux_val)"


@dataclass(frozen=True)
class Check:
    """One calibration of the attacks inside this audit. One that is not decisive speaks of a single attack, not of
    the audit."""

    check: str
    attack: str
    attribute: str
    metric: str
    value: float
    wanted: str
    passed: bool
    seed: int
    decisive: bool = True


class _Common(TypedDict):
    effort: Effort
    seed: int
    device: torch.device | str


def calibrate(
    observed: Observed,
    corpus: Corpus,
    threat: Threat,
    attacks: Mapping[str, Probe | Solver],
    *,
    effort: Effort,
    seed: int,
    device: torch.device | str = "cpu",
    stage: nn.Module | None = None,
) -> list[Check]:
    """Constant, planted bit, shuffled labels and identity, on people of this corpus, undefended, at this cut; and,
    of attacks that run candidates through the edge half, the first `stage` of the network."""
    known = {n: a for n, a in attacks.items() if a.goal == "attribute"}
    checks: list[Check] = []
    for attribute in corpus.hidden[:CALIBRATED] if known else ():
        s = corpus.victim.s[attribute]
        people = some(np.flatnonzero(s >= 0), effort.calibration, seed)
        if len(people) < 2:
            continue
        # The machinery is what is calibrated: a threat with few labels is given more here, and many classes, too.
        ample = max(effort.calibration, PER_CLASS * corpus.n_classes(attribute))
        material = attribute_material(observed, corpus, replace(threat, labels=ample, pairs=ample), attribute, seed)
        material = replace(material, train=[material.train[0]])
        victims = observed.victims.rows(torch.from_numpy(people))
        case = _Case(known, material, victims, torch.from_numpy(s[people]), attribute, effort, seed, device)
        checks += [*_constant(case), *_planted(case)]
        if attribute == corpus.hidden[0]:
            checks += _shuffled(case)
    common = _Common(effort=effort, seed=seed, device=device)
    for behind in (None, stage) if stage is not None else (None,):
        drawn = [
            _rebuilt(name, attack, corpus, behind, **common)
            for name, attack in attacks.items()
            if attack.goal == "reconstruct" and (behind is None or "edge" in attack.needs)
        ]
        if drawn:
            best = max(drawn, key=lambda found: found[1])[0]
            checks += [*(check for check, _ in drawn), replace(best, attack=BATTERY, decisive=True)]
    return checks


@dataclass(frozen=True)
class _Case:
    attacks: Mapping[str, Probe | Solver]
    material: Material
    victims: View
    truth: Tensor
    attribute: str
    effort: Effort
    seed: int
    device: torch.device | str

    def run(self, name: str, material: Material, victims: View) -> tuple[float, float]:
        """Accuracy of one attack on these victims and on aux_val."""
        attack = self.attacks[name]
        outcome = battery.run(attack, material, victims, effort=self.effort, seed=self.seed, device=self.device)
        on_victims = attribute_scores(outcome.victims.numpy(), self.truth.numpy())["accuracy"]
        return on_victims, attribute_scores(outcome.val.numpy(), material.known_val.numpy()).get("accuracy", 0.0)

    @property
    def slack(self) -> float:
        """Half of a missed person and three standard errors of a rate near one: few victims resolve no more."""
        n = max(1, len(self.truth))
        return 0.5 / n + 3 * math.sqrt(0.02 * 0.98 / n)

    @property
    def limit(self) -> float:
        """The victims' majority and three standard errors: what an attack may reach by chance."""
        n = max(1, len(self.truth))
        top = float(torch.bincount(self.truth).max()) / n
        return top + 3 * math.sqrt(top * (1 - top) / n) + 1e-9


def _constant(case: _Case) -> list[Check]:
    """Nothing is sent: no attack may do better than the majority."""
    material = replace(case.material, train=[_blank(case.material.train[0])], val=_blank(case.material.val))
    victims = _blank(case.victims)
    return [_at_most("constant", case, name, case.run(name, material, victims)[0], case.limit) for name in case.attacks]


def _shuffled(case: _Case) -> list[Check]:
    """The adversary's labels are dealt out anew: who still knows the victims must have met them.

    What is learned from dealt-out labels still follows the payload's clusters, so chance reaches further than with a
    constant payload; the limit lies half way between the majority and knowing everybody.
    """
    generator = np.random.default_rng([case.seed, 7])
    orders = [torch.from_numpy(generator.permutation(len(k))) for k in (case.material.known, case.material.known_val)]
    material = replace(
        case.material, known=case.material.known[orders[0]], known_val=case.material.known_val[orders[1]]
    )
    half = (1 + case.limit) / 2
    return [
        _at_most("shuffled_labels", case, name, case.run(name, material, case.victims)[0], half)
        for name in case.attacks
    ]


def _planted(case: _Case) -> list[Check]:
    """The attribute itself, in bits, stands in the payload: the attack selected on aux_val must find it, others
    nearly."""
    classes, material = case.material.outputs[0], case.material
    planted = replace(
        material,
        train=[material.train[0].planted(_bits(material.known, classes))],
        val=material.val.planted(_bits(material.known_val, classes)),
    )
    victims = case.victims.planted(_bits(case.truth, classes))
    checks, on_val = [], {}
    for name in case.attacks:
        value, on_val[name] = case.run(name, planted, victims)
        checks.append(_at_least(case, name, value, 0.9, decisive=False))
    best = max(on_val, key=lambda name: on_val[name])
    value = next(c.value for c in checks if c.attack == best)
    return [*checks, _at_least(case, BATTERY, value, 0.98, decisive=True)]


def _at_most(check: str, case: _Case, name: str, value: float, limit: float) -> Check:
    return Check(check, name, case.attribute, "accuracy", value, f"at most {limit:.3f}", value <= limit, case.seed)


def _at_least(case: _Case, name: str, value: float, least: float, *, decisive: bool) -> Check:
    least = max(0.0, least - case.slack)
    wanted = f"at least {least:.3f}"
    return Check("planted_bit", name, case.attribute, "accuracy", value, wanted, value >= least, case.seed, decisive)


def _rebuilt(
    name: str, attack: Probe | Solver, corpus: Corpus, stage: nn.Module | None, *, effort: Effort, seed: int,
    device: torch.device | str,
) -> tuple[Check, float]:  # fmt: skip
    """The input itself is the payload: a reconstruction must come at least 4 dB closer than the mean input, and soon.
    Behind the first stage of the network it must come to 25 dB. With it what is reached on aux_val: the attack that
    would be selected decides, the others speak for themselves."""
    effort = replace(
        effort, attack_steps=min(400, effort.attack_steps), inversion_steps=min(150, effort.inversion_steps),
        asked=min(16, effort.asked),
    )  # fmt: skip
    most = min(effort.calibration, effort.asked) if costly(attack) else effort.calibration
    parts = (corpus.aux_train, effort.calibration), (corpus.aux_val, most), (corpus.victim, most)
    x = [inputs(part.x[some(np.arange(len(part)), count, seed)]) for part, count in parts]
    run = nn.Flatten() if stage is None else stage.eval()

    def view(rows: Tensor) -> View:
        with torch.no_grad():
            sent = torch.cat([run(part.to(device)).cpu() for part in torch.split(rows, 256)])
        return View(sent.flatten(1), match=lambda c, p: (run(c.to(device)), p[0].to(device)), seen=((sent,),))

    views = [view(rows) for rows in x]
    material = Material(views[:1], x[0], views[1], x[1], corpus.shape)
    outcome = battery.run(attack, material, views[2], effort=effort, seed=seed, device=device)
    floor = pictures.scores(floors.mean_image(x[0], len(x[2])), x[2])["psnr"].mean()
    value = float(pictures.scores(outcome.victims, x[2])["psnr"].mean())
    least, check = (float(floor) + 4, "identity") if stage is None else (RECOVERED, "first_stage")
    on_val = float(pictures.scores(outcome.val, x[1])["psnr"].mean())
    wanted = f"at least {least:.1f} dB"
    return Check(check, name, "input", "psnr", value, wanted, value >= least, seed, decisive=False), on_val


def _blank(view: View) -> View:
    z, hidden = (None if t is None else torch.zeros_like(t) for t in (view.z, view.hidden))
    return replace(view, flat=torch.zeros_like(view.flat[:, :8]), z=z, hidden=hidden)


def _bits(labels: Tensor, classes: int) -> Tensor:
    width = max(1, (classes - 1).bit_length())
    return torch.stack([((labels >> i) & 1).float() * 2 - 1 for i in range(width)], 1)
