"""One audit: encode once, attack with everything the threat grants, keep every prediction.

The views are decoded from the very bytes that would travel. What comes out is evidence for each victim, not a summary:
the intervals, the selection and the flags are computed from it later and can be computed again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from privet import metrics
from privet.attack import Probe, Solver, View, costly
from privet.auditing import battery, floors, messages, pictures
from privet.auditing.battery import Material, Outcome
from privet.auditing.threat import Threat
from privet.data.corpus import Corpus, Part
from privet.defense import Defended
from privet.payload import Array, Payload
from privet.train import Effort, inputs, predict, some

DRAWS = 12
FRAME = 256
COMBINED = 3
NARROW = 1024  # values in front of a linear layer
VOTERS = 3
ENSEMBLE = "ensemble"
Report = Callable[[str, int, int], None] | None


@dataclass(frozen=True)
class Observed:
    """What an adversary holds: aux_train in several draws, aux_val, and the victims."""

    train: Sequence[View]
    val: View
    victims: View
    answers: dict[str, Array]  # role -> predicted target class [N], by the half that ships
    saturated: int
    message_bits: int  # of all that one person sends
    messages: Array | None  # the number of each victim's message [N]; None where there are too many to count


@dataclass
class Evidence:
    """Predictions for every victim and scores on aux_val, under flat names such as `posterior/race/mlp_probe`."""

    arrays: dict[str, Array] = field(default_factory=dict)
    # attribute -> attack -> metric -> score on aux_val
    selection: dict[str, dict[str, dict[str, float]]] = field(default_factory=dict)
    logs: dict[str, Any] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)  # of computing, by goal/attack; not part of the digest


@dataclass(frozen=True)
class Wire:
    """A defended split as an adversary of this threat meets it: sends frames, and reads them back."""

    defended: Defended
    corpus: Corpus
    threat: Threat
    device: torch.device | str = "cpu"

    def send(self, z: Tensor, generator: np.random.Generator) -> tuple[list[bytes], int]:
        """The frames of everybody's payload, 256 people a frame, and how many values saturated."""
        frames, saturated = [], 0
        for rows in torch.split(z, FRAME):
            payload = self.defended.pack(rows.to(self.device), self.defended.draw(len(rows), generator))
            frames.append(payload.to_bytes())
            saturated += payload.saturated
        return frames, saturated

    def read(self, frames: list[bytes], part: Part) -> tuple[View, Array]:
        """What the adversary makes of them, and the answers of the server."""
        signature = self.defended.obfuscator.signature
        payloads = [Payload.from_bytes(frame, signature) for frame in frames]
        floats = [p.floats() for p in payloads]
        seen = tuple(torch.from_numpy(np.concatenate([f[field.name] for f in floats])) for field in signature)
        knows = self.threat.grants
        with listening(self.defended.server_half if "architecture" in knows else nn.Identity()) as heard:
            logits = torch.cat([self.defended.server(p, self.device).float().cpu() for p in payloads])
        z = (
            torch.cat([self.defended.decode(p, self.device).float().cpu() for p in payloads])
            if "obfuscator" in knows
            else None
        )
        # Where a mask says which values came, a column of the raw payload means another value for everybody.
        masked = z is not None and any(f.dtype == "bits" for f in signature)
        columns = [v.flatten(1) for f, v in zip(signature, seen, strict=True) if f.dtype == "bits" or not masked]
        columns += [z.flatten(1)] if masked and z is not None else []
        columns += [logits] if "architecture" in knows else []
        columns += [self.side(part)] if self.threat.side else []
        server = (self.defended.template or self.defended.split.server) if "architecture" in knows else None
        masks = sum(f.size for f in signature if f.dtype == "bits")
        first = masks > 0 and signature[0].dtype == "bits" and any(f.dtype != "bits" for f in signature)
        hidden = torch.cat([torch.cat(parts) for parts in heard.values()], 1) if heard else None
        view = View(torch.cat(columns, 1), z, server, masks if first else 0, hidden=hidden)
        if "edge" in knows:
            view = replace(view, match=self.match, seen=(seen,))
        return view, logits.argmax(1).numpy()

    def match(self, x: Tensor, payload: tuple[Tensor, ...]) -> tuple[Tensor, Tensor]:
        """`View.match`, computed where the halves are."""
        return self.defended.obfuscator.match(
            self.defended.split.edge(x.to(self.device)), *(field.to(self.device) for field in payload)
        )

    def messages(self, sent: Sequence[list[bytes]], part: Part) -> Array:
        """The number of the message of each person of the part, over all queries, with what the adversary knows."""
        signature = self.defended.obfuscator.signature
        payloads = [[Payload.from_bytes(frame, signature) for frame in frames] for frames in sent]
        return messages.index(payloads, [part.s[name] for name in self.threat.side])

    def side(self, part: Part) -> Tensor:
        """The attributes that the adversary knows already, as one-hot columns."""
        sizes = [self.corpus.n_classes(name) for name in self.threat.side]
        return torch.from_numpy(floors.one_hot([part.s[name] for name in self.threat.side], sizes))


