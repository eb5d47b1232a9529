"""Audits of payloads that somebody else made: what leaks is found, what does not stays at the floor."""

from __future__ import annotations

import json
import shutil
from functools import cache
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

import numpy as np
import pytest

import privet
from privet import api, registry, run
from privet.attack import FOLDER
from privet.errors import SpecError, ThreatError
from privet.recorded.study import Recording
from privet.recorded.system import fine
from privet.schedule import Source
from privet.setting import Setting
from recordings import people, write
from studies import privet as command_line

QUICK: dict[str, Any] = {"effort": "tiny", "seeds": 1, "jobs": 1, "attacks": ["linear_probe"]}
ASKED = ["--effort", "tiny", "--seeds", 1, "--jobs", 1, "--attack", "linear_probe", "--hidden", "race"]
Capture = pytest.CaptureFixture[str]


@cache
def place() -> Path:
    """A folder with one recording that leaks, one that does not, and their finished comparison in `both`."""
    folder = Path(mkdtemp(prefix="privet-recorded-"))
    write(folder / "loud.parquet", people(6.0))
    write(folder / "silent.parquet", people(0.0))
    write(folder / "bare.parquet", people(6.0), "gender", "answer")
    audit(folder / "loud.parquet", folder / "silent.parquet", out=folder / "both", target="gender")
    return folder


def audit(*files: Path, out: Path, target: str | None = None, **options: Any) -> api.Answer:
    return privet.audit(payloads=files, hidden=["race"], target=target, out=out, **(QUICK | options))


def test_a_leak_is_found_and_silence_is_at_the_floor(tmp_path: Path) -> None:
    both = api.publish(api.studies.collect(Path(shutil.copytree(place() / "both", tmp_path / "both"))))
    found = both.headline("race")
    assert found["loud"].value.mean > 0.95
    assert found["loud"].floor.mean < 0.5
    assert found["silent"].value.low < found["silent"].floor.mean + 0.1
    assert found["loud"].normalized == pytest.approx(1.0)
    assert found["silent"].normalized is None or abs(found["silent"].normalized) < 0.4
    assert found["loud"].utility is not None
    assert found["loud"].utility.mean > 0.8
    assert set(both.results.floors["race"]["accuracy"]) == {"majority", "label_only"}
    assert {c.check for c in both.results.checks} == {"constant", "planted_bit", "shuffled_labels"}
    assert all(c.passed for c in both.results.checks if c.decisive)
    page = both.report.read_text()
    assert "From <code>loud</code> the adversary recognizes race" in page
    for word in ("Undefended", "undefended", "Without a defense", "no defense", "None", "nan"):
        assert word not in page.split("<main>")[1].split("<script>")[0], word


def test_one_recording_has_no_scale_and_may_have_no_target(tmp_path: Path) -> None:
    answer = audit(place() / "bare.parquet", out=tmp_path / "out")
    assert {row.undefended for row in answer.rows} == {row.normalized for row in answer.rows} == {None}
    assert {row.utility for row in answer.rows} == {row.edge_macs for row in answer.rows} == {None}
    assert set(answer.results.floors["race"]["accuracy"]) == {"majority"}
    page = answer.report.read_text()
    assert 'id="tradeoff"' not in page
    assert "the inputs were not recorded" in page
    for text in (answer.csv(), answer.latex(), answer._repr_html_()):
        assert "None" not in text
    assert answer.figures(tmp_path / "figures") == []


def test_what_needs_more_than_was_recorded_is_left_out_with_the_reason() -> None:
    study = Recording(
        Source("digits", None, ("race",)), Setting("recorded", ""), ("bare",), 1, Path("nowhere"),
        files=(str(place() / "bare.parquet"),),
    )  # fmt: skip
    granted, left_out = study.portfolio(study.load())
    needy = {n: registry.find(FOLDER, n).needs - {"labels"} for n in registry.names(FOLDER)}
    assert {n for n, why in left_out.items() if "which this recording does not hold" in why} >= {"decoder", "inversion"}
    assert set(granted) == {n for n, more in needy.items() if not more and n not in left_out}
    assert {"linear_probe", "mlp_probe", "informed_probe"} <= set(granted)
    assert all(needy[n] or "slow" in why for n, why in left_out.items())


