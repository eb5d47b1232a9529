"""What a person would mind of a rebuilt picture, beside PSNR and SSIM, which count pixels: may an attribute be read off
it, is the person found again, how far is it from the original to the eye?

    found          = P(none of 99 others is nearer) = C(N - b, 99) / C(N, 99)      b of N others are nearer
    distance(x, y) = mean over layers and places of |f(x) - f(y)|^2                f of unit length at each place

The distance is that of Zhang et al. (2018, CVPR, LPIPS) with equal weights, by VGG-19 where the user has it, else by
the judge's convolutions; it is 0 for the same picture.

Deviations: no network for recognizing faces; persons are told apart by what the judge embeds, and by pixels.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet.auditing import pictures
from privet.auditing.judges import Judge, labels, questions, smaller
from privet.data.corpus import Corpus
from privet.payload import Array
from privet.train import inputs

GALLERY = 100
SMALL = 16  # pixels: faces are compared pixel by pixel at this size
FEW = 500  # victims whose pictures are looked at layer by layer, and by networks of other people, which is slow
ORIGINAL, FLOOR = "(original)", "(floor)"
VGG, FACES = "vgg19_normalised_to_conv3_1", "faceapi_age_gender"
GENDERS = {"male": 0, "man": 0, "m": 0, "female": 1, "woman": 1, "f": 1}  # by the second network's classes


@dataclass
class Panel:
    """Everybody who judges the rebuilt pictures of one seed: our own network, and those of other people by name."""

    corpus: Corpus
    own: Judge
    outside: Mapping[str, nn.Module]
    device: torch.device | str = "cpu"

    def of(self, name: str, drawn: Tensor, people: Array) -> dict[str, Array]:
        """What they say of pictures [M, C, H, W] drawn of these victims, by `judged/input/NAME/QUESTION` [N], NaN where
        nobody was asked:

        `attribute:A` whether the judge is right; `found:judge` and `found:pixels` the chance of being found in a
        gallery; `distance:judge` or `distance:vgg19`; of the network for faces `faces:verdict` whether it names the
        gender that it names of the original, `faces:years` how far its age is from the original's, `faces:gender`
        whether it is right.
        """
        answers, embedded, pixels = self._look(drawn)
        said = {f"attribute:{n}": self._right(n, s, people) for n, s in answers.items()}
        groups = self.corpus.victim.groups
        said["found:judge"] = found(embedded, self._originals[0], people, groups)
        said["found:pixels"] = found(pixels, self._originals[1], people, groups)
        asked = pictures.asked(len(people), FEW)
        few, here = people[asked], drawn[torch.from_numpy(asked)]
        measure = "distance:vgg19" if VGG in self.outside else "distance:judge"
        near = {measure: self._apart(self.outside.get(VGG, self.own.maps), here, few)}
        if FACES in self.outside:
            near |= self._faces(here, few)
        kept = {q: self._spread(v, people) for q, v in said.items()} | {
            q: self._spread(v, few) for q, v in near.items()
        }
        return {f"judged/input/{name}/{q}": v for q, v in kept.items() if self._enough(v)}

    def reference(self) -> dict[str, Array]:
        """The same of the originals, and of what needs no payload: the mean picture of aux, and always the same answer
        (the most frequent value of aux; of a network's own verdicts the one that fits these victims best)."""
        everybody, x = np.arange(len(self.corpus.victim)), inputs(self.corpus.victim.x)
        sharp = self.of(ORIGINAL, x, everybody)
        mean = inputs(self.corpus.aux_train.x).mean(0, keepdim=True).expand_as(x)
        blank = self.of(FLOOR, mean, everybody)
        for name in questions(self.corpus):
            known = labels(self.corpus.aux_train, name, self.corpus)
            key, own = f"judged/input/{FLOOR}/attribute:{name}", f"judged/input/{FLOOR}/faces:gender"
            if key in blank and (known >= 0).any():
                always = np.full(len(x), np.bincount(known[known >= 0]).argmax())
                blank[key] = self._right(name, always, everybody)
                blank |= {own: blank[key]} if own in blank and name in ("gender", "sex") else {}
        if FACES in self.outside:
            few = pictures.asked(len(x), FEW)
            years, genders = self._ask(x[torch.from_numpy(few)])
            constant = {
                "verdict": (genders == np.bincount(genders).argmax()).astype(float),
                "years": np.abs(years - np.median(years)),
            }
            blank |= {f"judged/input/{FLOOR}/faces:{q}": self._spread(v, few) for q, v in constant.items()}
        return sharp | blank

    @torch.no_grad()
    def _look(self, x: Tensor) -> tuple[dict[str, Array], Tensor, Tensor]:
        """The judge's answers [M], what it embeds [M, E] of length 1, and small pixels [M, D]."""
        answers: dict[str, list[Tensor]] = {}
        embedded = []
        for rows in torch.split(x, 256):
            e = self.own.embedding(self.own.maps(rows.to(self.device)))
            embedded.append(F.normalize(e, dim=1).cpu())
            for name, logits in self.own.answers(e).items():
                answers.setdefault(name, []).append(logits.argmax(1).cpu())
        pixels = smaller(x, SMALL).flatten(1)
        return {n: torch.cat(a).numpy() for n, a in answers.items()}, torch.cat(embedded), pixels

    @cached_property
    def _originals(self) -> tuple[Tensor, Tensor]:
        return self._look(inputs(self.corpus.victim.x))[1:]

    def _right(self, name: str, answers: Array, people: Array) -> Array:
        """1 where right, 0 where wrong, NaN where nobody knows, [M]."""
        known = labels(self.corpus.victim, name, self.corpus)[people]
        return np.where(known >= 0, answers == known, np.nan)

    @torch.no_grad()
    def _apart(self, features: Callable[[Tensor], Sequence[Tensor]], drawn: Tensor, people: Array) -> Array:
        """How far drawn pictures are from the originals of these victims by the features of a network, [M]."""
        parts = []
        for start in range(0, len(people), 64):
            own = inputs(self.corpus.victim.x[people[start : start + 64]], self.device)
            here = drawn[start : start + 64].to(self.device)
            parts.append(distances(features(smaller(here)), features(smaller(own))).cpu())
        return torch.cat(parts).numpy()

    @torch.no_grad()
    def _ask(self, x: Tensor) -> tuple[Array, Array]:
        """Years and genders (0 male) that the network for faces names, [M] each."""
        said = [self.outside[FACES](rows.to(self.device)) for rows in torch.split(x, 64)]
        return torch.cat([y for y, _ in said]).cpu().numpy(), torch.cat([g for _, g in said]).argmax(1).cpu().numpy()

    def _faces(self, drawn: Tensor, people: Array) -> dict[str, Array]:
        years, genders = self._ask(drawn)
        before, verdicts = self._ask(inputs(self.corpus.victim.x[people]))
        said = {"faces:verdict": (genders == verdicts).astype(float), "faces:years": np.abs(years - before)}
        for name in sorted({*self.corpus.hidden, self.corpus.target} & {"gender", "sex"}):
            values = [GENDERS.get(v.lower(), -1) for v in self.corpus.classes[name]]
            if sorted(values) == [0, 1]:
                said["faces:gender"] = self._right(name, np.argsort(values)[genders], people)
        return said

    def _spread(self, values: Array, people: Array) -> Array:
        whole = np.full(len(self.corpus.victim), np.nan)
        whole[people] = values
        return whole

    def _enough(self, values: Array) -> bool:
        """Whether the answers are about people of two groups or more, so that an interval can be given."""
        return len(np.unique(self.corpus.victim.groups[np.isfinite(values)])) > 1


def gallery_odds(others: int, size: int = GALLERY) -> Array:
    """For b = 0..`others` people nearer to a rebuilt picture than its original: the chance that none of them is among
    the size - 1 who are drawn from the others, [others + 1] float64."""
    drawn, b = min(size - 1, others), np.arange(others)
    return np.concatenate([[1.0], np.cumprod(np.clip((others - drawn - b) / (others - b), 0, 1))])


def found(rebuilt: Tensor, originals: Tensor, people: Array, groups: Array, size: int = GALLERY) -> Array:
    """The chance that each rebuilt picture's own original is the nearest one in a random gallery, [M].

    rebuilt [M, D] of these `people` among the originals [N, D]; other pictures of the same group [N] stand in no
    gallery. Of equally near ones each is as likely to be named.
    """
    chances, odds = np.zeros(len(people)), dict[int, Array]()
    for start in range(0, len(people), 512):
        rows = people[start : start + 512]
        distance = torch.cdist(rebuilt[start : start + 512], originals).numpy()
        others = groups[rows][:, None] != groups[None]
        own = distance[np.arange(len(rows)), rows][:, None]
        nearer, equal = (others & (distance < own)).sum(1), (others & (distance == own)).sum(1)
        for i, (count, b, ties) in enumerate(zip(others.sum(1).tolist(), nearer, equal, strict=True), start):
            odds.setdefault(count, gallery_odds(count, size))
            chances[i] = odds[count][b : b + ties + 1].mean()
    return chances


def distances(maps: Sequence[Tensor], others: Sequence[Tensor]) -> Tensor:
    """How far pictures are by their features [B, C, h, w] in several layers, [B]: 0 for the same."""
    apart = [
        (F.normalize(a, dim=1) - F.normalize(b, dim=1)).square().sum(1).mean((1, 2))
        for a, b in zip(maps, others, strict=True)
    ]
    return torch.stack(apart).mean(0)
