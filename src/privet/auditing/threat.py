"""Threats: who the adversary is, in words, and what it may touch, as a type. No finding exists without one."""

from __future__ import annotations

from dataclasses import dataclass, replace

from privet import registry
from privet.attack import FOLDER, Need, Probe, Solver, slow
from privet.errors import SpecError, ThreatError, unknown

EVERYTHING = "all"
SLOW = f"slow: it runs at effort full, and with --attack {EVERYTHING} at any effort"


@dataclass(frozen=True)
class Threat:
    """An adversary's knowledge. `labels` and `pairs` are how many labelled payloads and (input, payload) pairs it owns
    (None: all of aux), `queries` how many payloads of one victim input it sees, `side` the attributes of a victim that
    it knows already, `sees_answer` whether it learns the predicted class anyway."""

    name: str
    paragraph: str
    grants: frozenset[Need]
    labels: int | None = None
    pairs: int | None = None
    queries: int = 1
    side: tuple[str, ...] = ()
    sees_answer: bool = True
    withheld: frozenset[Need] = frozenset()  # what it would be granted, had it been recorded

    @classmethod
    def named(cls, name: str, side: tuple[str, ...] = ()) -> Threat:
        """One of the four threats; SpecError with the nearest name otherwise."""
        key = name.replace("-", "_")
        if key not in THREATS:
            raise SpecError(unknown("threat", name, THREATS))
        return replace(THREATS[key], side=side)

    def of_recording(self, held: frozenset[Need]) -> Threat:
        """The same adversary where nothing but a recording is at hand, which holds what these needs ask for."""
        few = "" if self.labels is None else f", only {self.labels + self.labels // 4} of them"
        told = "payloads, inputs and hidden attributes" if "pairs" in held else "payloads and hidden attributes"
        seen = "one payload" if self.queries == 1 else f"{self.queries} payloads of the same input"
        answer = " It hears the answer, where that was recorded." if self.sees_answer else ""
        paragraph = (
            f"Somebody holds {seen} of each victim as they were recorded, and owns people of its own (the aux "
            f"part{few}) whose {told} it knows.{answer} What made the payloads is not at hand, so that no attack looks "
            "into it."
        )
        return replace(self, grants=self.grants & held, withheld=self.grants - held, paragraph=paragraph)

    def refusal(self, attack: Probe | Solver) -> str | None:
        """Why this threat does not grant what the attack needs, or None."""
        missing = sorted(attack.needs - self.grants)
        if not missing:
            return None
        wanted = f"{registry.method_name(attack)} needs {' and '.join(missing)}"
        if self.withheld >= set(missing):
            return f"{wanted}, which this recording does not hold"
        return f"{wanted}, which the threat {self.name!r} does not grant"

    def describe(self) -> dict[str, str]:
        """Name and paragraph, with the side information in words."""
        known = f" It also knows the victim's {', '.join(self.side)}." if self.side else ""
        return {"name": self.name, "paragraph": self.paragraph + known}


_ALL: frozenset[Need] = frozenset({"labels", "pairs", "obfuscator", "architecture", "edge"})
THREATS = {
    threat.name: threat
    for threat in (
        Threat(
            "server",
            "The server is honest but curious: it answers as agreed and keeps every payload. It knows the "
            "architecture and weights of both "
            "halves and the obfuscator, and owns people of its own (the aux part) whose inputs, payloads and hidden "
            "attributes it knows. "
            "It sees one payload of each victim.",
            _ALL,
        ),
        Threat(
            "eavesdropper",
            "Somebody reads the payloads on their way and knows neither the networks nor the obfuscator. By running "
            "the app on people of "
            "its own (the aux part) it owns payloads with known inputs and hidden attributes. It sees one payload of "
            "each victim.",
            frozenset({"labels", "pairs"}),
            sees_answer=False,
        ),
        Threat(
            "few_labels",
            "The curious server with little data: it knows both halves and the obfuscator, but owns only 250 people "
            "(200 to learn from, 50 to choose on) whose inputs, payloads and hidden attributes it knows. It sees one "
            "payload of each victim.",
            _ALL,
            labels=200,
            pairs=200,
        ),
        Threat(
            "repeated",
            "The curious server, asked again and again: it knows both halves and the obfuscator, owns the aux people, "
            "and sees eight payloads of the same input of each victim, so that fresh noise averages out.",
            _ALL,
            queries=8,
        ),
    )
}


def portfolio(
    threat: Threat, names: tuple[str, ...] = (), effort: str = "full"
) -> tuple[dict[str, Probe | Solver], dict[str, str]]:
    """The attacks this threat grants, by spelled name, and those left out with the reason; without names those that
    this effort affords, with `all` among them the slow ones, too.

    An attack that was asked for by name is refused with ThreatError where the threat does not grant it.
    """
    granted: dict[str, Probe | Solver] = {}
    left_out: dict[str, str] = {}
    named = tuple(name for name in names if name != EVERYTHING)
    for text in dict.fromkeys((*(registry.names(FOLDER) if EVERYTHING in names or not names else ()), *named)):
        attack = registry.parse(FOLDER, text)
        refusal = threat.refusal(attack)
        if refusal is None and not names and effort != "full" and slow(attack):
            refusal = SLOW
        if refusal is None:
            granted[registry.spell(attack)] = attack
        elif text in named:
            raise ThreatError(f"{refusal}; choose another threat with --threat, or leave the attack out")
        else:
            left_out[registry.spell(attack)] = refusal
    return granted, left_out