@dataclass(frozen=True)
class Draws(Sequence[View]):
    """aux_train as an adversary sees it in draw after draw. Frames are kept, because they are "
    "small; views are made anew."""

    wire: Wire
    part: Part
    frames: list[list[bytes]]
    together: int
    people: Tensor | None = None

    def __len__(self) -> int:
        return len(self.frames) // self.together

    def __getitem__(self, index: Any) -> Any:
        views = [
            self.wire.read(f, self.part)[0] for f in self.frames[index * self.together : (index + 1) * self.together]
        ]
        if not views:
            raise IndexError(index)
        whole = combined(views)
        return whole if self.people is None else whole.rows(self.people)

    def of(self, people: Tensor) -> Draws:
        """The draws of some of the people."""
        return replace(self, people=people)


@contextmanager
def listening(server: nn.Module) -> Iterator[dict[nn.Module, list[Tensor]]]:
    """What stands in front of each linear layer while the server answers, [B, width] a batch; of tokens their mean.
    Layers wider than `NARROW` are left out: they read z' itself, or nearly."""
    heard: dict[nn.Module, list[Tensor]] = {}

    def note(layer: nn.Module, given: tuple[Tensor, ...]) -> None:
        values = given[0].detach().float()
        values = values.flatten(1, -2).mean(1) if values.dim() > 2 else values
        if values.shape[1] <= NARROW:
            heard.setdefault(layer, []).append(values.cpu())

    hooks = [m.register_forward_pre_hook(note) for m in server.modules() if isinstance(m, nn.Linear)]
    try:
        yield heard
    finally:
        for hook in hooks:
            hook.remove()


def combined(views: Sequence[View]) -> View:
    """Several payloads of each person as one view: their mean, in which fresh noise averages out and masks add up."""
    first = views[0]
    if len(views) == 1:
        return first
    z = None if first.z is None else torch.stack([v.z for v in views if v.z is not None]).mean(0)
    hidden = None if first.hidden is None else torch.stack([v.hidden for v in views if v.hidden is not None]).mean(0)
    seen = tuple(payload for view in views for payload in view.seen)
    return replace(first, flat=torch.stack([v.flat for v in views]).mean(0), z=z, seen=seen, hidden=hidden)


def observe(
    defended: Defended, corpus: Corpus, threat: Threat, seed: int, device: torch.device | str = "cpu"
) -> Observed:
    """Send everybody's payload and read it back, with fresh noise for every payload.

    The edge runs once for each person; what is random is drawn again and again behind it.
    """
    generator = np.random.default_rng([seed, 5])
    wire = Wire(defended, corpus, threat, device)
    queries = threat.queries if defended.stochastic else 1
    draws = 1 if not defended.stochastic else DRAWS if queries == 1 else COMBINED * queries
    saturated = 0
    sent: dict[str, list[list[bytes]]] = {}
    for role, count in {"aux_train": draws, "aux_val": queries, "victim": queries}.items():
        z = predict(defended.split.edge, corpus.parts[role].x, device)
        sent[role] = []
        for _ in range(count):
            frames, clipped = wire.send(z, generator)
            sent[role].append(frames)
            saturated += clipped
    answers, views = {}, {}
    for role in ("aux_val", "victim"):
        seen = [wire.read(frames, corpus.parts[role]) for frames in sent[role]]
        views[role], answers[role] = combined([view for view, _ in seen]), seen[0][1]
    answers["aux_train"] = wire.read(sent["aux_train"][0], corpus.aux_train)[1]
    train: Sequence[View] = Draws(wire, corpus.aux_train, sent["aux_train"], queries)
    bits = queries * messages.bits(defended.obfuscator.signature)
    # People who share a draw of the noise are no independent people, so nothing can be certified of them.
    own_noise = all(noise.per == "sample" for noise in defended.obfuscator.noise)
    return Observed(
        train if len(train) > 1 else [train[0]],
        views["aux_val"],
        views["victim"],
        answers,
        saturated,
        bits,
        wire.messages(sent["victim"], corpus.victim) if bits <= messages.LIMIT and own_noise else None,
    )


def owner_accuracy(defended: Defended, corpus: Corpus, seed: int, device: torch.device | str = "cpu") -> float:
    """Accuracy of the target on the owner's own task_val, by the halves that ship: what an operating point may be
    chosen by."""
    part, generator = corpus.task_val, np.random.default_rng([seed, 8])
    z, right = predict(defended.split.edge, part.x, device), []
    for rows, y in zip(torch.split(z, FRAME), torch.split(torch.from_numpy(part.y), FRAME), strict=True):
        payload = defended.pack(rows.to(device), defended.draw(len(rows), generator))
        right.append((defended.server(payload, device).argmax(1).cpu() == y)[y >= 0])
    return float(torch.cat(right).float().mean())


