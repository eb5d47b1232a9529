"""Messages: which distinct payload each victim sends, and the ceiling that this sets on every attack.

What the server receives about a person is one message of a finite alphabet. Where the alphabet is small,
`privet.bounds.certificate` bounds every attacker; and on the very victims of an audit no rule from messages to guesses
can be right more often than the best one, so an attack that is has used something that did not travel."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np

from privet.bounds import certificate
from privet.data.corpus import Corpus
from privet.errors import RunError
from privet.payload import Array, Payload, Signature

LIMIT = 24  # bits beyond which no number of people that an audit has says anything
ROUNDING = 0.002  # of the people: equal payloads may be told apart by the last bit of a float


def bits(signature: Signature) -> int:
    """Bits of one example's payload: the alphabet has 2**bits messages at most."""
    return sum(f.nbytes * 8 if f.dtype != "bits" else f.size for f in signature)


def index(payloads: Sequence[Sequence[Payload]], side: Sequence[Array] = ()) -> Array:
    """The number of each person's message [N]: all payloads of the person and what the adversary knows besides.

    payloads: for each query the frames in order, as read back. side: labels [N] of known attributes."""
    columns = [
        np.concatenate([np.ascontiguousarray(p.tensors[f.name]).reshape(p.batch, -1) for p in query])
        for query in payloads
        for f in query[0].signature
    ]
    raw = [np.ascontiguousarray(c).view(np.uint8).reshape(len(c), -1) for c in columns]
    raw += [s.astype("<i8").view(np.uint8).reshape(len(s), -1) for s in side]
    found = np.unique(np.concatenate(raw, axis=1), axis=0, return_inverse=True)[1]
    return np.asarray(found, np.int64).ravel()


def refuse_impossible(messages: Array, errors: Array, arrays: Mapping[str, Array], corpus: Corpus) -> None:
    """RunError where an attack is right about more victims than any rule from their messages can be, or rebuilds
    their inputs better than the mean of those who sent the same: it has seen what did not travel.

    messages [N] and errors [N] (`certificate.cell_errors`) of the victims; arrays as in `audit.Evidence`."""
    victim = corpus.victim
    for key, value in arrays.items():
        kind, *rest = key.split("/")
        if kind == "posterior":
            s = victim.s[rest[0]]
            known = s >= 0
            right = float((value[known].argmax(1) == s[known]).mean())
            most = certificate.accuracy(messages, s, victim.groups).in_sample
            if right > most + ROUNDING:
                raise _impossible(rest[1], f"right about {rest[0]!r} for {right:.1%} of the victims", f"{most:.1%}")
        elif kind == "score" and rest[-1] == "psnr" and np.isfinite(value).all():  # of everybody, as the limit is
            error, least = float((10 ** (-value / 10)).mean()), float(errors.mean())
            if error < least * (1 - ROUNDING):
                raise _impossible(rest[1], f"rebuilding inputs with a squared error of {error:.4f}", f"{least:.4f}")


def _impossible(attack: str, what: str, limit: str) -> RunError:
    return RunError(
        f"the attack {attack!r} is {what}, where no rule from what they sent can do better than {limit}: it has seen "
        f"something that did not travel; this is a bug in the attack or in the audit, and the trial is not kept"
    )
