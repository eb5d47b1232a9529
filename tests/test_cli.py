"""The command line: findings on standard output, everything else on standard error, one sentence for what is wrong."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest
from PIL import Image
from typer.main import get_command

from privet import __version__, registry
from privet.cli import app
from privet.data import load
from privet.runtime import bundle
from privet.runtime.edge import Edge
from studies import AUDIT, digits, privet

KEYS = [
    "data", "model", "at", "defense", "attack", "goal", "threat", "attribute", "metric", "value", "floor", "undefended",
    "normalized", "utility", "payload_bytes", "edge_macs", "seeds", "flags", "headline", "certified",
    "groups", "judged",
]  # fmt: skip
ASKED = [*AUDIT, "--jobs", "1"]
VERBS = (
    "audit",
    "challenge",
    "cuts",
    "fit",
    "fit-cloud",
    "plan",
    "profile",
    "release",
    "reproduce",
    "report",
    "compare",
    "defenses",
    "attacks",
)
Capture = pytest.CaptureFixture[str]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """The finished study, to be written into."""
    return Path(shutil.copytree(digits()[1], tmp_path / "study"))


def refused(capsys: Capture, *arguments: object) -> str:
    """The one sentence with which a command is refused."""
    code = privet(*arguments)
    out, err = capsys.readouterr()
    assert code == 2, (out, err)
    assert out == ""
    assert "Traceback" not in err
    told = [line for line in err.splitlines() if line.strip()]
    assert len(told) == 1, err
    assert told[0].startswith("privet: ")
    return told[0]


def test_json_is_findings_and_nothing_else(folder: Path, capsys: Capture) -> None:
    assert privet(*ASKED, "--out", folder, "--json") == 0
    out, err = capsys.readouterr()
    rows = [json.loads(line) for line in out.splitlines()]
    assert len(rows) == len(digits()[0].rows) > 40
    for row in rows:
        assert list(row) == KEYS
        for name in ("value", "floor", "undefended", "utility"):
            assert list(row[name]) == ["mean", "low", "high", "n"]
            assert row[name]["low"] <= row[name]["mean"] <= row[name]["high"]
            assert isinstance(row[name]["n"], int)
        assert row["normalized"] is None or isinstance(row["normalized"], float)
        assert isinstance(row["flags"], list)
        assert isinstance(row["headline"], bool)
    assert {r["defense"] for r in rows} == {"none", "gaussian:sigma=1"}
    assert {r["goal"] for r in rows} == {"attribute", "reconstruct"}
    heads = [(r["defense"], r["attribute"], r["metric"]) for r in rows if r["headline"]]
    assert len(heads) == len(set(heads)) == len({(r["defense"], r["attribute"], r["metric"]) for r in rows})
    assert "gaussian:sigma=1" in err  # the table
    assert "nothing left to compute" in err
    assert re.search(r"report: .*report\.html", err)
    assert (folder / "report.html").is_file()


def test_a_defense_keeps_the_name_it_was_given(tmp_path: Path, capsys: Capture) -> None:
    written = ["--defense", "gaussian: sigma = .50", "--seeds", "1", "--limit", "60", "--attack", "linear-probe"]
    assert privet("audit", "--effort", "tiny", "--jobs", 1, *written, "--out", tmp_path, "--json") == 0
    rows = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {r["defense"] for r in rows} == {"none", "gaussian: sigma = .50"}
    assert {r["attack"] for r in rows} == {"linear_probe"}


def test_without_json_the_table_is_the_output(folder: Path, capsys: Capture) -> None:
    assert privet(*ASKED, "--out", folder) == 0
    out, err = capsys.readouterr()
    assert "gaussian:sigma=1" in out
    assert "digit" in out
    assert "{" not in out
    assert "report:" in err


def test_gates_exit_with_3(folder: Path, capsys: Capture) -> None:
    told = [*ASKED, "--out", folder, "--fail-if"]
    passing = privet(*told, "accuracy>1.5")
    _, err = capsys.readouterr()
    failed_calibration = "calibration failed" in err
    assert passing == (3 if failed_calibration else 0)
    assert privet(*told, "utility<=1", "--fail-if", "bits>100") == 3
    assert "failed" in capsys.readouterr().err
    assert "did you mean 'digit'" in refused_late(capsys, *told, "digits.auc>0.5")


def refused_late(capsys: Capture, *arguments: object) -> str:
    assert privet(*arguments) == 2
    out, err = capsys.readouterr()
    assert out == ""
    return next(line for line in err.splitlines() if line.startswith("privet: "))


@pytest.mark.parametrize("verb", [*VERBS, "challenge make", "challenge score"])
def test_help_has_an_example(verb: str, capsys: Capture) -> None:
    assert privet(*verb.split(), "--help") == 0
    out = capsys.readouterr().out
    assert f"Example: privet {verb}" in " ".join(out.split())


def test_examples_are_legal() -> None:
    """The words of every example are options of its verb."""
    for verb, command in get_command(app).commands.items():  # type: ignore[attr-defined]
        below = getattr(command, "commands", {}).values()
        options = {o for c in (command, *below) for p in c.params for o in p.opts}
        used = set(re.findall(r"--[a-z-]+", command.epilog))
        assert used <= options, verb


def test_version_and_verbs(capsys: Capture) -> None:
    assert privet("--version") == 0
    assert capsys.readouterr().out.strip() == f"privet {__version__}"
    assert set(get_command(app).commands) == set(VERBS)  # type: ignore[attr-defined]


WRONG: list[tuple[Sequence[str], str]] = [
    (["--defense", "gausian:sigma=1"], "did you mean 'gaussian'"),
    (["--defense", "gaussian:sgima=1"], "did you mean 'sigma'"),
    (["--defense", "gaussian:sigma=x"], "must be"),
    (["--attack", "mlp_prob"], "did you mean 'mlp_probe'"),
    (["--threat", "eavesdroper"], "did you mean 'eavesdropper'"),
    (["--threat", "eavesdropper", "--attack", "server_probe"], "does not grant"),
    (["--effort", "quik"], "did you mean 'quick'"),
    (["--model", "cnn4"], "did you mean 'cnn3'"),
    (["--model", "cnn3", "--at", "flaten"], "did you mean 'flatten'"),
    (["--at", "block9"], "legal cuts"),
    (["--target", "parit"], "did you mean 'parity'"),
    (["--hidden", "digt"], "did you mean 'digit'"),
    (["--data", "absent.parquet"], "absent.parquet"),
    (["--data", "/"], "/"),
    (["--weights", "absent.safetensors"], "absent.safetensors"),
    (["--freeze", "all"], "half to freeze"),
    (["--device", "tpu"], "cannot be used here"),
    (["--device", "cuda:77"], "cannot be used here"),
    (["--seeds", "0"], "--seeds must be at least 1"),
    (["--jobs", "-2"], "--jobs must be"),
    (["--limit", "0"], "limit"),
    (["--resize", "huge"], "huge"),
    (["--on-bad", "shrug"], "shrug"),
    (["--group", "persn"], "persn"),
    (["--max-minutes", "-1"], "--max-minutes must be positive"),
    (["--fail-if", "advantage"], "is not a condition"),
    (["--side", "sex"], "sex"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_what_is_wrong_is_one_sentence(words: Sequence[str], message: str, tmp_path: Path, capsys: Capture) -> None:
    rest = [] if "--limit" in words else ["--limit", "60"]
    assert message in refused(capsys, "audit", *rest, "--out", tmp_path / "out", *words)
    assert not (tmp_path / "out").exists()


def test_data_that_is_not(tmp_path: Path, capsys: Capture) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "fake.parquet").write_text("this is a page of text, not a Parquet file")
    for data in ("empty", "fake.parquet"):
        told = refused(
            capsys, "audit", "--data", tmp_path / data, "--target", "a", "--hidden", "b", "--out", tmp_path / "o"
        )
        assert data in told
    (tmp_path / "file").write_text("x")
    assert "is a file; give a folder" in refused(capsys, "audit", "--limit", "60", "--out", tmp_path / "file")


def test_unknown_options_exit_with_2(capsys: Capture) -> None:
    assert privet("audit", "--tagret", "x") == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert "--target" in err


def test_report_makes_the_page_again(folder: Path, tmp_path: Path, capsys: Capture) -> None:
    (folder / "report.html").unlink()
    made = tmp_path / "made"
    words = ["--csv", made / "rows.csv", "--latex", made / "table.tex", "--figures", made / "figures", "--json"]
    assert privet("report", folder, *words) == 0
    out = capsys.readouterr().out
    assert [json.loads(line) for line in out.splitlines()] == [
        json.loads(json.dumps(r.json())) for r in digits()[0].rows
    ]
    assert "<html" in (folder / "report.html").read_text()
    assert (made / "rows.csv").read_text().count("\n") > 40
    assert "tabular" in (made / "table.tex").read_text()
    assert list((made / "figures").glob("*.svg"))
    assert "is not the folder of a study" in refused(capsys, "report", tmp_path / "nowhere")


def test_compare(folder: Path, capsys: Capture) -> None:
    assert privet("compare", f"{folder}#none", f"{folder}#gaussian:sigma=1", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert {"first", "second", "attribute", "metric", "attacks", "difference", "seeds", "claimed"} == set(found[0])
    pairs = {(f["attribute"], f["metric"]) for f in found}
    assert ("(target)", "accuracy") in pairs
    assert ("digit", "auc") in pairs
    assert privet("compare", folder, f"{folder}#none") == 0
    out, err = capsys.readouterr()
    assert "A - B" in out
    assert "not corrected" in err
    assert "no defense in this study named 'gauss'" in refused(capsys, "compare", folder, f"{folder}#gauss")
    assert "is not the folder of a study" in refused(capsys, "compare", folder, "nowhere")


def test_cuts(capsys: Capture) -> None:
    assert privet("cuts", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert "flatten" in [c["cut"] for c in found]
    assert set(found[0]) == {"model", "cut", "shape", "bytes", "edge_macs"}
    assert privet("cuts", "--model", "vgg", "--shape", "3x16x16", "--classes", 5) == 0
    assert "stage2" in capsys.readouterr().out
    assert "written like" in refused(capsys, "cuts", "--shape", "3-50")
    assert "did you mean 'resnet18'" in refused(capsys, "cuts", "--model", "resnet")


@pytest.mark.parametrize("verb", ["defenses", "attacks"])
def test_lists(verb: str, capsys: Capture) -> None:
    names = registry.names(f"privet.{verb}")
    assert privet(verb, "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert tuple(f["name"] for f in found) == names
    assert all(f["summary"] and isinstance(f["options"], dict) for f in found)
    assert privet(verb) == 0
    out = capsys.readouterr().out
    assert all(name in out for name in names)


def test_fit_writes_a_bundle_that_runs(tmp_path: Path, capsys: Capture) -> None:
    pytest.importorskip("onnxruntime")
    words = ["fit", "--limit", "150", "--effort", "tiny", "--defense", "gaussian:sigma=2", "--out", tmp_path / "bundle"]
    assert privet(*words, "--json") == 0
    out, _ = capsys.readouterr()
    manifest = json.loads(out)
    assert manifest["defense"] == "gaussian:sigma=2.0"
    opened = bundle.open(tmp_path / "bundle")
    assert len(opened.manifest["classes"]) == 2
    payload = Edge(tmp_path / "bundle").payload(load("digits", limit=150).victim.x[:1])
    assert len(payload.to_bytes()) == manifest["payload_bytes"]
    assert "did you mean 'gaussian'" in refused(capsys, "fit", "--defense", "gausian", "--out", tmp_path / "x")
    assert not (tmp_path / "x").exists()


def test_a_corrupted_picture_stops_where_told_to(tmp_path: Path, capsys: Capture) -> None:
    source = tmp_path / "pictures"
    source.mkdir()
    generator = np.random.default_rng(0)
    lines = ["file,colour,shape"]
    for i in range(300):
        Image.fromarray(generator.integers(0, 255, (9, 9), dtype=np.uint8)).save(source / f"{i}.png")
        lines.append(f"{i}.png,{i % 2},{i // 2 % 2}")
    (source / "7.png").write_bytes(b"not a picture")
    (source / "labels.csv").write_text("\n".join(lines) + "\n")
    words = ["--data", source, "--target", "colour", "--hidden", "shape", "--out", tmp_path / "out"]
    assert "row 7" in refused_late(capsys, "audit", *words, "--on-bad", "stop")
    skipped = ["--effort", "tiny", "--seeds", 1, "--jobs", 1, "--attack", "linear_probe", "--json"]
    assert privet("audit", *words, *skipped) == 0
    out, err = capsys.readouterr()
    assert "rows_skipped" in json.loads(out.splitlines()[0])["flags"]
    assert re.search(r"\b1\b.*(skipped|could not|left out)", err)


def test_curves_of_too_few_people_are_refused_at_once(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    out = tmp_path / "out"
    assert privet("audit", "--limit", "150", "--effort", "tiny", "--curves", "--out", out) == 2
    assert "needs 400 people" in capsys.readouterr().err
    assert not out.exists()
