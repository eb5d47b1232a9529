"""The audit distrusts itself: calibrations inside every audit, and flags raised when a number is unreliable.

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


@dataclass(frozen=True)
class Flag:
    """When a flag is raised, what it means, and what to do about it."""

    raised_if: str
    explanation: str
    what_to_do: str


FLAGS = {
    "calibration_failed": Flag(
        "a calibration of this audit missed its known answer",
        "The attacks did not find what was planted for them, or found something in nothing; their numbers cannot be "
        "trusted.",
        "Raise --effort, look at the calibration table, and do not quote the numbers that are struck through.",
    ),
    "weak_attack": Flag(
        "this attack found less than 90 % of a bit that was planted in the payload, or did not rebuild what was put "
        "before it as it is, or behind one layer",
        "In this many dimensions, with this many people, the attack overlooks even what is written out for it.",
        "Read the headline attack instead; raise --effort.",
    ),
    "nothing_to_hide": Flag(
        "the interval of the undefended attack touches the floor",
        "Even the raw representation gives these attacks no more than the floor, so the scale has no length and no "
        "share of it is printed.",
        "Do not conclude that a defense works here; audit another attribute, or more people.",
    ),
    "utility_lost": Flag(
        "the interval of the target accuracy touches the majority of the target",
        "The defended network does not answer its own question, so its low leakage is worth nothing.",
        "Weaken the defense.",
    ),
    "one_seed": Flag(
        "the study has a single seed",
        "The interval holds the chance of the victims only, not that of training.",
        "Use --seeds 3 or more.",
    ),
    "quick_effort": Flag(
        "the effort is quick",
        "A smoke test: networks and adversaries were trained briefly, so leakage is a lower bound of a lower bound.",
        "Use --effort standard for numbers that you quote.",
    ),
    "few_victims": Flag(
        "fewer than 100 victims carry this attribute's label",
        "The intervals are wide, and exposure at small error rates cannot be resolved.",
        "Audit more people.",
    ),
    "small_class": Flag(
        "a value of the attribute has fewer than 20 victims",
        "Metrics that give each value the same weight rest on a handful of people.",
        "Merge values, or read accuracy and bits instead.",
    ),
    "collapsed": Flag(
        "the attack names one value for more than 80 % of the victims, and for most of those who do not hold it",
        "The adversary has collapsed to a constant; that is not evidence of hiding.",
        "Read AUC, bits and exposure, and the other attacks.",
    ),
    "above_undefended": Flag(
        "the attack is better on the defended payload than on the raw one, beyond the interval",
        "A projection can make an attribute easier to learn; or the undefended attack was not trained to its end.",
        "Raise --effort; count the larger of the two as the undefended leakage.",
    ),
    "below_floor": Flag(
        "the headline attack stays below the floor, beyond the interval",
        "An adversary who ignores the payload does better than this attack, so the attack says nothing about the "
        "payload.",
        "Read the floor as what the adversary reaches; raise --effort.",
    ),
    "underfit": Flag(
        "the attack's best epoch was its last one",
        "The adversary was still improving when its epochs ended.",
        "Raise --effort.",
    ),
    "single_query": Flag(
        "the obfuscator is random and the threat sees one payload of each victim",
        "Fresh noise averages out over repeated payloads of one input, which this threat does not try.",
        "Audit it with --threat repeated, too.",
    ),
    "shared_noise": Flag(
        "one draw of the obfuscator's noise serves a whole batch",
        "The audit sends 256 people a batch; they share their luck, which the intervals do not hold.",
        "Draw for every sample, or audit more seeds.",
    ),
    "drop_missed": Flag(
        "no noise within the search costs what was asked for",
        "The noise does not stand at the loss of accuracy that the name of this defense says, so it matches nothing.",
        "Read the drop that was reached in the run's record; ask for another one, or raise tolerance.",
    ),
    "hardly_dynamic": Flag(
        "the learned filter gives more than ten people of task_val the same mask, on average",
        "It says that it chooses for each example, and it chooses nearly the same for everybody.",
        "Read it as one learned set of channels; a higher temperature lets it tell people apart.",
    ),
    "nothing_removed": Flag(
        "the payload has as many values as the representation, or more",
        "No dimension of the representation is removed: an adversary may recover it whole.",
        "Keep fewer coefficients, or cut where the next layer has a null space (a fully connected layer).",
    ),
    "saturated": Flag(
        "values outside the range of the wire's dtype were clipped",
        "The payload that travels differs from the representation that the network was trained on.",
        "Normalize in front of the cut.",
    ),
    "unresolved": Flag(
        "fewer than 1,000 victims do not hold the attribute's most frequent value",
        "One false positive in a thousand is then none at all: the figure is the share found before the first error.",
        "Audit more people, or read TPR at 1 %.",
    ),
    "payload_chunked": Flag(
        "the payloads of a part take more than 1 GiB as numbers",
        "Attacks that read a payload as a row of numbers saw the principal components of pieces of it; those that read "
        "z' as maps saw it whole.",
        "Read the server's own architecture (server_probe, finetuned_probe) as the attack that missed nothing; or cut "
        "where less travels.",
    ),
    "hidden_is_group": Flag(
        "the hidden attribute is the person itself",
        "The same people are in the adversary's part and among the victims: the question is recognition, not "
        "generalization.",
        "Read it as re-identification of known people.",
    ),
    "target_is_group": Flag(
        "the target is the person itself",
        "The service recognizes people it was trained on; the same people are in every part.",
        "Read every number as one about known people.",
    ),
    "target_determines_hidden": Flag(
        "the target says all about the hidden attribute",
        "Whoever learns the answer knows the attribute: the label-only floor is as high as leakage can be.",
        "Choose another target or another hidden attribute; no defense at the cut can help.",
    ),
    "many_removed": Flag(
        "many examples were removed because they stand in two parts",
        "The training data and the victims' data overlap; what is left may differ from what was given.",
        "Look at the notes of the data, and give victims of their own with --victims.",
    ),
    "fitted_on_unknown": Flag(
        "the bundle's manifest does not name these people as those it was fitted on",
        "Some victims may be among those whom the network learned from; what is found about them may be memory.",
        "Audit it on the data it was fitted on, dealt the same way, or on people who are surely new.",
    ),
    "groups_shared": Flag(
        "the victims' file and the other parts share people",
        "The adversary may know some victims from its own part.",
        "Give a file of other people with --victims.",
    ),
    "rows_skipped": Flag(
        "some examples could not be read",
        "They were left out; the notes of the data say how many.",
        "Mend the files, or use --on-bad stop.",
    ),
    "labels_missing": Flag(
        "some examples carry no label",
        "They take part wherever their label is not needed; the notes say how many.",
        "Label them, or check that they are missing at random.",
    ),
    "unfinished": Flag(
        "trials are missing because the study was stopped",
        "The numbers rest on fewer seeds or defenses than were asked for.",
        "Run the same command again: finished trials are not repeated.",
    ),
}  # fmt: skip


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
    # The machinery is what is calibrated, so a threat with few labels is given all of aux here.
    ample = replace(threat, labels=effort.calibration, pairs=effort.calibration)
    checks: list[Check] = []
    for attribute in corpus.hidden[:CALIBRATED] if known else ():
        s = corpus.victim.s[attribute]
        people = some(np.flatnonzero(s >= 0), effort.calibration, seed)
        if len(people) < 2:
            continue
        material = attribute_material(observed, corpus, ample, attribute, seed)
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
    """The attribute itself, in bits, stands in the payload: the attack selected on aux_val "
    "must find it, others nearly."""
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
