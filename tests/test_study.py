"""Studies: the same digest however they were run, whole or resumed, and the best answer so far when stopped."""

from __future__ import annotations

import json
import os
import resource
import shlex
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from typer.main import get_command

from privet import api, run, schedule, study, trained
from privet.auditing import judge
from privet.cli import app
from privet.errors import CutError, DataError, ModelError, RunError, SpecError
from privet.report import gates
from privet.schedule import Source, Study
from privet.screen import Screen
from privet.setting import Setting
from privet.study import Event
from studies import AUDIT, QUESTION, digits, privet

TESTS = Path(__file__).parent
SOURCE = Source("digits", limit=150)
Process = subprocess.Popen[str]


def asked(out: Path, **more: Any) -> api.Answer:
    return api.audit("digits", out=out, **(QUESTION | more))


def begun(out: Path, *more: str, jobs: int = 1, limit: Callable[[], None] | None = None) -> Process:
    command = [sys.executable, str(TESTS / "driver.py"), *AUDIT, "--out", str(out), "--jobs", str(jobs), *more]
    environment = os.environ | {"OMP_NUM_THREADS": "1"}
    return subprocess.Popen(
        command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment, preexec_fn=limit
    )


def finished(out: Path) -> list[Path]:
    return list(out.glob("runs/*/run.json"))


def wait_until(holds: Callable[[], object], process: Process, seconds: float = 240) -> None:
    until = time.monotonic() + seconds
    while not holds():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < until, "waited too long"
        time.sleep(0.01)


def ended(process: Process) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=240)
    assert "Traceback" not in err, err
    return process.returncode, out, err


@pytest.fixture
def copied(tmp_path: Path) -> Path:
    """The finished study, to be written into."""
    return Path(shutil.copytree(digits()[1], tmp_path / "copy"))


def remove(out: Path, defense: str, seed: int) -> None:
    trials = json.loads((out / "study.json").read_text())["trials"]
    name = next(t["name"] for t in trials if (t["defense"], t["seed"]) == (defense, seed))
    shutil.rmtree(out / "runs" / name)


def forbidden(*_: Any, **__: Any) -> Any:
    raise AssertionError("nothing may be trained again")


def test_a_finished_study_is_read_back_at_once(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trained, "fit_task", forbidden)
    monkeypatch.setattr(judge.audit, "attack", forbidden)
    assert asked(copied).results.digest == digits()[0].results.digest
    assert asked(copied, jobs=2).results.digest == digits()[0].results.digest


def test_a_missing_trial_is_run_again_to_the_same_digest(copied: Path) -> None:
    remove(copied, "gaussian:sigma=1", 1)
    shutil.rmtree(copied / "models")
    (copied / "runs" / ".0123.half").mkdir()
    assert asked(copied).results.digest == digits()[0].results.digest
    assert not list(copied.glob("runs/.*"))


def test_processes_give_the_same_digest_and_say_what_is_refused(tmp_path: Path) -> None:
    """The same as in one process, with a row of JSON for each finding. A defense that cannot do what was asked of it
    says so from its worker, stops nobody else, and the exit code is 2."""
    code, out, err = ended(begun(tmp_path, "--json", "--defense", UNREACHABLE, jobs=2))
    assert code == 2, err
    found = study.collect(tmp_path)
    assert found.digest == digits()[0].results.digest
    rows = [json.loads(line) for line in out.splitlines()]
    assert rows == [json.loads(json.dumps(r.json())) for r in found.rows]
    assert {row["defense"] for row in rows} == {"none", "gaussian:sigma=1"}
    assert "gaussian:sigma=1, seed 1: done" in err
    assert err.count("drop=95 cannot be reached") >= 2
    assert "Trials that were refused" in (tmp_path / "report.html").read_text()


def test_killed_with_its_workers_and_resumed(copied: Path) -> None:
    """Killed with its workers at work and without a chance to clean up: they neither go on computing nor stay behind,
    what was finished is kept, and the same study goes on to the same digest."""
    for defense, seed in (("gaussian:sigma=1", 0), ("none", 1), ("gaussian:sigma=1", 1)):
        remove(copied, defense, seed)
    shutil.rmtree(copied / "models")
    (copied / "study.json").unlink()
    process = begun(copied, jobs=2)
    wait_until(lambda: list((copied / "models").glob("*.safetensors")), process)
    left = workers(process.pid)
    assert left
    process.kill()
    assert 1 <= len(finished(copied)) < 4
    process.wait()  # not communicate: a worker left behind would hold its end of the pipes
    until = time.monotonic() + 60
    while any(Path(f"/proc/{pid}").exists() for pid in left):
        assert time.monotonic() < until, "a worker outlived its study"
        time.sleep(0.05)
    assert asked(copied).results.digest == digits()[0].results.digest


