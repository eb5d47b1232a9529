"""`privet plan` as a user runs it: on the embedded digits, found again, and refused in one sentence."""

from __future__ import annotations

import json
import shlex
from dataclasses import replace
from pathlib import Path

import pytest

from privet import run
from privet.cli.plan import size
from privet.data import load
from privet.errors import SpecError
from privet.planner import characterize as characterizing
from privet.planner import find, grid, own
from privet.planner.choosing import Limits
from privet.schedule import Source as People
from privet.train import EFFORTS
from studies import privet

ASKED = ("plan", "--data", "digits", "--limit", "250", "--max-psnr", "40", "--max-ms", "5000", "--max-bytes", "1MB")


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Few cells, few epochs."""
    tiny = replace(grid.GRIDS["quick"], layers=(1, 4), depths=(1, 4), draws=1, pictures=80, epochs=1)
    monkeypatch.setitem(grid.GRIDS, "quick", tiny)
    monkeypatch.setitem(EFFORTS, "quick", replace(EFFORTS["quick"], task_epochs=1))


def test_one_command_makes_a_plan_and_the_same_one_finds_it(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    assert privet(*ASKED, "--seed", str(2**63 - 1), "--json", "--out", tmp_path / "out") == 0
    told = json.loads(capsys.readouterr().out)
    assert told["feasible"]
    assert told["source"] == "own vgg"
    assert told["verified"]["owner"]["mean"] <= 40
    assert told["strategy"] == "paper"
    assert {"limit", "paper", "pareto", "gain"} == set(told["compared"][0])
    assert {f.name for f in (tmp_path / "out").iterdir() if not f.name.startswith(".")} >= {
        "tables.parquet", "device.json", "plan.json", "plan.html", "edge.onnx"
    }  # fmt: skip
    page = (tmp_path / "out" / "plan.html").read_text()
    assert "channels" in page
    assert "made from 250 people at most (--limit)" in page
    assert "plan.html names the seed" in page
    assert page.count("<img") == 16
    assert "What each strategy would give at each limit" in page
    strategies = page.split('<section id="strategies">')[1].split("</section>")[0]
    assert strategies.count("<tr>") == 1 + len(told["compared"])

    monkeypatch.setattr(characterizing, "measure", None)
    monkeypatch.setattr(own, "fit_task", None)
    again = shlex.split(page.split('<pre id="command">')[1].split("</pre>")[0].replace("&#39;", "'"))
    assert privet(*again[1:], "--json") == 0
    assert json.loads(capsys.readouterr().out)["channels"] == told["channels"]


def test_another_question_never_loses_a_plan(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """Its channels were drawn in secret: a typing error leaves it, another plan or a refusal sets it aside, whole."""
    out = tmp_path / "out"
    assert privet(*ASKED, "--no-known", "--seed", "5", "--out", out) == 0
    files = {name: (out / name).read_bytes() for name in ("plan.json", "edge.onnx", "plan.html")}
    monkeypatch.setattr(own, "fit_task", None)
    monkeypatch.setattr(characterizing, "measure", None)
    for wrong in (("--profile", "nowhere.json"), ("--pool", "nowhere"), ("--public", "nowhere"), ("--device", "gpu")):
        assert privet(*ASKED, *wrong, "--out", out) == 2
        assert {name: (out / name).read_bytes() for name in files} == files
    capsys.readouterr()
    assert privet(*ASKED, "--no-known", "--seed", "5", "--out", out) == 0
    assert not (out / "earlier").exists(), "the same plan once more"
    assert "plan with --effort standard" in capsys.readouterr().err, "quick decoders draw less than others would"
    same = json.loads((out / "plan.json").read_text())
    salt = json.loads(files["plan.json"])["salt"]
    assert same["salt"] == salt
    files = {name: (out / name).read_bytes() for name in files}
    assert privet(*ASKED, "--no-known", "--out", out) == 0
    (kept,) = (out / "earlier").iterdir()
    assert str(kept) in capsys.readouterr().err
    assert {name: (kept / name).read_bytes() for name in files} == files
    strict = [*ASKED, "--out", out]
    strict[strict.index("40")] = "2"
    assert privet(*strict) == 2
    assert "the plan that was here is kept in" in capsys.readouterr().err
    assert not any((out / name).exists() for name in files)
    assert len(list((out / "earlier").iterdir())) == 2
    assert privet(*ASKED, "--no-known", "--seed", "5", "--margin", ".9", "--out", out) == 0
    assert json.loads((out / "plan.json").read_text())["salt"] == salt, "its releases go on"


def test_what_cannot_be_is_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    for limit, why in (("2", "no extractor can keep 2 dB"), ("11.8", "")):
        asked = [*ASKED, "--json", "--out", tmp_path / "out"]
        asked[asked.index("40")] = limit
        assert privet(*asked) == 2
        said = capsys.readouterr()
        told = json.loads(said.out)
        assert told["feasible"] is False
        assert told["binding"] == ["psnr"]
        assert told["nearest"]["psnr"] > float(limit)
        assert said.err.count(f"privet: {why}") == 1
        assert why or "the limit on psnr binds" in said.err
        assert (tmp_path / "out" / "tables.parquet").exists() == (not why), "what nobody can keep is said at once"
        assert not (tmp_path / "out" / "plan.json").exists()


@pytest.mark.parametrize(
    ("more", "told"),
    [
        (("--max-bytes", "a lot"), "is a size such as 1MB"),
        (("--max-psnr", "-3"), "is a number of dB above 0"),
        (("--effort", "huge"), "no effort named 'huge'"),
        (("--pool", "nowhere"), "there is no folder of pretrained networks"),
        (("--source", "vgg19"), "no folder of pretrained networks to look for 'vgg19' in"),
        (("--source", "torchvision:vgg16"), "give --source torchvision:vgg16=FILE"),
        (("--device", "gpu"), "the device 'gpu' cannot be used here"),
        (("--margin", "-1"), "--margin is a number of deviations from 0 on"),
        (("--switch", "nan"), "--switch is a number of dB"),
        (("--public", "nowhere"), "the public set (--public nowhere) does not serve: no data at 'nowhere'"),
        (("--profile", "nowhere.json"), "is no profile of a device"),
        (("--seed", "-1"), "the seed is -1"),
        (("--inner", "0"), "--inner is a share of the filters above 0"),
        (("--jobs", "-1"), "--jobs must be 0 (all cores) or more"),
        (("--strategy", "best"), "no strategy named 'best'"),
        (("--max-drop", "1"), "--max-drop is of plans over finished runs"),
        (("--target", "nothing"), "nothing"),
    ],
)
def test_bad_input_gets_one_sentence(
    more: tuple[str, str], told: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert privet(*ASKED, *more, "--out", tmp_path / "out") == 2
    said = [line for line in capsys.readouterr().err.splitlines() if line.startswith("privet: ")]
    assert len(said) == 1
    assert told in said[0]
    assert not (tmp_path / "out" / "plan.json").exists()


def test_a_plan_needs_a_limit(capsys: pytest.CaptureFixture[str]) -> None:
    assert privet("plan", "--data", "digits") == 2
    assert "a plan needs a limit" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "bytes_"), [("1MB", 10**6), ("500 kB", 500_000), ("1MiB", 2**20), ("800000", 800_000), (".5mb", 500_000)]
)
def test_sizes_are_read(text: str, bytes_: int) -> None:
    assert size(text) == bytes_


@pytest.mark.parametrize("text", ["", "MB", "1 parsec", "1e3", "-1MB"])
def test_other_sizes_are_refused(text: str) -> None:
    with pytest.raises(SpecError, match="size such as 1MB"):
        size(text)


def test_a_network_of_public_people_is_asked_for_by_the_name_that_plans_give_it(tmp_path: Path) -> None:
    corpus = load("digits", target="digit", hidden=("none",), limit=300)
    question = find.Question(People("digits", "digit"), Limits(psnr=20.0))
    run.ensure(tmp_path)
    (unasked, *_), _ = find.networks(question, corpus, tmp_path)
    for name in ("own", unasked.name):
        (asked, *others), refused = find.networks(replace(question, sources=(name,)), corpus, tmp_path)
        assert (asked.name, asked.file, others, refused) == ("own vgg", unasked.file, [], {})
    assert not own.is_own("owner.py:network"), "which others may have, too"
