"""DISCO: a filter looks at each representation and prunes its channels (Singh et al. 2021, "DISCO: Dynamic and
invariant sensitive channel obfuscation for deep neural networks", arXiv:2012.11025).

    scores = q(sg[z]),   M = 1 for the K = C - floor(ratio C) largest, else 0,   z' = M * z
    payload = the bits of M and the kept channels of z
    f, h minimize CE(h(sg[M] * z), y),   a minimizes CE(a(z'), s)
    q minimizes (1 - alpha) CE(h(z'), y) - alpha credit(z', s)

A channel is a map where z holds maps (`--at block3` of `cnn3`), a unit behind a flat layer (its default cut), a feature
of a sequence, or a token of it (`--model vit --at block2 --defense disco:prune=tokens`).

The filter decides for every example on its own and looks at nothing else, so a mask does not depend on the batch. The
client hears of the target alone, with M held fixed (`shield=false` lets the adversaries' gradient through, and
`through=true` that of the target through the filter). `hide` says what the failure
of an adversary is worth (`privet.adversaries`), `attribute=race/age` hides several at once, `adversaries=3` trains
against three architectures for each; adversaries start afresh every ten epochs. `learn=false` is a control: the filter
stays as it was drawn, and what is hidden then is hidden by pruning and by training behind it.

Deviations: the masks are really hard, with a straight-through gradient (`mode=ste`; `gumbel` adds noise to the scores
while it learns, `soft` begins with soft masks): as written, and as released, a thresholded mask teaches the filter
nothing, and a soft one leaks what it scales down. Scores are standardized for each example, so that the temperature
has a fixed meaning; it is 1, because at 1/30, as released, only channels near the threshold hear anything, and nearly
everybody ends with the same mask. The network given is trained already, which is the warm start; the filter is
fresh and learns at 1e-2. The adversary takes five steps to one; the filter's gradient is clipped at 1.
Target and filter share the server's pass, in training mode. An adversary's error counts up to the entropy of s. The
epoch kept is chosen by fresh probes on task_val. The filter reads z, never x, and is a few small layers. Kept channels
are not rescaled. Tokens go without a mask: the server reads those that came.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, replace
from typing import Any, ClassVar, Literal

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from privet import joint
from privet.adversaries import RATE, Adversaries, Hide
from privet.channels import Filter, Masked, MaskedTokens, Prune, axis_of, check_ratio, count_kept, hard_mask
from privet.data.corpus import Corpus
from privet.defense import Defended, Obfuscator, Progress
from privet.defenses.none import RawObfuscator
from privet.errors import CutError, SpecError
from privet.filtering import Filtering, Mode
from privet.split import Split
from privet.train import Effort

HOT, COLD = 1.0, 1 / 30
WARMING = 0.4  # of the epochs, under mode=soft
RENEWED = 10
ALIKE = 10  # people to a mask beyond which a filter hardly tells them apart
WHY = "a learned mask promises nothing; it fooled the adversaries it met, and a fresh one is asked in the audit"


@dataclass(frozen=True)
class Disco:
    """Prune the share `ratio` of the channels, which a filter picks to hide `attribute` (the first hidden one where
    empty) with weight `alpha`."""

    trains_edge: ClassVar[bool] = True
    dynamic: ClassVar[bool] = True
    summary: ClassVar[str] = "a learned filter picks the channels to prune, for every example, to hide an attribute"
    adaptive: ClassVar[str] = (
        "it fooled the adversaries it was trained beside, and which channels came tells as well: fresh attackers of "
        "every family read the mask's bits beside the pruned representation, for every hidden attribute"
    )
    answered_by: ClassVar[tuple[str, ...]] = ("mask", "server_probe", "informed_probe", "finetuned_probe")
    ratio: float = 0.75
    alpha: float = 0.5
    attribute: str = ""
    hide: Hide = "error"
    mode: Mode = "ste"
    temperature: float = HOT
    prune: Prune = "channels"
    adversaries: int = 1
    shield: bool = True
    through: bool = False
    learn: bool = True
    rate: float = RATE
    dtype: Literal["float16", "float32"] = "float16"

    def __post_init__(self) -> None:
        check_ratio(self.ratio)
        if not 0 <= self.alpha < 1:
            raise SpecError(f"alpha weighs hiding against the target and lies in [0, 1), got {self.alpha}")
        if not 1e-4 <= self.temperature <= 100:
            raise SpecError(f"temperature is that of the soft mask and lies in [1e-4, 100], got {self.temperature}")
        if self.adversaries not in (1, 2, 3):
            raise SpecError(
                f"adversaries is how many are trained for each attribute: 1, 2 or 3, got {self.adversaries}"
            )
        if not 0 < self.rate <= 1:
            raise SpecError(f"rate is Adam's learning rate and lies in (0, 1], got {self.rate}")

    def check(self, split: Split) -> None:
        """Refuse a cut with nothing to choose from; a frozen half stays, the filter learns in any case."""
        axis = axis_of(split.shape, self.prune)
        if split.shape[axis] < 2:
            raise CutError(f"z at {split.cut!r} has one channel, so there is nothing to choose from; cut elsewhere")
        joint.check_trainable(split, "disco", sorted({"edge", "server"} - split.frozen))

    def fit(self, split: Split, corpus: Corpus, *, effort: Effort, seed: int, progress: Progress = None) -> Defended:
        """Train the client, the filter, the server and the adversaries on task_train.

        Raises SpecError for an unknown attribute, CutError for halves that cannot be trained or pruned, DataError where
        labels are missing."""
        self.check(split)
        hidden = joint.hidden_attributes(corpus, self.attribute)
        for name in hidden:
            if len(np.unique(known := corpus.task_train.s[name][corpus.task_train.s[name] >= 0])) < 2:
                raise SpecError(
                    f"everybody in task_train has the same {name!r}, so there is nothing to hide; {len(known)} rows"
                )
        split, device = split.copy(), joint.device_of(split)
        axis = axis_of(split.shape, self.prune)
        keep = count_kept(split.shape[axis], self.ratio)
        if keep == split.shape[axis]:
            return replace(Defended.of(split, RawObfuscator(split.shape), WHY, kept=keep), flags=("nothing_removed",))
        owner = joint.Owner.of(corpus, hidden, device)
        with joint.seeded(seed, device) as generator:
            chooser = self.chooser(split.shape, axis).to(device)
            kind = MaskedTokens if self.prune == "tokens" else Masked
            learned = kind(split.shape, axis, keep, chooser, self.dtype)
            where = replace(split, shape=(keep, *split.shape[1:])) if self.prune == "tokens" else split
            adversaries = Adversaries(
                where, owner.train.s, [corpus.n_classes(name) for name in hidden],
                count=self.adversaries, hide=self.hide, rate=self.rate, renewed=RENEWED,
            )  # fmt: skip
            epochs: list[int] = []
            game = self._game(split, learned, chooser, adversaries, lambda: self._heat(len(epochs), effort.task_epochs))

            def epoch() -> AbstractContextManager[Any]:
                epochs.append(1)
                return nullcontext()

            fresh = chooser if self.learn else None
            plan = joint.Plan(joint.adam(*game.players[:-1], fresh=fresh, rate=self.rate), epoch)
            log = joint.play(game, plan, owner, effort=effort, generator=generator, progress=progress)
        chooser.requires_grad_(False)
        log |= {"attribute": "/".join(hidden), "prior_nats": adversaries.prior, "kept": keep}
        log |= masks(split, learned, owner.val) | telling(split, axis, owner)
        found = Defended.of(where, self.shipped(learned, keep), WHY, **log)
        static = self.dynamic and log.get("masks", 2) * ALIKE < log.get("people", 0)
        return replace(found, cotrained=adversaries.first(hidden), flags=("hardly_dynamic",) if static else ())

    def chooser(self, shape: tuple[int, ...], axis: int) -> nn.Module:
        """What scores the channels: z [B, *shape] to [B, C]."""
        return Filter(shape, axis)

    def shipped(self, learned: Masked, keep: int) -> Obfuscator:
        """The obfuscator that goes to the edge."""
        return learned

    def _game(
        self, split: Split, learned: Masked, chooser: nn.Module, adversaries: Adversaries, soft: Any
    ) -> Filtering:
        def encode(x: Tensor) -> tuple[Tensor, Tensor]:
            z = split.edge(x)
            return learned.prune(z, hard_mask(learned.scores(z), learned.keep)), z.new_zeros(())

        halves = {"edge": split.edge, "server": split.server}
        for name in split.frozen:
            halves.pop(name).eval().requires_grad_(False)
        players = (*halves.values(), chooser)
        return Filtering(
            encode, split.server, players, gamma=self.alpha / (1 - self.alpha), edge=split.edge, obfuscator=learned,
            chooser=chooser, adversaries=adversaries, alpha=self.alpha, mode=self.mode, temperature=self.temperature,
            shield=self.shield, through=self.through, frozen=split.frozen, soft=soft,
        )  # fmt: skip

    def _heat(self, epoch: int, epochs: int) -> float | None:
        """The soft mask's temperature in epoch 1, 2, ...: from 1 down to 1/30; None once masks are hard."""
        warming = round(WARMING * epochs) if self.mode == "soft" else 0
        return HOT * (COLD / HOT) ** ((epoch - 1) / max(1, warming - 1)) if epoch <= warming else None