def of_people(views: Sequence[View], people: Array) -> Sequence[View]:
    """The same draws, of some of the people."""
    rows = torch.from_numpy(people)
    return views.of(rows) if isinstance(views, Draws) else [view.rows(rows) for view in views]


def attack(
    observed: Observed,
    corpus: Corpus,
    threat: Threat,
    attacks: Mapping[str, Probe | Solver],
    *,
    effort: Effort,
    seed: int,
    device: torch.device | str = "cpu",
    report: Report = None,
    clock: Callable[[], float] | None = None,
    judge: Callable[[str, Tensor, Array], dict[str, Array]] | None = None,
) -> Evidence:
    """Run every attack against every hidden attribute and against the input itself, costly attacks last: they begin
    where the best decoder has come to, and are asked about some people only. `clock` counts the seconds of each;
    `judge` looks at what each has rebuilt of which victims."""
    evidence = Evidence()
    plan = [
        (name, a, goal)
        for name, a in sorted(attacks.items(), key=lambda item: costly(item[1]))
        for goal in (corpus.hidden if a.goal == "attribute" else ("input",))
    ]
    opened: _Drawn | None = None
    said: dict[str, list[_Said]] = {goal: [] for goal in corpus.hidden}
    for index, (name, method, goal) in enumerate(plan):
        if report:
            report(f"{name} on {goal}", index, len(plan))
        known = material(observed, corpus, threat, goal, seed)
        victims, people = observed.victims, np.arange(len(observed.victims))
        held = np.arange(len(known.val))
        if costly(method):
            people, held = pictures.asked(len(victims), effort.asked), pictures.asked(len(held), effort.asked)
            val = known.val
            if opened:
                val, victims = replace(val, drawn=opened.val), replace(victims, drawn=opened.victims)
            rows = torch.from_numpy(held)
            known = replace(known, val=val.rows(rows), known_val=known.known_val[rows])
            victims = victims.rows(torch.from_numpy(people))
        started = clock() if clock else 0.0
        outcome = battery.run(method, known, victims, effort=effort, seed=seed, device=device)
        evidence.seconds |= {f"{goal}/{name}": clock() - started} if clock else {}
        evidence.logs[f"{goal}/{name}"] = outcome.log | ({"asked": len(people)} if costly(method) else {})
        if method.goal == "attribute":
            evidence.arrays[f"posterior/{goal}/{name}"] = outcome.victims.numpy()
            scores = attribute_scores(outcome.val.numpy(), known.known_val.numpy())
            said[goal].append(_Said(name, scores.get("accuracy", 0.0), outcome, known.known_val))
        else:
            evidence.arrays |= pictures.record(name, outcome.victims, corpus.victim.x, people)
            evidence.arrays |= judge(name, outcome.victims, people) if judge else {}
            own = pictures.scores(outcome.val, known.known_val)
            scores = _on_the_same(own, opened.scores if opened and costly(method) else {}, held)
            if not costly(method) and (opened is None or scores["psnr"] > opened.scores["psnr"].mean()):
                opened = _Drawn(own, outcome.val, outcome.victims)
        evidence.selection.setdefault(goal, {})[name] = scores
    for goal, answers in said.items():
        _vote(evidence, goal, answers)
    return evidence


@dataclass(frozen=True)
class _Drawn:
    """The best reconstructions so far, with their scores on aux_val [N]."""

    scores: dict[str, Array]
    val: Tensor
    victims: Tensor


def _on_the_same(own: dict[str, Array], before: dict[str, Array], held: Array) -> dict[str, float]:
    """Mean scores on aux_val. Of an attack that was asked about few: what it gains there over the best one before,
    added to that one's mean over everybody, since few people may be easy or hard ones."""
    shift = {metric: values.mean() - values[held].mean() for metric, values in before.items()}
    return {metric: float(values.mean() + shift.get(metric, 0.0)) for metric, values in own.items()}


@dataclass(frozen=True)
class _Said:
    """One attack's posteriors, with its accuracy on aux_val and the labels there."""

    name: str
    accuracy: float
    outcome: Outcome
    known_val: Tensor


def _vote(evidence: Evidence, goal: str, said: list[_Said]) -> None:
    """One more attack: the mean posterior of the three that are best on aux_val."""
    best = sorted(said, key=lambda one: -one.accuracy)[:VOTERS]
    if len(best) < 2:
        return
    on_val = torch.stack([one.outcome.val for one in best]).mean(0).numpy()
    on_victims = torch.stack([one.outcome.victims for one in best]).mean(0).numpy()
    evidence.arrays[f"posterior/{goal}/{ENSEMBLE}"] = on_victims
    evidence.selection[goal][ENSEMBLE] = attribute_scores(on_val, best[0].known_val.numpy())
    evidence.logs[f"{goal}/{ENSEMBLE}"] = {"voters": [one.name for one in best]}