def workers(parent: int) -> list[str]:
    """The spawned workers of a process that have begun to work (their queue's resource tracker is no worker)."""
    listed = Path(f"/proc/{parent}/task/{parent}/children").read_text().split()
    return [pid for pid in listed if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]


def test_interrupted_with_something_to_tell(copied: Path) -> None:
    """Ctrl-C reaches the whole group of processes; the best answer so far is told and the exit code is 0."""
    remove(copied, "gaussian:sigma=1", 1)
    remove(copied, "none", 1)
    remove(copied, "gaussian:sigma=1", 0)
    shutil.rmtree(copied / "models")
    (copied / "report.html").unlink()
    (copied / "study.json").unlink()
    process = begun(copied, "--json", jobs=2, limit=os.setsid)
    wait_until((copied / "study.json").is_file, process)
    os.killpg(process.pid, signal.SIGINT)
    code, out, err = ended(process)
    assert code == 0, err
    assert "unfinished" in err
    assert {"unfinished", "one_seed"} <= {f for line in out.splitlines() for f in json.loads(line)["flags"]}
    assert (copied / "report.html").is_file()


def test_interrupted_as_soon_as_the_plan_is_there(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever watches the folder may press at once: that, too, is answered with what there is."""
    remove(copied, "gaussian:sigma=1", 1)
    write = run.write_text

    def written(path: Path, text: str) -> None:
        write(path, text)
        if path.name == "study.json":
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(run, "write_text", written)
    assert asked(copied).results.unfinished == ("gaussian:sigma=1, seed 1",)


def test_interrupted_with_nothing_to_tell(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    pressed: list[Event] = []

    def press(_: Screen, event: Event) -> None:
        pressed.append(event)
        if len(pressed) == 1:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Screen, "listen", press)
    code = privet(*AUDIT, "--jobs", 1, "--out", tmp_path, "--json")
    out, err = capsys.readouterr()
    assert (code, out) == (2, "")
    assert "no finished trial of 'none', the scale" in err
    assert not (tmp_path / "report.html").exists()


def test_the_best_answer_so_far(tmp_path: Path) -> None:
    told: list[str] = []

    def listen(event: Event) -> None:
        told.append(event.text)
        if event.ended and event.text == "done":
            raise KeyboardInterrupt

    results = asked(tmp_path, listen=listen).results
    assert results.defenses == ("none",)
    assert len(results.unfinished) == 3
    assert all("unfinished" in r.flags for r in results.rows)
    assert told[-1].startswith("stopped")


def test_max_minutes(copied: Path, tmp_path: Path) -> None:
    remove(copied, "gaussian:sigma=1", 1)
    for jobs in (1, 2):
        results = asked(copied, max_minutes=1e-9, jobs=jobs).results
        assert results.unfinished == ("gaussian:sigma=1, seed 1",)
    with pytest.raises(RunError, match="no finished trial of 'none', the scale"):
        asked(tmp_path / "fresh", max_minutes=1e-9)


UNREACHABLE = "matched_noise:drop=95,tune=false"


def test_what_is_refused_stops_nobody_else(copied: Path) -> None:
    """A defense that cannot do what was asked of it says so; the others are reported; a gate fails."""
    ended: list[str] = []
    defenses = ["none", UNREACHABLE, "gaussian:sigma=1"]
    remove(copied, "gaussian:sigma=1", 1)
    results = asked(copied, defenses=defenses, listen=lambda e: ended.append(e.text)).results
    assert results.defenses == ("none", "gaussian:sigma=1")
    assert results.unfinished == ()
    assert [text.partition(": ")[0] for text in results.refused] == [f"{UNREACHABLE}, seed {s}" for s in (0, 1)]
    assert "drop=95 cannot be reached" in results.refused[0]
    assert gates.check(gates.parse("accuracy>1"), results) == [
        "accuracy>1: the study is not finished (2 trials are missing)"
    ]
    assert sum(text.startswith("refused: drop=95") for text in ended) == 2
    assert "Trials that were refused" in (copied / "report.html").read_text()
    assert study.collect(copied).refused == results.refused, "the folder alone says it, too"


def test_what_is_refused_at_the_command_line(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same from the command line: the table and the report, the reasons, exit code 2."""
    remove(copied, "gaussian:sigma=1", 1)
    assert privet(*AUDIT, "--defense", UNREACHABLE, "--jobs", 1, "--out", copied) == 2
    out, err = capsys.readouterr()
    assert "gaussian:sigma=1" in out
    assert err.count("drop=95 cannot be reached") >= 2
    assert "Traceback" not in err
    assert "Trials that were refused" in (copied / "report.html").read_text()


def test_where_all_is_refused_its_own_error_is_raised(copied: Path) -> None:
    with pytest.raises(SpecError, match="drop=95 cannot be reached"):
        asked(copied, defenses=["none", UNREACHABLE])


@contextmanager
def full_disk() -> Iterator[None]:
    """Files may grow to 20 kB and no further."""
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (20_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


def test_a_full_disk(copied: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Exit 2, one sentence, what was finished is kept, nothing half-written; with space again it goes on."""
    remove(copied, "gaussian:sigma=1", 1)
    kept = {p: run.file_hash(p) for p in copied.rglob("*") if p.is_file() and p.parent != copied}
    for out in (copied, tmp_path / "fresh"):  # a run is refused here, the trained network there
        with full_disk():
            code = privet(*AUDIT, "--jobs", 1, "--out", out)
        told, err = capsys.readouterr()
        assert (code, told) == (2, "")
        sentences = [line for line in err.splitlines() if line.startswith("privet:")]
        assert len(sentences) == 1
        assert "is full; free some space" in sentences[0]
        assert not list(out.glob("runs/.*"))
    assert {p: run.file_hash(p) for p in copied.rglob("*") if p.is_file() and p.parent != copied} == kept
    assert not list((tmp_path / "fresh" / "models").iterdir())
    assert asked(copied).results.digest == digits()[0].results.digest


def test_another_version_is_refused(copied: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At once, before the trials that are missing are made."""
    here = run.versions()
    remove(copied, "gaussian:sigma=1", 1)
    kept = sorted((copied / "runs").iterdir())
    monkeypatch.setattr(run, "versions", lambda: here | {"privet": "9.9"})
    with pytest.raises(RunError, match="accept it with --any-version"):
        asked(copied)
    assert sorted((copied / "runs").iterdir()) == kept
    with pytest.raises(RunError, match="accept it with --any-version"):
        study.collect(copied)
    assert asked(copied, any_version=True).results.digest == digits()[0].results.digest


def test_a_second_process_is_refused(copied: Path) -> None:
    with run.locked(copied), pytest.raises(RunError, match="another process works in"):
        asked(copied)


def test_a_worker_that_dies_is_a_sentence(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As when the system kills a process for want of memory."""

    class Pool:
        def __init__(self, *_: object, **__: object) -> None: ...

        def submit(self, *_: object) -> Future[None]:
            broken: Future[None] = Future()
            broken.set_exception(BrokenProcessPool("a child process terminated abruptly"))
            return broken

        def shutdown(self, **_: object) -> None: ...

    monkeypatch.setattr("privet.workers.ProcessPoolExecutor", Pool)
    with pytest.raises(RunError, match=r"worker process ended .* --jobs 1"):
        study.execute(schedule.draw_up(plain(tmp_path, jobs=2, seeds=2), SOURCE.load()))


def plain(out: Path, source: Source = SOURCE, **more: Any) -> Study:
    keys = {"defenses", "seeds", "jobs", "max_minutes"}
    setting = Setting("cnn3", "flatten", effort="tiny")
    fields: dict[str, Any] = {"defenses": ("none",), "seeds": 1} | {k: v for k, v in more.items() if k in keys}
    return Study(source, replace(setting, **{k: v for k, v in more.items() if k not in keys}), out=out, **fields)


def test_the_plan_names_every_trial_the_reference_first(tmp_path: Path) -> None:
    corpus = SOURCE.load()
    planned = schedule.draw_up(
        plain(tmp_path, defenses=("gaussian:sigma=1", "none", "gaussian:sigma=1"), seeds=2), corpus
    )
    assert planned.trials == [("none", 0), ("gaussian:sigma=1", 0), ("none", 1), ("gaussian:sigma=1", 1)]
    assert [planned.calibrates(t) for t in planned.trials] == [True, False, False, False]
    assert len(set(planned.names.values())) == 4
    stored = planned.json()
    assert stored["defenses"] == ["none", "gaussian:sigma=1"]
    assert json.loads(json.dumps(stored)) == stored
    assert schedule.estimate(planned) > 0
    planned.finished = set(planned.trials)
    assert schedule.estimate(planned) == 0
    assert not tmp_path.joinpath("runs").exists()


@pytest.mark.parametrize(
    ("more", "error", "message"),
    [
        ({"defenses": ("gausian",)}, SpecError, "did you mean 'gaussian'"),
        ({"at": "flaten"}, CutError, "legal cuts"),
        ({"model": "cnn4"}, ModelError, "did you mean 'cnn3'"),
        ({"side": ("sex",)}, DataError, "not among the attributes"),
        ({"freeze": "all"}, SpecError, "half to freeze"),
        ({"device": "tpu"}, SpecError, "--device cpu"),
        ({"weights": "absent.safetensors"}, ModelError, "absent.safetensors"),
    ],
)
def test_everything_wrong_is_said_before_any_time_is_spent(
    tmp_path: Path, more: dict[str, Any], error: type[Exception], message: str
) -> None:
    with pytest.raises(error, match=message) as told:
        schedule.draw_up(plain(tmp_path, **more), SOURCE.load())
    assert "\n" not in str(told.value)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("more", [{"seeds": 0}, {"max_minutes": 0.0}, {"max_minutes": float("nan")}, {"jobs": -1}])
def test_impossible_numbers(tmp_path: Path, more: dict[str, Any]) -> None:
    with pytest.raises(SpecError, match="must be"):
        plain(tmp_path, **more)


def test_the_command_makes_the_study_again(tmp_path: Path) -> None:
    source = replace(SOURCE, resize="none", group="person id")
    text = schedule.command(
        plain(tmp_path, source, side=("sex",), freeze="both", attacks=("mlp_probe",)), SOURCE.load()
    )
    assert "--group 'person id'" in text
    words = shlex.split(text)
    audit = get_command(app).commands["audit"]  # type: ignore[attr-defined]
    given = audit.make_context("audit", words[2:]).params
    assert given["limit"] == 150
    assert given["resize"] == "none"
    assert given["freeze"] == "both"
    assert given["side"] == ["sex"]
    assert given["out"] == tmp_path


def test_defaults_suit_the_data() -> None:
    corpus = SOURCE.load()
    assert schedule.with_defaults(Setting("", ""), corpus) == Setting("cnn3", "flatten")
    assert schedule.with_defaults(Setting("", "block1"), corpus) == Setting("cnn3", "block1")
    with pytest.raises(CutError, match=r"say where to cut 'vgg' with --at; its legal cuts: stage1"):
        schedule.with_defaults(Setting("vgg", ""), corpus)


def test_survey() -> None:
    found = schedule.survey("cnn3", shape="3x50x50", classes=4, weights=None, source=Source("digits"))
    flatten = next(c for c in found if c["cut"] == "flatten")
    assert flatten["shape"] == [2304]
    assert flatten["bytes"] == 4608
    macs: Sequence[int] = [c["edge_macs"] for c in found]
    assert sorted(macs) == list(macs)
    with pytest.raises(SpecError, match="written like 3x50x50"):
        schedule.survey("cnn3", shape="3,50", classes=2, weights=None, source=Source("digits"))


def test_not_a_study(tmp_path: Path) -> None:
    for folder in (tmp_path, tmp_path / "absent"):
        with pytest.raises(RunError, match="is not the folder of a study"):
            study.collect(folder)
    (tmp_path / "study.json").write_text("{}")
    with pytest.raises(RunError, match="is not the folder of a study"):
        study.collect(tmp_path)
    (tmp_path / "study.json").write_text("[]")
    with pytest.raises(RunError, match="is not the folder of a study"):
        study.collect(tmp_path)