@torch.no_grad()
def masks(split: Split, learned: Masked, val: joint.Examples) -> dict[str, Any]:
    """How often each channel is kept on task_val, and how many different masks there are among how many people."""
    if not len(val):
        return {}
    found = torch.cat(
        [
            hard_mask(learned.scores(split.edge(val.batch(slice(i, i + joint.VAL_BATCH)).x)), learned.keep)
            for i in range(0, len(val), joint.VAL_BATCH)
        ]
    )
    return {
        "masks": len({tuple(row) for row in found.tolist()}),
        "people": len(found),
        "kept_share": found.mean(0).tolist(),
    }


@torch.no_grad()
def telling(split: Split, axis: int, owner: joint.Owner) -> dict[str, list[float]]:
    """What each channel tells on its own of the hidden attributes (the mean over them) and of the target: accuracy on
    task_val of a ridge regression on the channel, pooled to at most 3 x 3 places, fitted on task_train; [C] each."""
    if not len(owner.val):
        return {}
    train, held = (_by_channel(split, axis, rows) for rows in (owner.train, owner.val))
    answers = [*((owner.train.s[:, i], owner.val.s[:, i]) for i in range(owner.train.s.shape[1]))]
    leaks = torch.stack([_ridge(train, held, *pair) for pair in answers]).mean(0)
    return {"channel_leak": leaks.tolist(), "channel_use": _ridge(train, held, owner.train.y, owner.val.y).tolist()}


