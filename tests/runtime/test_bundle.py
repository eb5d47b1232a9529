"""Bundles: whole or not at all, refused when anything is not what was written; edges without torch."""

from __future__ import annotations

import errno
import hashlib
import io
import json
import os
import pickle
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from safetensors.numpy import save

from privet.defense import Defended, parse
from privet.errors import DataError, ModelError, PrivetError, RunError
from privet.payload import Payload
from privet.runtime import bundle, export
from privet.runtime.edge import Edge
from tiny import EFFORT, SHAPE, SPLITS, corpus, pictures

META = {
    "model": "tests:tiny",
    "input_shape": SHAPE,
    "input_kind": "image",
    "classes": ("dark", "bright"),
    "defense": "random_channels",
    "target": "y",
}


@pytest.fixture(scope="module")
def defended() -> Defended:
    return parse("random_channels").fit(SPLITS["conv"](), corpus(), effort=EFFORT, seed=0)


@pytest.fixture(scope="module")
def written(defended: Defended, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return bundle.write(defended, tmp_path_factory.mktemp("written") / "bundle", meta=META)


@pytest.fixture
def folder(written: Path, tmp_path: Path) -> Path:
    """A copy that a test may spoil."""
    return Path(shutil.copytree(written, tmp_path / "copy"))


def reseal(folder: Path, **changes: Any) -> None:
    """Make the manifest agree with the files again, as a forger would."""
    manifest = json.loads((folder / "manifest.json").read_bytes()) | changes
    for name in bundle.FILES:
        data = (folder / name).read_bytes()
        manifest["files"][name] = {"bytes": len(data), "sha256": hashlib.sha256(data).hexdigest()}
    manifest["split_hash"] = bundle.split_hash(manifest)
    (folder / "manifest.json").write_bytes(bundle.canonical(manifest))


def refused(folder: Path, says: str | None = None) -> None:
    with pytest.raises(RunError, match=says) as caught:
        bundle.open(folder)
    assert (
        str(folder.parent) not in str(caught.value)
        or "not a bundle" in str(caught.value)
        or "no bundle" in str(caught.value)
    )


def test_what_is_written_is_read(written: Path, defended: Defended) -> None:
    found = bundle.open(written)
    assert found.signature == defended.obfuscator.signature
    assert found.noise == defended.obfuscator.noise
    assert found.input_shape == SHAPE
    assert found.classes == ("dark", "bright")
    manifest = found.manifest
    assert manifest["cut"] == "cut"
    assert manifest["defense"] == "random_channels"
    assert manifest["meta"] == {"target": "y"}
    assert manifest["guarantee"] == {"statement": None, "scope": defended.guarantee.scope}
    assert manifest["log"] == defended.log
    for half, module in (("edge", defended.edge_half), ("server", defended.server_half)):
        weights, state = found.weights(half), module.state_dict()
        assert weights.keys() == state.keys()
        assert all(np.array_equal(weights[k], v.numpy()) for k, v in state.items())


def test_split_hash_is_the_manifest_without_itself(written: Path) -> None:
    manifest = json.loads((written / "manifest.json").read_text())
    claimed = manifest.pop("split_hash")
    text = json.dumps(manifest, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
    assert claimed == hashlib.sha256(text.encode()).hexdigest() == bundle.open(written).split_hash


def test_the_server_graph_answers_the_edge(written: Path, defended: Defended) -> None:
    edge, found = Edge(written), bundle.open(written)
    session = onnxruntime.InferenceSession(found.read("server.onnx"))
    x = pictures(5)
    payload = Payload.from_bytes(edge.payload(x.numpy(), noise_seed=5).to_bytes(), found.signature)
    logits = session.run(["logits"], payload.floats())[0]
    np.testing.assert_allclose(logits, defended.server(payload).numpy(), atol=1e-5)
    drawn = found.noise[0].draw(5, np.random.Generator(np.random.PCG64DXSM(5)))
    torches = defended.encode(x, (drawn,)).floats()
    for name, value in payload.floats().items():
        np.testing.assert_allclose(value, torches[name], atol=2e-3)


def test_same_split_same_hash_other_weights_other_hash(
    written: Path, defended: Defended, tmp_path: Path, monkeypatch: Any, capfd: Any
) -> None:
    again = bundle.open(bundle.write(defended, tmp_path / "again", meta=META))
    assert capfd.readouterr() == ("", ""), "the exporter must be quiet"
    fast(monkeypatch, written)
    assert again.split_hash == bundle.open(written).split_hash
    other = parse("random_channels").fit(SPLITS["conv"](), corpus(), effort=EFFORT, seed=1)
    with torch.no_grad():
        other.split.server[0].bias.add_(0.1)
    assert bundle.open(bundle.write(other, tmp_path / "other", meta=META)).split_hash != again.split_hash


def test_files_hold_no_path(written: Path) -> None:
    here = [
        str(Path(bundle.__file__).parents[2]),
        str(written.parent),
        str(Path(torch.__file__).parent),
        str(Path.home()),
    ]
    for name in (bundle.MANIFEST, *bundle.FILES):
        assert not any(path.encode() in (written / name).read_bytes() for path in here), name


# What is refused ----------------------------------------------------------------------------------------------------


def test_every_flipped_byte_is_refused(folder: Path) -> None:
    generator = np.random.default_rng(0)
    for name in (bundle.MANIFEST, *bundle.FILES):
        data = (folder / name).read_bytes()
        places = range(len(data)) if name == bundle.MANIFEST else generator.integers(0, len(data), 60)
        for place in places:
            bad = bytearray(data)
            bad[place] ^= 1 << int(generator.integers(8))
            (folder / name).write_bytes(bad)
            refused(folder)
        for length in generator.integers(0, len(data), 20):
            (folder / name).write_bytes(data[:length])
            refused(folder)
        (folder / name).write_bytes(data + b"\0")
        refused(folder)
        (folder / name).write_bytes(data)
    bundle.open(folder)


def test_hashes_come_before_parsing(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def parsed(data: bytes) -> dict[str, Any]:
        raise AssertionError("parsed before every hash was checked")

    monkeypatch.setattr(bundle, "load_tensors", parsed)
    with pytest.raises(AssertionError):
        bundle.open(folder)
    (folder / "server.safetensors").write_bytes(b"x" + (folder / "server.safetensors").read_bytes()[1:])
    refused(folder, "server.safetensors is not the file")


class Bomb:
    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, ("exploded",)


def npz() -> bytes:
    buffer = io.BytesIO()
    np.savez(buffer, a=np.zeros(3))
    return buffer.getvalue()


def weights(header: bytes, body: bytes = b"") -> bytes:
    return len(header).to_bytes(8, "little") + header + body


ONE = b'"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}'
HOSTILE_WEIGHTS: dict[str, bytes] = {
    "pickle": pickle.dumps(Bomb()),
    "npz": npz(),
    "empty": b"",
    "not a number": save({"a": np.array([1.0, np.nan], np.float32)}),
    "infinity": save({"a": np.array([np.inf], np.float16)}),
    "key twice": weights(b"{" + ONE + b"," + ONE + b"}", bytes(4)),
    "entry key twice": weights(b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "header of 2^60": (2**60).to_bytes(8, "little") + bytes(100),
    "header of 2 MiB": weights(b"{" + ONE + b" " * (2 << 20) + b"}", bytes(4)),
    "5000 tensors": save({f"t{i}": np.zeros(1, np.float32) for i in range(5000)}),
    "offsets past the end": weights(b'{"a":{"dtype":"F32","shape":[9],"data_offsets":[0,36]}}', bytes(4)),
    "overlap": weights(b"{" + ONE + b',"b":{"dtype":"F32","shape":[1],"data_offsets":[0,4]}}', bytes(4)),
    "negative": weights(b'{"a":{"dtype":"F32","shape":[-1],"data_offsets":[0,4]}}', bytes(4)),
    "unknown dtype": weights(b'{"a":{"dtype":"BF16","shape":[2],"data_offsets":[0,4]}}', bytes(4)),
    "list": weights(b"[1]"),
    "number": weights(b"7"),
    "deep": weights(b"[" * 100_000),
    "tail": save({"a": np.zeros(1, np.float32)}) + b"\x80\x04",
}


@pytest.mark.parametrize("case", HOSTILE_WEIGHTS)
def test_hostile_weights_refused_though_the_hash_is_right(folder: Path, case: str) -> None:
    (folder / "edge.safetensors").write_bytes(HOSTILE_WEIGHTS[case])
    reseal(folder)
    refused(folder, "edge.safetensors")
    assert not Path("exploded").exists()


def external(folder: Path) -> bytes:
    model = onnx.load(folder / "edge.onnx")
    onnx.external_data_helper.convert_model_to_external_data(model, location="../secret", size_threshold=0)
    for tensor in model.graph.initializer:
        tensor.ClearField("raw_data")
    return bytes(model.SerializeToString())


HOSTILE_GRAPHS: dict[str, Callable[[Path], bytes]] = {
    "external data": external,
    "external data, padded length": lambda f: external(f).replace(b"\x0a\x08location", b"\x0a\x88\x00location"),
    "pickle": lambda f: pickle.dumps(Bomb()),
    "npz": lambda f: npz(),
    "empty": lambda f: b"",
    "text": lambda f: b"graph",
}


@pytest.mark.parametrize("case", HOSTILE_GRAPHS)
def test_hostile_graphs_refused_though_the_hash_is_right(folder: Path, case: str) -> None:
    data = HOSTILE_GRAPHS[case](folder)
    assert not case.startswith("external") or b"../secret" in data
    (folder / "edge.onnx").write_bytes(data)
    reseal(folder)
    refused(folder, "edge.onnx")


def linked(folder: Path, link: Callable[[Path, Path], None]) -> None:
    moved = folder.parent / "moved"
    os.rename(folder / "edge.onnx", moved)
    link(moved, folder / "edge.onnx")


SPOILED: dict[str, Callable[[Path], Any]] = {
    "missing": lambda f: (f / "server.onnx").unlink(),
    "also holds": lambda f: (f / "weights.bin").write_bytes(b"0"),
    "symbolic link": lambda f: linked(f, lambda old, new: os.symlink(old, new)),
    "hard link": lambda f: linked(f, lambda old, new: os.link(old, new)),
    "pipe": lambda f: linked(f, lambda old, new: os.mkfifo(new)),
    "directory": lambda f: linked(f, lambda old, new: os.mkdir(new)),
    "link as manifest": lambda f: (
        os.rename(f / "manifest.json", f.parent / "m"),
        os.symlink(f.parent / "m", f / "manifest.json"),
    ),
    "huge manifest": lambda f: (f / "manifest.json").write_bytes(b" " * (2 << 20)),
    "no manifest": lambda f: (f / "manifest.json").unlink(),
    "deep manifest": lambda f: (f / "manifest.json").write_bytes(b"[" * 500_000),
    "manifest not a number": lambda f: (f / "manifest.json").write_bytes(b'{"format":NaN}'),
    "manifest infinite": lambda f: (f / "manifest.json").write_bytes(b'{"format":1e999}'),
    "manifest surrogate": lambda f: (f / "manifest.json").write_bytes(b'{"format":"\\ud800"}'),
    "manifest number too long": lambda f: (f / "manifest.json").write_bytes(b'{"format":' + b"9" * 9000 + b"}"),
    "manifest list": lambda f: (f / "manifest.json").write_bytes(b"[]"),
    "manifest spaces": lambda f: (f / "manifest.json").write_text(
        json.dumps(json.loads((f / "manifest.json").read_text()))
    ),
    "key twice": lambda f: (f / "manifest.json").write_bytes(b'{"format":1,' + (f / "manifest.json").read_bytes()[1:]),
}


@pytest.mark.parametrize("case", SPOILED)
def test_spoiled_folders_refused(folder: Path, case: str) -> None:
    SPOILED[case](folder)
    refused(folder)


@pytest.mark.parametrize(
    "changes",
    [
        {"format": 2},
        {"format": True},
        {"format": None},
        {"input": {"shape": [1, -6, 6], "kind": "image"}},
        {"input": {"shape": [1, 6.5, 6], "kind": "image"}},
        {"input": {"shape": "16", "kind": "image"}},
        {"input": {"shape": [1, 6, 6], "kind": "video"}},
        {"signature": []},
        {"signature": [{"name": "z", "dtype": "object", "shape": [1]}]},
        {"signature": [{"name": "z", "dtype": "float16", "shape": [0]}]},
        {"signature": [["z", "float16", [1]]]},
        {"noise": [{"name": "xi", "shape": [2], "law": "normal"}]},
        {"noise": [{"name": "xi", "shape": [2], "law": "cauchy", "per": "sample"}]},
        {"noise": [{"name": "xi", "shape": [2], "law": "normal", "per": "day"}]},
        {"classes": [1, 2]},
        {"classes": 5},
        {"guarantee": {}},
        {"log": []},
        {"model": None},
        {"cut": 7},
    ],
)
def test_forged_manifests_refused(folder: Path, changes: dict[str, Any]) -> None:
    reseal(folder, **changes)
    refused(folder)


def test_edited_manifest_refused(folder: Path) -> None:
    manifest = json.loads((folder / "manifest.json").read_bytes()) | {"defense": "none"}
    (folder / "manifest.json").write_bytes(bundle.canonical(manifest))
    refused(folder, "split_hash")


def test_a_link_to_a_bundle_refused(folder: Path, tmp_path: Path) -> None:
    os.symlink(folder, tmp_path / "link")
    refused(tmp_path / "link", "no bundle")
    refused(tmp_path / "nowhere", "no bundle")


def test_change_after_opening_is_noticed(folder: Path) -> None:
    found = bundle.open(folder)
    (folder / "edge.onnx").write_bytes((folder / "server.onnx").read_bytes())
    with pytest.raises(RunError, match=r"at most|not the file"):
        found.read("edge.onnx")


def test_weight_mutations_never_crash(written: Path) -> None:
    """Three thousand mutations of a small file: parsed and finite, or one typed error."""
    data = save({"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.zeros(2, np.int64)})
    generator = np.random.default_rng(1)
    accepted = 0
    for _ in range(3000):
        bad = bytearray(data)
        for _ in range(int(generator.integers(1, 4))):
            place = int(generator.integers(len(bad)))
            bad[place : place + int(generator.integers(0, 2))] = generator.bytes(int(generator.integers(0, 3)))
        try:
            tensors = bundle._tensors("fuzzed", bytes(bad))
        except RunError:
            continue
        accepted += 1
        assert all(np.isfinite(v).all() for v in tensors.values() if v.dtype.kind == "f")
    assert accepted < 3000


# Writing ------------------------------------------------------------------------------------------------------------


def fast(monkeypatch: pytest.MonkeyPatch, written: Path) -> None:
    """Skip the exporter, where a test is about folders."""
    monkeypatch.setattr(export, "export_edge", lambda d, path, shape: shutil.copy(written / "edge.onnx", path))
    monkeypatch.setattr(export, "export_server", lambda d, path: shutil.copy(written / "server.onnx", path))


def test_replaces_a_bundle_or_an_empty_folder_only(
    written: Path, defended: Defended, tmp_path: Path, monkeypatch: Any
) -> None:
    fast(monkeypatch, written)
    (tmp_path / "empty").mkdir()
    bundle.write(defended, tmp_path / "empty", meta=META)
    bundle.write(defended, tmp_path / "empty", meta={**META, "model": "second"})
    assert bundle.open(tmp_path / "empty").manifest["model"] == "second"
    (tmp_path / "full").mkdir()
    (tmp_path / "full/thesis.txt").write_text("mine")
    (tmp_path / "file").write_text("mine")
    os.symlink(tmp_path / "empty", tmp_path / "link")
    (tmp_path / "empty/notes.txt").write_text("mine")
    for name, says in (
        ("full", "not a bundle"),
        ("file", "file or a link"),
        ("link", "file or a link"),
        ("empty", "not a bundle"),
    ):
        with pytest.raises(RunError, match=says):
            bundle.write(defended, tmp_path / name, meta=META)
    assert (tmp_path / "full/thesis.txt").read_text() == (tmp_path / "empty/notes.txt").read_text() == "mine"


def test_failure_leaves_what_was_there(written: Path, defended: Defended, tmp_path: Path, monkeypatch: Any) -> None:
    fast(monkeypatch, written)
    target = bundle.write(defended, tmp_path / "deep/bundle", meta=META)
    before = bundle.open(target).split_hash

    def fails(*arguments: Any) -> None:
        raise ModelError("a fault")

    monkeypatch.setattr(export, "export_server", fails)
    with pytest.raises(ModelError, match="a fault"):
        bundle.write(defended, target, meta={**META, "model": "second"})
    with pytest.raises(ModelError, match="a fault"):
        bundle.write(defended, tmp_path / "deep/new", meta=META)
    fast(monkeypatch, written)
    real = os.rename

    def breaks(old: Any, new: Any) -> None:
        if Path(old).name == "bundle" and Path(new) == target:
            if Path(old).parent != target.parent:
                monkeypatch.setattr(os, "rename", real)
            raise OSError(5, "Input/output error")
        real(old, new)

    monkeypatch.setattr(os, "rename", breaks)
    with pytest.raises(RunError, match="Input/output error"):
        bundle.write(defended, target, meta={**META, "model": "second"})
    assert bundle.open(target).split_hash == before
    assert [p.name for p in (tmp_path / "deep").iterdir()] == ["bundle"]


@pytest.mark.parametrize(("number", "says"), [(errno.ENOSPC, "is full"), (errno.EACCES, "cannot write")])
def test_a_disk_that_refuses_is_said(
    written: Path, defended: Defended, tmp_path: Path, monkeypatch: Any, number: int, says: str
) -> None:
    def refuses(*arguments: Any) -> None:
        raise OSError(number, os.strerror(number))

    fast(monkeypatch, written)
    monkeypatch.setattr(export, "export_server", refuses)
    with pytest.raises(RunError, match=says):
        bundle.write(defended, tmp_path / "bundle", meta=META)
    assert not list(tmp_path.iterdir())


def test_where_nothing_can_be_made_is_said_early(tmp_path: Path, monkeypatch: Any) -> None:
    (tmp_path / "file").touch()
    for name, says in (("file/bundle", "no folder can be made in"), ("x" * 300, "cannot write")):
        with pytest.raises(RunError, match=says):
            bundle.check_target(tmp_path / name)
    assert bundle.check_target(tmp_path / "a/b") == tmp_path / "a/b"
    monkeypatch.setattr(os, "access", lambda place, mode: False)
    with pytest.raises(RunError, match="no folder can be made in"):
        bundle.check_target(tmp_path / "a/b")
    assert not (tmp_path / "a").exists()


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"input_kind": "sound"}, "known: image, table"),
        ({"note": float("nan")}, "plain JSON"),
        ({"note": object()}, "plain JSON"),
    ],
)
def test_incomplete_meta_refused(defended: Defended, tmp_path: Path, changes: dict[str, Any], says: str) -> None:
    with pytest.raises(RunError, match=says):
        bundle.write(defended, tmp_path / "bundle", meta={**META, **changes})
    for key in bundle.META:
        with pytest.raises(RunError, match=f"missing: {key}"):
            bundle.write(defended, tmp_path / "bundle", meta={k: v for k, v in META.items() if k != key})
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("value", "dtype", "says"), [(np.nan, torch.float32, "not finite"), (0.0, torch.bfloat16, "BF16")]
)
def test_weights_that_cannot_travel_refused(tmp_path: Path, value: float, dtype: torch.dtype, says: str) -> None:
    broken = parse("none").fit(SPLITS["conv"](), corpus(), effort=EFFORT, seed=0)
    with torch.no_grad():
        broken.split.server[3].bias[0] = value
    broken.split.server[3].to(dtype)
    with pytest.raises(RunError, match=says):
        bundle.write(broken, tmp_path / "bundle", meta=META)
    assert list(tmp_path.iterdir()) == []


# The edge -----------------------------------------------------------------------------------------------------------

BARE = """
import sys
class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in {"torch", "onnx", "onnxscript", "sklearn", "pyarrow", "scipy", "matplotlib"}:
            raise ImportError(f"{name} is blocked")
sys.meta_path.insert(0, Blocked())
import numpy as np
from privet.runtime.edge import Edge
x = np.linspace(0, 1, 2 * 36, dtype=np.float32).reshape(2, 1, 6, 6)
print(Edge(sys.argv[1]).payload(x, noise_seed=3).to_bytes().hex())
"""


def test_runs_without_torch(written: Path) -> None:
    done = subprocess.run([sys.executable, "-c", BARE, str(written)], capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    x = np.linspace(0, 1, 2 * 36, dtype=np.float32).reshape(2, 1, 6, 6)
    assert bytes.fromhex(done.stdout.strip()) == Edge(written).payload(x, noise_seed=3).to_bytes()


def test_noise_is_fresh_unless_a_test_asks(written: Path) -> None:
    edge, x = Edge(written), pictures(8).numpy()
    assert len({edge.payload(x).to_bytes() for _ in range(5)}) == 5
    np.random.seed(0)
    first = edge.payload(x).to_bytes()
    np.random.seed(0)
    assert edge.payload(x).to_bytes() != first
    assert edge.payload(x, noise_seed=1).to_bytes() == edge.payload(x, noise_seed=1).to_bytes()


def test_bytes_and_floats_are_one_input(written: Path) -> None:
    edge = Edge(written)
    x = np.random.default_rng(0).integers(0, 256, (4, *SHAPE), dtype=np.uint8)
    assert edge.payload(x, noise_seed=1).to_bytes() == edge.payload(x.astype(np.float32) / 255, noise_seed=1).to_bytes()


@pytest.mark.parametrize(
    ("x", "says"),
    [
        (np.zeros((2, 1, 6, 7), np.float32), "shape"),
        (np.zeros(SHAPE, np.float32), "shape"),
        (np.zeros((0, *SHAPE), np.float32), "at least 1"),
        (np.zeros((2, *SHAPE), np.float64), "float64"),
        (np.zeros((2, *SHAPE), ">f4"), ">f4"),
        (np.zeros((2, *SHAPE), np.int64), "int64"),
        (np.full((2, *SHAPE), 1.5, np.float32), r"outside \[0, 1\]"),
        (np.full((2, *SHAPE), -0.1, np.float32), r"outside \[0, 1\]"),
        (np.full((2, *SHAPE), np.nan, np.float32), "not finite"),
        ("a picture", "shape"),
    ],
)
def test_other_inputs_refused(written: Path, x: Any, says: str) -> None:
    with pytest.raises(DataError, match=says):
        Edge(written).payload(x)


def fixed_batch(model: Any) -> None:
    model.graph.input[0].type.tensor_type.shape.dim[0].dim_value = 1


def renamed(model: Any) -> None:
    model.graph.output[0].name = "other"
    for node in model.graph.node:
        node.output[:] = ["other" if name == "mask" else name for name in node.output]


@pytest.mark.parametrize("change", [fixed_batch, renamed])
def test_graph_unlike_its_manifest_refused(folder: Path, change: Callable[[Any], None]) -> None:
    model = onnx.load(folder / "edge.onnx")
    change(model)
    (folder / "edge.onnx").write_bytes(model.SerializeToString())
    reseal(folder)
    bundle.open(folder)
    with pytest.raises(RunError, match=r"its manifest|cannot be loaded"):
        Edge(folder)


def test_graph_that_is_none_refused(folder: Path) -> None:
    (folder / "edge.onnx").write_bytes(b"\x08" + b"noise" * 20)
    reseal(folder)
    with pytest.raises(RunError, match="cannot be loaded"):
        Edge(folder)


@pytest.mark.parametrize(
    ("cut", "text"),
    [
        ("conv", "gaussian:sigma=0.1+random_channels:draw=batch"),
        pytest.param("vector", "none", marks=pytest.mark.heavy),
        pytest.param("vector", "signal_content", marks=pytest.mark.heavy),
        pytest.param("conv", "label_only", marks=pytest.mark.heavy),
    ],
)
def test_other_signatures_travel(cut: str, text: str, tmp_path: Path) -> None:
    fitted = parse(text).fit(SPLITS[cut](), corpus(), effort=EFFORT, seed=0)
    edge = Edge(bundle.write(fitted, tmp_path / "bundle", meta={**META, "defense": text}))
    for batch in (1, 6):
        payload = edge.payload(pictures(batch).numpy())
        assert fitted.server(payload).shape == (batch, 2)


def test_errors_are_ours(folder: Path) -> None:
    (folder / "edge.onnx").unlink()
    with pytest.raises(PrivetError):
        Edge(folder)