def test_attacks_see_neither_the_order_nor_the_names_of_rows(tmp_path: Path) -> None:
    """The race is sorted by row and stands in the ids; payloads are noise."""
    given = people(0.0, n=300)
    order = np.argsort(given["race"], kind="stable")
    given = {name: values[order] for name, values in given.items()}
    given["payload"] = np.random.default_rng(5).normal(size=(300, 6)).astype(np.float32)
    path = write(tmp_path / "sorted.parquet", given | {"id": [f"{race}{i}" for i, race in enumerate(given["race"])]})
    row = audit(path, out=tmp_path / "out").headline("race")["sorted"]
    assert row.value.low < row.floor.mean + 0.05


def test_pairs_are_used_where_inputs_were_recorded(tmp_path: Path) -> None:
    given = people(0.0)
    x = np.random.default_rng(0).random((240, 3))
    given["payload"] = (x @ np.random.default_rng(1).normal(size=(3, 6))).astype(np.float32)
    path = write(tmp_path / "sent.parquet", given | {"input": x})
    answer = audit(path, out=tmp_path / "out", attacks=["linear_probe", "decoder"])
    rebuilt = answer.headline("input", "psnr")["sent"]
    assert rebuilt.attack == "decoder"
    assert "mean_image" in answer.results.floors["input"]["psnr"]
    assert any(c.check == "identity" for c in answer.results.checks)


def test_a_seed_is_all_that_results_depend_on(tmp_path: Path) -> None:
    digests = [audit(place() / "loud.parquet", out=tmp_path / name).results.digest for name in ("one", "two")]
    assert digests[0] == digests[1]


def test_the_command_resumes_gates_and_prints_json(tmp_path: Path, capsys: Capture) -> None:
    shutil.copytree(place() / "both", tmp_path / "both")
    files = ["--payloads", place() / "loud.parquet", "--payloads", place() / "silent.parquet"]
    told = ["audit", *files, "--target", "gender", *ASKED, "--out", tmp_path / "both"]
    assert command_line(*told, "--json") == 0
    out, err = capsys.readouterr()
    assert {json.loads(line)["defense"] for line in out.splitlines()} == {"loud", "silent"}
    assert "nothing left to compute" in err
    assert command_line(*told, "--fail-if", "race.auc.advantage>0.1") == 0  # of the others, silent alone
    assert command_line(*told, "--fail-if", "accuracy<2") == 3
    capsys.readouterr()
    assert command_line("compare", f"{tmp_path}/both#loud", f"{tmp_path}/both#silent", "--json") == 0
    found = [json.loads(line) for line in capsys.readouterr().out.splitlines()]
    assert next(d for d in found if d["metric"] == "accuracy" and d["attribute"] == "race")["difference"]["low"] > 0.3


def test_a_gate_on_what_was_not_recorded_cannot_pass(tmp_path: Path, capsys: Capture) -> None:
    told = ["audit", "--payloads", place() / "bare.parquet", *ASKED, "--out", tmp_path / "out"]
    reasons = {
        "psnr>20": "no input is rebuilt",
        "input.advantage>3": "'input'",
        "utility<0.5": "was not recorded; give the column answer",
        "normalized>0.5": "a recording alone has no scale; use advantage",
        "race.certified>0.5": "can be had of a file; use advantage",
    }
    for gate, reason in reasons.items():
        assert command_line(*told, "--fail-if", gate) == 2
        assert reason in capsys.readouterr().err
        assert not (tmp_path / "out").exists(), "known before anything is computed"


@pytest.mark.parametrize("left_out", [(), ("answer",)])
def test_what_a_recording_lacks(left_out: tuple[str, ...], tmp_path: Path) -> None:
    """Utility is judged on what is compared with the first file."""
    second = write(tmp_path / "two.parquet", people(0.0), *left_out)
    files = (str(place() / "loud.parquet"), str(second))
    study = Recording(
        Source("", "gender", ("race",)), Setting("recorded", ""), ("loud", "two"), 1, Path("nowhere"), files=files
    )
    assert set(study.lacking(study.load())) == {"certified", *(["utility"] if left_out else [])}