def material(observed: Observed, corpus: Corpus, threat: Threat, goal: str, seed: int) -> Material:
    """What an adversary of this threat learns a goal from: a hidden attribute, or `input`."""
    make = attribute_material if goal != "input" else _input_material
    return make(observed, corpus, threat, goal, seed)


def truth(corpus: Corpus) -> Tensor:
    """The victims' inputs, to score by."""
    return inputs(corpus.victim.x)


def attribute_material(observed: Observed, corpus: Corpus, threat: Threat, attribute: str, seed: int) -> Material:
    """The labelled people of aux, as many as the threat owns: some to learn from, a quarter as many to choose on."""
    train, val = (np.flatnonzero(corpus.parts[role].s[attribute] >= 0) for role in ("aux_train", "aux_val"))
    train, val = some(train, threat.labels, seed), some(val, _quarter(threat.labels), seed)
    return Material(
        of_people(observed.train, train),
        torch.from_numpy(corpus.aux_train.s[attribute][train]),
        observed.val.rows(torch.from_numpy(val)),
        torch.from_numpy(corpus.aux_val.s[attribute][val]),
        (corpus.n_classes(attribute),),
    )


def _input_material(observed: Observed, corpus: Corpus, threat: Threat, goal: str, seed: int) -> Material:
    train = some(np.arange(len(corpus.aux_train)), threat.pairs, seed)
    val = some(np.arange(len(corpus.aux_val)), _quarter(threat.pairs), seed)
    return Material(
        of_people(observed.train, train),
        inputs(corpus.aux_train.x[train]),
        observed.val.rows(torch.from_numpy(val)),
        inputs(corpus.aux_val.x[val]),
        corpus.shape,
    )


def _quarter(owned: int | None) -> int | None:
    return None if owned is None else max(2, owned // 4)


def attribute_scores(posterior: Array, s: Array) -> dict[str, float]:
    """Every attribute metric over one part, unweighted."""
    ones = np.ones((1, len(s)))
    return {name: float(metric(posterior, s, ones)[0]) for name, metric in metrics.METRICS.items()} if len(s) else {}


def reference(observed: Observed, corpus: Corpus, threat: Threat, seed: int) -> Evidence:
    """The floors, from the undefended observation: what an adversary reaches without any payload."""
    evidence = Evidence()
    answers = corpus.n_classes(corpus.target)
    for attribute in corpus.hidden:
        classes = corpus.n_classes(attribute)
        aux = some(np.flatnonzero(corpus.aux_train.s[attribute] >= 0), threat.labels, seed)
        s, answer, victims = (
            corpus.aux_train.s[attribute][aux],
            observed.answers["aux_train"][aux],
            observed.answers["victim"],
        )
        name = f"floor/{attribute}"
        evidence.arrays[f"{name}/majority"] = floors.majority(s, classes, len(victims)).numpy()
        if threat.sees_answer:
            evidence.arrays[f"{name}/label_only"] = floors.label_only(s, answer, victims, classes, answers).numpy()
        if threat.side:
            rows = (corpus.aux_train, aux, answer), (corpus.victim, np.arange(len(victims)), victims)
            known = [_known(part, people, given, corpus, threat) for part, people, given in rows]
            evidence.arrays[f"{name}/imputation"] = floors.imputation(s, known[0], known[1], classes).numpy()
    owned = some(np.arange(len(corpus.aux_train)), threat.pairs, seed)
    own, x = inputs(corpus.aux_train.x[owned]), inputs(corpus.victim.x)
    drawn = {"mean_image": floors.mean_image(own, len(x))}
    if threat.sees_answer:
        given = observed.answers["aux_train"][owned]
        drawn["image_of_answer"] = floors.image_of_answer(own, given, observed.answers["victim"])
    for floor, rebuilt in drawn.items():
        for metric, values in pictures.scores(rebuilt, x).items():
            evidence.arrays[f"floor/input/{floor}/{metric}"] = values
    return evidence


def _known(part: Part, people: Array, answers: Array, corpus: Corpus, threat: Threat) -> Array:
    """What is known of people without their payload: side information, and the answer where the threat sees it."""
    names = list(threat.side)
    columns, sizes = [part.s[n][people] for n in names], [corpus.n_classes(n) for n in names]
    if threat.sees_answer:
        columns, sizes = [answers, *columns], [corpus.n_classes(corpus.target), *sizes]
    return floors.one_hot(columns, sizes)
