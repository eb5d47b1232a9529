"""Release and what the cloud learns from it: the numbers of the plan's own network, shards that go on where they were
stopped, memory that does not grow, and a process that never sees a picture."""

from __future__ import annotations

import io
import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import extractors
import numpy as np
import onnxruntime
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image

from privet import run
from privet.auditing.estimate import Estimate
from privet.data.corpus import Corpus
from privet.errors import DataError, RunError, SpecError
from privet.planner import cloud, find, grid, release, shards
from privet.planner.choosing import Candidate, Limits
from privet.planner.plan import Plan
from privet.planner.verifying import Verified
from privet.pretrained.pool import Source
from privet.schedule import Source as Where
from studies import privet

CHANNELS = (0, 2, 5)
ONE = Estimate(10.0, 9.0, 11.0, 3)


@pytest.fixture(scope="module")
def planned(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Source]:
    """A plan's folder, for pictures [1, 6, 6], and the network that it was made from."""
    folder = tmp_path_factory.mktemp("planned")
    small = extractors.source(folder)
    chosen = Candidate("small", 3, 3, 10.0, 0.1, 0.5, 1.0, 100, 100)
    verified = Verified(ONE, ONE, ONE, ONE, 0.5, "irn", 1.0, True, 100, 100, 80, 600, 6)
    made = Plan("small", 3, "3", CHANNELS, {}, Limits(psnr=20), chosen, verified, {}, (), 22.0, float("nan"), 1, "here")
    corpus: Corpus = extractors.corpus()
    find.write(made, small, corpus, Where("tiny"), folder / "plan")
    return folder / "plan", small


def pictures(path: Path, n: int, *, broken: tuple[int, ...] = (), size: int = 6, group: int = 64) -> np.ndarray:
    """A Parquet file of gray pictures in groups of rows, with labels of which every tenth is missing."""
    generator = np.random.default_rng(n)
    x = generator.integers(0, 256, (n, 6, 6), dtype=np.uint8)
    rows = []
    for i, picture in enumerate(x):
        buffer = io.BytesIO()
        Image.fromarray(picture).resize((size, size), Image.Resampling.NEAREST).save(buffer, "PNG")
        encoded = b"no picture" if i in broken else buffer.getvalue()
        rows.append({"image": {"bytes": encoded, "path": None}, "y": None if i % 10 == 9 else bright(picture)})
    pq.write_table(pa.Table.from_pylist(rows), path, row_group_size=group)
    return x


def bright(picture: np.ndarray) -> int:
    """The question: whether the upper half is brighter than the lower one."""
    return int(picture[:3].mean() > picture[3:].mean())


def rows_of(folder: Path) -> tuple[np.ndarray, np.ndarray]:
    z, y, _ = cloud.read(folder)
    return z, y


def test_what_is_released_is_what_the_planned_network_computes(planned: tuple[Path, Source], tmp_path: Path) -> None:
    folder, small = planned
    x = pictures(tmp_path / "p.parquet", 300, broken=(3, 250))
    made = release.release(folder, str(tmp_path / "p.parquet"), tmp_path / "out", target="y", shard=100)
    kept = [i for i in range(300) if i % 10 != 9 and i not in (3, 250)]
    assert (made.rows, made.shards, made.shape) == (268, 3, (3, 6, 6))
    assert made.skipped == {"without a label": 30, "that cannot be decoded": 2}
    z, y = rows_of(tmp_path / "out")
    assert z.dtype == np.float16
    with torch.no_grad():
        wanted = small.chain.head(3, torch.tensor(CHANNELS))(torch.from_numpy(x[kept, None]).float() / 255)
    apart = torch.cdist(torch.from_numpy(z.astype(np.float32)), wanted.flatten(1))
    whose = apart.argmin(1).numpy()
    assert float(apart.amin(1).max()) < 0.05 < float(apart.topk(2, largest=False).values[:, 1].min())
    assert sorted(whose) == list(range(268)), "each once"
    assert (np.diff(whose) == 1).mean() < 0.1, "not in the order of the file"
    assert set(whose[:100]) != set(range(100)), "nor dealt to shards in it"
    assert 60 < np.mean(whose[:90]) < 210
    assert y.tolist() == [bright(x[kept[i]]) for i in whose]
    told = json.loads((tmp_path / "out" / "release.json").read_text())
    known = {"format", "made_from", "classes", "shape", "dtype", "rows", "shards", "seal"}
    assert set(told) == known, "nothing of the plan"
    assert sorted(pq.read_schema(tmp_path / "out" / "part-00000.parquet").metadata) == [
        shards.MADE_FROM,
        shards.SHAPE,
    ]