def test_persons_are_linked_and_their_payloads_added_up(tmp_path: Path) -> None:
    """Twelve persons of five payloads in each part have a payload that says little of their race, and who they are."""
    given = people(0.5, n=240)
    person = np.arange(240) // 4
    for name in ("race", "gender", "answer"):
        given[name] = given[name][4 * person]
    given["payload"] += 5 * given["payload"][4 * person]
    path = write(tmp_path / "sent.parquet", given | {"who": person})
    found = audit(path, out=tmp_path / "out", group="who").results
    assert [link.first.mean > 0.5 for link in found.linked] == [True]
    assert [(several.attribute, several.defense) for several in found.many] == [("race", "sent")]


WRONG: list[tuple[list[str], str]] = [
    (["--payloads", "absent.parquet"], "absent.parquet is not there; give one Parquet or CSV file of payloads"),
    (["--payloads", "digits"], "digits is not there; give one Parquet or CSV file of payloads"),
    (["--payloads", "LOUD", "--data", "digits"], "--data cannot be given"),
    (["--payloads", "LOUD", "--target", "gendr"], "did you mean 'gender'"),
    (["--payloads", "LOUD", "--defense", "gaussian"], "--defense cannot be given"),
    (["--payloads", "LOUD", "--data", "faces"], "--data cannot be given"),
    (["--payloads", "LOUD", "--model", "mlp"], "--model cannot be given"),
    (["--payloads", "LOUD", "--threat", "repeated"], "a payload file holds one"),
    (["--payloads", "LOUD", "--attack", "inversion"], "which this recording does not hold"),
    (["--payloads", "LOUD", "--payload-columns", "f"], "--payload-columns PREFIX"),
    (["--payloads", "LOUD", "--on-bad", "shrug"], "shrug"),
    (["--payloads", "LOUD", "--limit", "0"], "limit"),
    (["--payloads", "LOUD", "BUNDLE"], "one of them at a time"),
    (["BUNDLE"], "no bundle at"),
]


@pytest.mark.parametrize(("words", "message"), WRONG, ids=[" ".join(w) for w, _ in WRONG])
def test_what_is_wrong_exits_with_2_and_writes_nothing(
    words: list[str], message: str, tmp_path: Path, capsys: Capture
) -> None:
    given = [str(place() / "loud.parquet") if word == "LOUD" else word for word in words]
    assert command_line("audit", *given, *ASKED[:-4], "--hidden", "race", "--out", tmp_path / "out") == 2
    out, err = capsys.readouterr()
    told = [line for line in err.splitlines() if line.strip()]
    assert out == ""
    assert len(told) == 1, err
    assert message in told[0]
    assert not (tmp_path / "out").exists()


def test_threats(tmp_path: Path) -> None:
    heard = audit(place() / "loud.parquet", out=tmp_path / "a", target="gender", threat="eavesdropper")
    assert set(heard.results.floors["race"]["accuracy"]) == {"majority"}
    known = audit(place() / "loud.parquet", out=tmp_path / "b", side=["gender"])
    assert set(known.results.floors["race"]["accuracy"]) == {"majority", "label_only", "imputation"}
    with pytest.raises(ThreatError):
        audit(place() / "loud.parquet", out=tmp_path / "c", attacks=["server_probe"])
    with pytest.raises(SpecError):
        audit(place() / "loud.parquet", out=tmp_path / "c", threat="repeated")
    assert not (tmp_path / "c").exists()


def test_a_run_keeps_what_a_report_needs(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(place() / "both", tmp_path / "both"))
    finished = [run.read(path.parent) for path in folder.glob("runs/*/run.json")]
    assert len(finished) == 2
    assert command_line("report", folder) == 0


BASES = [np.float64(1.7e9), np.int64(2**62 + 1), np.int32(1_000_000_000), np.uint32(4_000_000_000)]


@pytest.mark.parametrize("base", BASES, ids=str)
def test_values_finer_than_float32_resolves_are_told_apart(base: Any) -> None:
    """What differs by units far from zero is a leak as any other, and not a constant."""
    told = np.arange(12).reshape(4, 3)
    payload = base + told.astype(base.dtype)
    np.testing.assert_array_equal(fine(payload, payload[:1]), (told - told[:1]).astype(np.float32))
    plain = told.astype(np.float32)
    assert fine(plain, plain[:1]) is plain