def _by_channel(split: Split, axis: int, rows: joint.Examples) -> Tensor:
    """Features of each channel of some examples, with a column of ones: [C, N, F]."""
    found = []
    for start in range(0, len(rows), joint.VAL_BATCH):
        z = split.edge(rows.batch(slice(start, start + joint.VAL_BATCH)).x).movedim(axis + 1, 1)
        if z.dim() == 4:
            z = F.adaptive_avg_pool2d(z, tuple(min(3, size) for size in z.shape[2:]))
        elif z.dim() == 3:
            z = torch.stack([z.mean(2), z.amax(2), z.std(2)], 2)
        flat = z.flatten(2) if z.dim() > 2 else z.unsqueeze(2)
        found.append(torch.cat([flat, torch.ones_like(flat[:, :, :1])], 2).movedim(1, 0).double().cpu())
    return torch.cat(found, 1)


def _ridge(train: Tensor, held: Tensor, known: Tensor, wanted: Tensor) -> Tensor:
    """Accuracy [C] of the class with the largest regression on [C, N, F]; labels -1 are left out."""
    rows, there = known >= 0, wanted >= 0
    x, y = train[:, rows], F.one_hot(known[rows]).double()
    gram = x.mT @ x / x.shape[1]
    weight = torch.linalg.solve(gram + 1e-4 * torch.eye(x.shape[2]).double(), x.mT @ y / x.shape[1])
    right: Tensor = (held[:, there] @ weight).argmax(2) == wanted[there]
    return right.double().mean(1)