def test_what_was_stopped_goes_on(
    planned: tuple[Path, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder, _ = planned
    pictures(tmp_path / "p.parquet", 200)
    data, out = str(tmp_path / "p.parquet"), tmp_path / "out"
    real, calls = shards.write, []

    def stops(*args: object) -> object:
        calls.append(1)
        if len(calls) == 3:
            raise KeyboardInterrupt
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(shards, "write", stops)
    with pytest.raises(KeyboardInterrupt):
        release.release(folder, data, out, target="y", shard=40)
    assert not (out / "release.json").exists(), "a release that is not whole says so"
    with pytest.raises(RunError, match="holds no release"):
        cloud.read(out)
    (out / "part-00001.parquet").write_bytes(b"torn")
    made = release.release(folder, data, out, target="y", shard=40)
    assert (made.shards, made.found, made.rows) == (5, 1, 180)
    whole = release.release(folder, data, tmp_path / "again", target="y", shard=40)
    assert whole.rows == 180
    for a, b in zip(rows_of(out), rows_of(tmp_path / "again"), strict=True):
        np.testing.assert_array_equal(a, b)
    with pytest.raises(RunError, match="release of another plan or other data"):
        release.release(folder, data, out, target="y", shard=50)


def test_files_hold_fewer_rows_where_features_are_large(
    planned: tuple[Path, Source], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    pictures(tmp_path / "p.parquet", 100)
    monkeypatch.setattr(release, "LARGEST", 40 * 2 * 3 * 6 * 6)
    made = release.release(planned[0], str(tmp_path / "p.parquet"), tmp_path / "out", target="y")
    assert [pq.read_metadata(path).num_rows for path in sorted((tmp_path / "out").glob("*.parquet"))] == [40, 40, 10]
    assert (made.rows, made.shards) == (90, 3)


@pytest.mark.parametrize("shard", [1, 7, 50, 4096])
def test_rows_are_dealt_to_shards_by_a_secret(shard: int) -> None:
    rows = np.arange(5, 2005, 2)
    one, two = (release.dealt(rows, shard, salt) for salt in ("ab", "ac"))
    assert sorted(one) == rows.tolist()
    assert one.tolist() != two.tolist()
    assert one.tolist() == release.dealt(rows, shard, "ab").tolist()
    span = release.MIXED * shard
    for start in range(0, len(rows), span):
        assert sorted(one[start : start + span]) == rows[start : start + span].tolist(), "read a bounded way at a time"
    assert release.dealt(rows[:0], shard, "ab").tolist() == []


MEMORY = """
import resource, sys
from pathlib import Path
from privet.planner import release
release.release(Path(sys.argv[1]), sys.argv[2], Path(sys.argv[3]), target="y", shard=512)
assert "torch" not in sys.modules, "a release needs no torch"
print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss)
"""


def test_memory_does_not_grow_with_the_data_and_torch_is_not_needed(
    planned: tuple[Path, Source], tmp_path: Path
) -> None:
    """Eight times as many pictures, of 48 kB each as they are stored, in the same memory."""
    peaks = []
    for n in (400, 3200):
        generator = np.random.default_rng(n)
        file = tmp_path / f"{n}.parquet"
        schema = pa.schema({"image": pa.struct({"bytes": pa.binary(), "path": pa.string()}), "y": pa.int64()})
        with pq.ParquetWriter(file, schema) as writer:
            for start in range(0, n, 100):
                rows = []
                for i in range(start, start + 100):
                    buffer = io.BytesIO()
                    x = generator.integers(0, 256, (128, 128, 3), dtype=np.uint8)
                    Image.fromarray(x).save(buffer, "PNG", compress_level=0)
                    rows.append({"image": {"bytes": buffer.getvalue(), "path": None}, "y": i % 2})
                writer.write_table(pa.Table.from_pylist(rows, schema=schema))
        done = subprocess.run(
            [sys.executable, "-c", MEMORY, planned[0], file, tmp_path / f"out{n}"], capture_output=True, text=True,
            check=True, env=os.environ | {"OMP_NUM_THREADS": "1"},
        )  # fmt: skip
        peaks.append(int(done.stdout) / 2**10)
    assert peaks[1] - peaks[0] < 30, f"{peaks} MiB: 2,800 more pictures are 134 MiB as they are stored"


def test_the_cloud_learns_in_a_process_that_has_the_release_alone(planned: tuple[Path, Source], tmp_path: Path) -> None:
    folder, _ = planned
    pictures(tmp_path / "p.parquet", 2000)
    release.release(folder, str(tmp_path / "p.parquet"), tmp_path / "alone" / "release", target="y")
    (tmp_path / "p.parquet").unlink()
    command = [
        sys.executable,
        "-m",
        "privet",
        "fit-cloud",
        "--release",
        "release",
        "--out",
        "cloud",
        "--effort",
        "quick",
    ]
    done = subprocess.run(
        [*command, "--json"], cwd=tmp_path / "alone", capture_output=True, text=True, check=True,
        env=os.environ | {"OMP_NUM_THREADS": "1"},
    )  # fmt: skip
    told = json.loads(done.stdout)
    assert told["accuracy"]["mean"] > told["majority"] + 0.05, (
        "whether half of it is bright; rows are in a secret order"
    )
    assert 150 < told["accuracy"]["n"] < 250
    z, y = rows_of(tmp_path / "alone" / "release")
    session = onnxruntime.InferenceSession(tmp_path / "alone" / "cloud" / "server.onnx")
    said = session.run(None, {"z": z[:200].astype(np.float32).reshape(-1, 3, 6, 6)})[0].argmax(1)
    assert (said == y[:200]).mean() > told["majority"] + 0.05, "the graph answers as the network that was trained"


def test_tables_and_digits_are_released_too(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    rows = np.random.default_rng(1).random((600, 5))
    table = {f"c{i}": rows[:, i] for i in range(5)} | {"y": (rows[:, 0] + rows[:, 1] > 1).astype(int)}
    pq.write_table(pa.table(table), tmp_path / "t.parquet")
    tiny = replace(grid.GRIDS["quick"], layers=(1,), depths=(4, 16), draws=1, pictures=80, epochs=1)
    monkeypatch.setitem(grid.GRIDS, "quick", tiny)
    asked = ("plan", "--data", tmp_path / "t.parquet", "--target", "y", "--max-psnr", "60", "--seed", "1")
    assert privet(*asked, "--out", tmp_path / "plan") == 0
    assert (
        privet("release", "--plan", tmp_path / "plan", "--data", tmp_path / "t.parquet", "--out", tmp_path / "out") == 0
    )
    capsys.readouterr()
    z, y = rows_of(tmp_path / "out")
    assert z.shape == (600, 16)
    assert abs(y.mean() - 0.5) < 0.1
    assert (
        privet("fit-cloud", "--release", tmp_path / "out", "--effort", "quick", "--out", tmp_path / "c", "--json") == 0
    )
    assert json.loads(capsys.readouterr().out)["accuracy"]["mean"] > 0.7


def test_what_cannot_be_released_is_refused_in_a_sentence(planned: tuple[Path, Source], tmp_path: Path) -> None:
    folder, _ = planned
    pictures(tmp_path / "p.parquet", 30)
    data = str(tmp_path / "p.parquet")
    with pytest.raises(RunError, match="holds no plan"):
        release.release(tmp_path, data, tmp_path / "out", target="y")
    with pytest.raises(DataError, match="no column named 'z'"):
        release.release(folder, data, tmp_path / "out", target="z")
    copied = Path(shutil.copytree(folder, tmp_path / "other"))
    (copied / "edge.onnx").write_bytes((folder / "edge.onnx").read_bytes() + b" ")
    with pytest.raises(RunError, match="is not the one of"):
        release.release(copied, data, tmp_path / "out", target="y")
    with pytest.raises(RunError, match="holds a plan, which stays with you"):
        release.release(folder, data, folder, target="y")
    told = json.loads((folder / "plan.json").read_text())
    for changed in ({"salt": "zz"}, {"read_as": {"bogus": 1}}, {"input_shape": [1, 9, 9]}, {"channels": [999]}):
        (copied / "plan.json").write_text(json.dumps(told | changed))
        with pytest.raises(RunError, match="it was changed since it was written"):
            release.release(copied, data, tmp_path / "out", target="y")
    (copied / "plan.json").write_text("[]")
    with pytest.raises(RunError, match="holds no plan"):
        release.release(copied, data, tmp_path / "out", target="y")
    table = pq.read_table(data)
    pq.write_table(table.set_column(1, "y", pa.array([None] * 30, pa.int64())), tmp_path / "q.parquet")
    with pytest.raises(DataError, match=r"it is empty|nobody in"):
        release.release(folder, str(tmp_path / "q.parquet"), tmp_path / "out", target="y")
    pictures(tmp_path / "bad.parquet", 20, broken=tuple(range(20)))
    with pytest.raises(DataError, match="can be decoded"):
        release.release(folder, str(tmp_path / "bad.parquet"), tmp_path / "bad", target="y")
    (tmp_path / "two").mkdir()
    for name, column in (("train", "y"), ("test", "z")):
        renamed = table.rename_columns(["image", column])
        pq.write_table(renamed, tmp_path / "two" / f"{name}.parquet")
    with pytest.raises(DataError, match=r"has no column 'image' or no 'y'"):
        release.release(folder, str(tmp_path / "two"), tmp_path / "out", target="y")
    with pytest.raises(DataError, match="is not what the plan was made from"):
        release.release(folder, "digits", tmp_path / "out", target="parity")
    (tmp_path / "r.parquet").write_bytes(b"PAR1")
    with pytest.raises(DataError, match="not a readable Parquet file"):
        release.release(folder, str(tmp_path / "r.parquet"), tmp_path / "out", target="y")
    assert privet("release", "--plan", folder, "--data", data, "--shard", "0") == 2


def test_releases_that_are_not_whole_are_refused(planned: tuple[Path, Source], tmp_path: Path) -> None:
    folder, _ = planned
    pictures(tmp_path / "p.parquet", 100)
    out = tmp_path / "out"
    release.release(folder, str(tmp_path / "p.parquet"), out, target="y", shard=50)
    told = json.loads((out / "release.json").read_text())
    for changed in ({"rows": 7}, {"shape": []}, {"classes": ["a", "b", "c"]}):
        run.write_text(out / "release.json", json.dumps(told | changed))
        with pytest.raises(RunError, match="it was changed since it was written"):
            cloud.fit(out, tmp_path / "cloud")
    rest = {k: v for k, v in told.items() if k != "seal"}
    run.write_text(out / "release.json", json.dumps(run.sealed(rest | {"rows": 7})))
    with pytest.raises(RunError, match="is not whole"):
        cloud.fit(out, tmp_path / "cloud")
    run.write_text(out / "release.json", json.dumps(told))
    with pytest.raises(SpecError, match="the seed is -1"):
        cloud.fit(out, tmp_path / "cloud", seed=-1)
    with pytest.raises(SpecError, match="the device 'gpu' cannot be used here"):
        cloud.fit(out, tmp_path / "cloud", device="gpu")
    whole = (out / "part-00000.parquet").read_bytes()
    zeroed = whole[:1000] + bytes(400) + whole[1400:]
    (out / "part-00000.parquet").write_bytes(zeroed)
    with pytest.raises(RunError, match="holds no release"):
        cloud.fit(out, tmp_path / "cloud")
    (out / ".part-00000.parquet.x").write_bytes(b"of a process that was killed")
    again = release.release(folder, str(tmp_path / "p.parquet"), out, target="y", shard=50)
    assert again.found == 1, "the damaged one is made again"
    assert (out / "part-00000.parquet").read_bytes() == whole
    assert not list(out.glob(".part-*"))
    (out / "part-00001.parquet").unlink()
    with pytest.raises(RunError, match=r"lacks part-00001.parquet; run the same privet release again"):
        cloud.fit(out, tmp_path / "cloud")
    few = tmp_path / "few"
    pictures(tmp_path / "f.parquet", 20)
    release.release(folder, str(tmp_path / "f.parquet"), few, target="y")
    with pytest.raises(DataError, match="release more"):
        cloud.fit(few, tmp_path / "cloud")
    assert not (tmp_path / "cloud").exists()
