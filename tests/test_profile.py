"""The server's profile: rows against a slow count of their own, the client's choice on rows whose answer is known, and
a command that resumes."""

from __future__ import annotations

import json
import re
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

import driver  # noqa: F401  the effort `tiny`
from privet import defense as defenses
from privet import profile as profiling
from privet import trained
from privet.auditing.estimate import Estimate
from privet.data import load
from privet.errors import CutError, SpecError
from privet.profile import Question
from privet.report import profiles
from privet.report.profiles import Profile, Row, choose
from privet.schedule import Source
from privet.setting import Setting
from privet.train import Effort, one_thread
from studies import privet

KEYS = ["cut", "keep", "kept", "rank", "null_dimension", "payload_bytes", "ratio", "edge_macs"]
KEYS += ["drop", "accuracy", "chosen"]
SOURCE, SETTING = Source("digits", limit=150), Setting("cnn3", "", effort="quick")
QUESTION = Question(("free", "0.1", "1", "4"), ("flatten", "fc2"), seeds=2, at_most=0.05)
WORDS = ["profile", "--limit", 150, "--effort", "quick", "--seeds", 2, "--at", "flatten", "--at", "fc2"]
WORDS += ["--keep", "free", "--keep", 0.1, "--keep", 1, "--keep", 4, "--at-most", 0.05]
Capture = pytest.CaptureFixture[str]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Profile:
    return profiling.profile(SOURCE, SETTING, QUESTION, tmp_path_factory.mktemp("profile"))


def test_rows_are_what_they_say(made: Profile) -> None:
    rows = {(r.cut, r.keep): r for r in made.rows}
    keeps = ("free", 0.1, 1, 4)
    assert set(rows) == {("flatten", k) for k in keeps} | {("fc2", k) for k in keeps[:3]}
    assert "exceeds the rank 2" in made.refused["fc2, keep=4"]
    free, few = rows["flatten", "free"], rows["flatten", 1]
    assert (free.kept, free.rank, free.null_dimension) == (64, 64, 0)
    assert (few.kept, rows["flatten", 0.1].kept, rows["fc2", 0.1].kept) == (1, 7, 1)
    assert free.payload_bytes - few.payload_bytes == 2 * 63
    assert few.ratio == few.payload_bytes / 64
    assert free.edge_macs > few.edge_macs
    assert abs(free.drop.mean) < 0.02  # nothing but rounding is lost
    assert few.drop.low < few.drop.mean < few.drop.high
    assert few.drop.n == made.people
    assert few.accuracy.mean == pytest.approx(made.undefended.mean - few.drop.mean)


def test_a_row_counts_the_owners_people(made: Profile) -> None:
    """The same number by hand: fit, send every payload of task_val, count; never the victims."""
    corpus = load("digits", limit=150)
    part, here = corpus.task_val, replace(SETTING, at="flatten")
    lost = []
    for seed in range(2):
        with one_thread():
            model = trained.task_model(SETTING, corpus, seed, None)
            halves = trained.cut(model, here, corpus)
            method = defenses.parse("signal_content:keep=1")
            defended = method.fit(halves, corpus, effort=Effort.named("quick"), seed=seed)
            x = part.x.astype(np.float32) / 255
            import torch

            plain = model(torch.from_numpy(x)).argmax(1).numpy()
            sent = defended.server(defended.encode(torch.from_numpy(x))).argmax(1).numpy()
        lost.append((plain == part.y).mean() - (sent == part.y).mean())
    row = next(r for r in made.rows if (r.cut, r.keep) == ("flatten", 1))
    assert row.drop.mean == pytest.approx(np.mean(lost), abs=1e-9)
    assert made.people == len(part)


def row(cut: str, size: int, mean: float, high: float = 1.0, macs: int = 1) -> Row:
    drop = Estimate(mean, mean - 0.1, max(high, mean), 9)
    return Row(cut, 0.5, size, 64, 0, size, 1.0, macs, drop, Estimate(0.5, 0.4, 0.6, 9))


