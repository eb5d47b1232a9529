"""Messages: what one person sends is one symbol, and no attack may know more than the symbol tells."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Any, ClassVar

import numpy as np
import pytest
import torch
from torch import Tensor

from privet.attack import View
from privet.auditing import audit, messages, wire
from privet.auditing.threat import Threat
from privet.bounds import certificate
from privet.defense import parse
from privet.errors import RunError
from privet.payload import Field, Payload
from studies import SMALL, halves, people

SIGNATURE = (Field("mask", "bits", (3,)), Field("value", "float16", (2,)))
Array = np.ndarray


def payload(mask: list[list[int]], value: list[list[float]]) -> Payload:
    return Payload.pack(SIGNATURE, {"mask": np.array(mask, float), "value": np.array(value)})


def test_bits_of_a_payload() -> None:
    assert messages.bits(SIGNATURE) == 3 + 2 * 16
    assert messages.bits((Field("a", "int8", (5,)), Field("b", "float32", (1,)))) == 72


def test_equal_bytes_are_one_message() -> None:
    first = payload([[1, 0, 1], [1, 0, 1], [0, 0, 1]], [[1, 2], [1, 2.0001], [1, 2]])
    second = payload([[0, 0, 0]], [[1, 2]])
    found = messages.index([[first, second]])
    assert found[0] == found[1], "2.0001 rounds to 2 in float16"
    assert len(set(found.tolist())) == 3


def test_queries_and_side_information_join_the_message() -> None:
    one = payload([[1, 0, 1]] * 4, [[1, 2]] * 4)
    other = payload([[1, 0, 1]] * 4, [[1, 2], [1, 2], [1, 3], [1, 3]])
    assert len(set(messages.index([[one]]).tolist())) == 1
    assert len(set(messages.index([[one], [other]]).tolist())) == 2
    assert len(set(messages.index([[one], [other]], [np.array([0, 1, 0, 1])]).tolist())) == 4
    assert len(set(messages.index([[one]], [np.array([0, -1, 0, 0])]).tolist())) == 2


@pytest.mark.parametrize(
    ("text", "counted"),
    [("label_only", True), ("signal_content:keep=2,bits=3", True), ("signal_content:keep=2", False)],
)
def test_only_small_alphabets_are_counted(text: str, counted: bool) -> None:
    corpus = people()
    observed = wire.observe(
        parse(text).fit(halves(corpus), corpus, effort=SMALL, seed=0), corpus, Threat.named("server"), 0
    )
    assert (observed.messages is not None) == counted == (observed.message_bits <= messages.LIMIT)
    if observed.messages is not None:
        assert len(observed.messages) == len(corpus.victim)
        assert observed.messages.max() < 2**observed.message_bits


def test_people_who_share_their_noise_are_not_certified() -> None:
    """A mask drawn once for a batch makes 256 people one: their messages are counted for nobody."""
    corpus = people()
    for draw, counted in (("batch", False), ("fixed", True)):
        text = f"random_channels:draw={draw}+signal_content:keep=1,bits=2"
        defended = parse(text).fit(halves(corpus), corpus, effort=SMALL, seed=0)
        found = wire.observe(defended, corpus, Threat.named("server"), 0)
        assert (found.messages is not None) == counted


def test_a_threat_that_knows_more_has_more_messages() -> None:
    corpus = people()
    defended = parse("signal_content:keep=1,bits=2").fit(halves(corpus), corpus, effort=SMALL, seed=0)
    plain = wire.observe(defended, corpus, Threat.named("server"), 0).messages
    with_side = wire.observe(defended, corpus, Threat.named("server", ("t",)), 0).messages
    assert plain is not None and with_side is not None  # noqa: PT018
    assert len(set(plain.tolist())) <= 4 < len(set(with_side.tolist())) <= 12


def refuse(corpus: Any, cells: Array, arrays: dict[str, Array]) -> None:
    errors = certificate.cell_errors(cells, corpus.victim.x)
    messages.refuse_impossible(cells, errors, arrays, corpus)


def rule(corpus: Any, guess: Callable[[Array], Array]) -> dict[str, Array]:
    return {"posterior/s/cheat": np.eye(3)[guess(corpus.victim.s["s"])]}


def test_an_attack_above_the_ceiling_is_refused() -> None:
    """Deliberate fault: an attack that reads the labels, where everybody sends the same."""
    corpus = people()
    cells = np.zeros(len(corpus.victim), np.int64)
    with pytest.raises(RunError, match=r"'cheat' is right about 's' for 100.0% .* did not travel"):
        refuse(corpus, cells, rule(corpus, lambda s: s))
    top = int(np.bincount(corpus.victim.s["s"]).argmax())
    refuse(corpus, cells, rule(corpus, lambda s: np.full_like(s, top)))
    own = np.arange(len(corpus.victim))
    refuse(corpus, own, rule(corpus, lambda s: s))


def test_a_reconstruction_below_the_least_error_is_refused() -> None:
    corpus = people()
    cells = np.zeros(len(corpus.victim), np.int64)
    mean = ((corpus.victim.x - corpus.victim.x.mean(0)) ** 2).mean(1)
    refuse(corpus, cells, {"score/input/decoder/psnr": -10 * np.log10(mean)})
    with pytest.raises(RunError, match="rebuilding inputs"):
        refuse(corpus, cells, {"score/input/decoder/psnr": -10 * np.log10(mean * 0.9)})


@dataclass(frozen=True)
class Cheat:
    """A solver that looks the victims up in a table it should not have."""

    summary: ClassVar[str] = "cheats"
    goal: ClassVar[str] = "attribute"
    needs: ClassVar[frozenset[str]] = frozenset()
    table: Any = None

    def fit(self, *_: Any, **__: Any) -> Callable[[View], Tensor]:
        return lambda view: (
            torch.eye(3)[torch.from_numpy(self.table)]
            if len(view) == len(self.table)
            else (torch.ones(len(view), 3) / 3)
        )


def test_the_ceiling_of_real_payloads_holds_for_honest_attacks_only() -> None:
    corpus = people(victim=150)
    defended = parse("signal_content:keep=1,bits=1").fit(halves(corpus), corpus, effort=SMALL, seed=0)
    threat = Threat.named("server")
    observed = wire.observe(defended, corpus, threat, 0)
    assert observed.messages is not None
    from privet.auditing.threat import portfolio

    honest, _ = portfolio(threat, ("linear_probe", "mlp_probe"))
    found = audit.attack(observed, corpus, threat, honest, effort=SMALL, seed=0)
    refuse(corpus, observed.messages, found.arrays)
    cheat = {"cheat": Cheat(corpus.victim.s["s"])}
    found = audit.attack(observed, replace(corpus), threat, cheat, effort=SMALL, seed=0)  # type: ignore[arg-type]
    with pytest.raises(RunError, match="did not travel"):
        refuse(corpus, observed.messages, found.arrays)
