"""Adversaries that only some defenses have: one that reads which values came, and one that was trained beside."""

from __future__ import annotations

from dataclasses import replace

import torch

from privet.attack import View
from privet.attacks.mlp_probe import MlpProbe
from privet.auditing import audit, battery, wire
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus
from privet.defense import Defended
from privet.payload import Array
from privet.train import Effort, predict


def by_mask(
    observed: wire.Observed, corpus: Corpus, threat: Threat, *, effort: Effort, seed: int,
    device: torch.device | str = "cpu",
) -> audit.Evidence:  # fmt: skip
    """What the choice of values tells on its own: a fresh probe on the mask's bits alone, an attack like the others.
    Posteriors [N, K] by `mask/ATTRIBUTE/mlp_probe`; empty where nothing is chosen for each person."""
    masks, evidence = observed.victims.masks, audit.Evidence()

    def only(view: View) -> View:
        return View(view.flat[:, :masks])

    for attribute in corpus.hidden if masks else ():
        known = audit.attribute_material(observed, corpus, threat, attribute, seed)
        draws = [only(known.train[i]) for i in range(min(wire.COMBINED, len(known.train)))]
        material = replace(known, train=draws, val=only(known.val))
        outcome = battery.run(MlpProbe(), material, only(observed.victims), effort=effort, seed=seed, device=device)
        evidence.arrays[f"mask/{attribute}/mlp_probe"] = outcome.victims.numpy()
        prior = audit.frequencies(known.known, known.outputs[0])
        scores = audit.attribute_scores(outcome.val.numpy(), known.known_val.numpy(), prior)
        evidence.selection[attribute] = {"mask:mlp_probe": scores}
    return evidence


@torch.no_grad()
def cotrained(defended: Defended, observed: wire.Observed, device: torch.device | str = "cpu") -> dict[str, Array]:
    """What the adversaries that the defense was trained beside make of the victims: the figure of papers that ask no
    fresh ones. Posteriors [N, K] by `cotrained/ATTRIBUTE/server`; none where the threat hides z'."""
    z = observed.victims.z
    if z is None:
        return {}
    return {
        f"cotrained/{name}/server": predict(network, z, device).softmax(1).numpy()
        for name, network in defended.cotrained.items()
    }