def test_the_choice() -> None:
    rows = [row("a", 10, 0.02), row("a", 20, 0.01), row("a", 30, 0.0), row("b", 5, 0.5), row("c", 20, 0.005, macs=0)]
    found = choose(rows, 0.01, sure=False)
    assert [r.chosen for r in found] == [False, True, False, False, True]
    made = replace(PROFILE, rows=found)
    assert made.best is found[4]  # equal bytes: fewer multiply-accumulates
    assert not any(r.chosen for r in choose(rows, 0.01, sure=True))
    certain = [row("a", 10, 0.0, 0.02), row("a", 20, 0.0, 0.01)]
    assert [r.chosen for r in choose(certain, 0.01, sure=True)] == [False, True]
    assert [r.chosen for r in choose(certain, 0.01, sure=False)] == [True, False]
    assert [r.chosen for r in choose([row("a", 9, 0.01), row("a", 9, 0.0)], 0.01, sure=False)] == [False, True]


PROFILE = Profile(
    "t", {}, "m", "quick", 1, 9, 9, Estimate(0.9, 0.8, 1, 9), (), {}, 0.01, False, "out", "privet profile", ""
)


def test_no_row_within_the_tolerance() -> None:
    made = replace(PROFILE, rows=choose([row("a", 10, 0.5)], 0.01, sure=True))
    assert made.best is None
    assert "No cut and share loses at most 1 point" in profiles.lead(made)
    assert "No cut and share" in profiles.render(made)


def test_the_command(tmp_path: Path, capsys: Capture, made: Profile) -> None:
    assert privet(*WORDS, "--out", tmp_path, "--json") == 0
    out, err = capsys.readouterr()
    told = [json.loads(line) for line in out.splitlines()]
    assert [list(t) for t in told] == [KEYS] * 7
    assert told == [json.loads(json.dumps(r.json())) for r in made.rows]
    assert "no attack was run" in err
    command = re.search(r"privet audit --data digits .*", err)
    best = made.best
    assert command
    assert best
    assert f"--at {best.cut}" in command[0]
    assert f"--defense signal_content:keep={best.keep} " in command[0]
    text = (tmp_path / "profile.html").read_text()
    assert "No attack was run" in text
    assert '<svg xmlns="http://www.w3.org/2000/svg" class="fig chart"' in text
    assert "exceeds the rank 2" in text

    kept = sorted((tmp_path / "profile").glob("*.json"))
    assert len(kept) == 2 * (1 + 7)
    stamps = [f.stat().st_mtime_ns for f in kept]
    kept[0].write_text("{")  # damaged: made again, the others are found
    assert privet(*WORDS, "--out", tmp_path) == 0
    assert "recommended" in capsys.readouterr().out
    assert [f.stat().st_mtime_ns for f in kept][1:] == stamps[1:]
    assert json.loads(kept[0].read_text())


WRONG = [
    (["--keep", "much"], "--keep is free, a share such as 0.5"),
    (["--keep", "0"], "keep is a number of coefficients"),
    (["--order", "by-name"], "order"),
    (["--bits", "99"], "bits"),
    (["--at", "fc9"], "fc9"),
    (["--at", "block1.relu"], "applies to no cut"),
    (["--at-most", "2"], "--at-most"),
    (["--seeds", "0"], "--seeds"),
    (["--effort", "quik"], "did you mean 'quick'"),
    (["--target", "parit"], "did you mean 'parity'"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_what_is_wrong_is_one_sentence(words: list[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    assert privet("profile", "--limit", 60, "--effort", "tiny", "--out", tmp_path / "out", *words) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert message in err.splitlines()[-1]


def test_cuts_that_send_the_same_are_one(tmp_path: Path) -> None:
    corpus = load("digits", limit=60)
    found, refused = profiling._cuts(SETTING, corpus, Question(("free",)))
    assert "flatten" in found
    assert refused["block3.bn"] == "sends the same as block3"
    assert refused["block3"] == "sends the same as flatten"
    assert "stands relu" in refused["fc1.linear"]
    asked, _ = profiling._cuts(SETTING, corpus, Question(("free",), ("flatten", "block3.bn")))
    assert asked == ["flatten", "block3.bn"]


def test_questions_are_checked() -> None:
    with pytest.raises(SpecError, match="at-most"):
        Question(at_most=float("nan"))
    with pytest.raises(CutError, match="legal"):
        profiling._cuts(SETTING, load("digits", limit=60), Question(cuts=("fc9",)))
