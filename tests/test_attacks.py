"""Files made to do harm: none of them runs code, reads or fetches what is elsewhere, or fills the memory.

SECURITY.md says which input is trusted how far, and which tests hold that; those for a single format, such as zip
files, stand with the other tests of that format.
"""

from __future__ import annotations

import ast
import gzip
import os
import re
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import cv2
import numpy as np
import pytest

from archives import builders
from fanlight.checkpoint import load_checkpoint
from fanlight.clips.video import Clip
from fanlight.config import load_recipe
from fanlight.convert.reading import read_weights
from fanlight.data import fetch, remote
from fanlight.data.archives import cofw, dlib_xml
from fanlight.data.archives.contents import Request
from fanlight.data.archives.unpack import unpack
from fanlight.data.remote import Cache
from fanlight.errors import InputError
from fanlight.models import FOLDER

REPOSITORY = Path(__file__).resolve().parent.parent
SOURCE = REPOSITORY / "src" / "fanlight"

# ---------------------------------------------------------------------------- the code itself

RUNS_CODE = {
    "eval", "exec", "compile", "__import__", "pickle.load", "pickle.loads", "marshal.loads", "os.system",
    "os.popen", "torch.jit.load", "yaml.load", "subprocess.run", "subprocess.Popen", "subprocess.call",
    "joblib.load", "import_module", "importlib.import_module",
}  # fmt: skip
ALLOWED = {
    ("__init__.py", "import_module"): "the package's own public names",
    ("detect.py", "import_module"): "packaged detectors, and module:function of a command line or of Python",
    (
        "provenance.py",
        "subprocess.run",
    ): "git, asked by words of our own for the state of the clone this runs in",
    ("export/torchscript.py", "torch.jit.load"): "the file that was written a moment before, to check it",
}


def calls() -> Iterator[tuple[str, str, ast.Call]]:
    """Every call in the package: its file, what is called, and the call."""
    for path in sorted(SOURCE.rglob("*.py")):
        for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Call):
                yield path.relative_to(SOURCE).as_posix(), ast.unparse(node.func), node


def test_nothing_in_the_package_runs_what_a_file_says() -> None:
    found = {(file, name) for file, name, _ in calls() if name in RUNS_CODE}
    assert found == set(ALLOWED), "a call that can run code needs its reason here"


def test_weights_and_arrays_are_loaded_without_code() -> None:
    """But for ``fanlight convert --trust``, once."""
    careful, careless = [], []
    for file, name, call in calls():
        given = {keyword.arg: ast.unparse(keyword.value) for keyword in call.keywords}
        if name == "torch.load":
            (careful if given.get("weights_only") == "True" else careless).append(file)
        elif name == "np.load":
            assert given.get("allow_pickle") == "False", file
    assert careless == ["convert/reading.py"]
    assert len(careful) >= 3


def test_the_tests_that_security_names_are_there() -> None:
    text = (REPOSITORY / "SECURITY.md").read_text(encoding="utf-8")
    named = re.findall(r"`(tests/\w+\.py)(?:::(\w+))?`", text)
    assert len(named) > 20
    for file, name in named:
        tests = (REPOSITORY / file).read_text(encoding="utf-8")
        assert re.search(rf"^\s*(def|class) {name}\b", tests, re.MULTILINE) if name else tests, (
            f"{file}::{name}"
        )


# ---------------------------------------------------------------------------- archives


def test_a_tar_file_whose_names_take_gigabytes(tmp_path: Path) -> None:
    """gzip makes a million zeros of a thousand bytes; Python's tarfile would read all of a name at once."""
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.GNUTYPE_SPARSE):
        path = tmp_path / "x.tar.gz"
        head = tarfile.TarInfo("long")
        head.type, head.size = kind, 8 << 30
        with gzip.open(path, "wb") as file:
            file.write(head.tobuf(tarfile.GNU_FORMAT) + bytes(1 << 20))
        with pytest.raises(InputError, match=r"x.tar.gz: cannot unpack the archive: 'long'"):
            unpack([path], tmp_path / "out")


def test_what_comes_out_of_an_archive_cannot_be_run(tmp_path: Path) -> None:
    (tmp_path / "a").write_text("#!/bin/sh\n")
    (tmp_path / "a").chmod(0o6777)
    with tarfile.open(tmp_path / "x.tar", "w") as tar:
        tar.add(tmp_path / "a", "a")
    unpack([tmp_path / "x.tar"], tmp_path / "out")
    assert (tmp_path / "out" / "a").stat().st_mode & 0o7111 == 0


@pytest.mark.parametrize("encoding", ["utf-8", "utf-16"])
def test_an_xml_list_that_grows(tmp_path: Path, encoding: str) -> None:
    """Entities in entities, behind more than is looked at by most who look for a document type."""
    entities = "".join(f"<!ENTITY e{n} '{f'&e{n - 1};' * 20}'>" for n in range(1, 12))
    text = f"<?xml version='1.0'?><!--{' ' * 70_000}--><!DOCTYPE a [<!ENTITY e0 'ha'>{entities}]><a>&e11;</a>"
    (tmp_path / "list.xml").write_text(text.replace("?>", f" encoding='{encoding}'?>", 1), encoding=encoding)
    with pytest.raises(InputError, match=r"list.xml: not an XML file: it declares a document type"):
        dlib_xml.read(Request(tmp_path / "list.xml", tmp_path))


@pytest.mark.parametrize("way", ["external array", "virtual array", "external link", "photo"])
def test_an_hdf5_file_that_takes_its_arrays_from_elsewhere(tmp_path: Path, way: str) -> None:
    import h5py

    builders.make_cofw(tmp_path / "cofw")
    secret = tmp_path / "secret"
    secret.write_bytes(bytes(range(256)) * 100)
    with h5py.File(tmp_path / "other.h5", "w") as other:
        other["data"] = np.zeros((87, 2))
    with h5py.File(tmp_path / "cofw" / "COFW_train_color.mat", "r+") as file:
        if way == "photo":
            photo = file.create_dataset("stolen", (16, 16), np.uint8, external=[(str(secret), 0, 256)])
            file["IsTr"][0, 0] = photo.ref
        else:
            del file["phisTr"]
        if way == "external array":
            file.create_dataset("phisTr", (87, 2), np.float64, external=[(str(secret), 0, 87 * 2 * 8)])
        elif way == "virtual array":
            layout = h5py.VirtualLayout((87, 2), np.float64)
            layout[:] = h5py.VirtualSource(str(tmp_path / "other.h5"), "data", (87, 2))
            file.create_virtual_dataset("phisTr", layout)
        elif way == "external link":
            file["phisTr"] = h5py.ExternalLink(str(tmp_path / "other.h5"), "data")
    try:
        problems = cofw.read(Request(tmp_path / "cofw", tmp_path / "out")).problems
    except InputError as error:
        problems = [str(error)]
    assert len(problems) == 1
    assert re.search(r"COFW_train_color.mat: (takes arrays from other files|links to what is)", problems[0])


# ---------------------------------------------------------------------------- videos and networks


@pytest.fixture
def host() -> Iterator[tuple[str, list[str]]]:
    """A server's address, and what it is asked for."""
    asked: list[str] = []

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            asked.append(self.path)
            self.send_error(404)

        def log_message(self, format: str, *args: object) -> None:
            """Nothing on standard error."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()
    server.server_close()


PLAYLISTS: dict[str, Callable[[str], str]] = {
    "HLS": lambda where: f"#EXTM3U\n#EXT-X-TARGETDURATION:9\n#EXTINF:9,\n{where}\n#EXT-X-ENDLIST\n",
    "concat": lambda where: f"ffconcat version 1.0\nfile '{where}'\n",
    "SDP": lambda where: "v=0\nc=IN IP4 127.0.0.1\nm=video 9 RTP/AVP 96\na=rtpmap:96 H264/90000\n",
}


@pytest.mark.parametrize("kind", PLAYLISTS)
def test_a_video_that_leads_elsewhere(kind: str, tmp_path: Path, host: tuple[str, list[str]]) -> None:
    """FFmpeg knows kinds of files that name others, by any name; those of the machine and of hosts stay unread."""
    private = tmp_path / "private" / "a.avi"
    private.parent.mkdir()
    writer = cv2.VideoWriter(str(private), cv2.VideoWriter.fourcc(*"MJPG"), 25, (64, 64))
    writer.write(np.zeros((64, 64, 3), np.uint8))
    writer.release()
    (tmp_path / "shared").mkdir()
    for suffix in (".mp4", ".ts"):
        for where in (f"{host[0]}/a.avi", str(private), f"file://{private}", "../private/a.avi"):
            path = tmp_path / "shared" / f"clip{suffix}"
            path.write_text(PLAYLISTS[kind](where))
            with pytest.raises(InputError, match=f"clip{suffix}: a list of clips, not a clip"):
                Clip(path)
    assert host[1] == []


def test_an_onnx_file_whose_weights_lie_elsewhere(tmp_path: Path) -> None:
    onnx = pytest.importorskip("onnx")
    from fanlight.onnx_network import OnnxNetwork

    (tmp_path / "secret").write_bytes(bytes(64))
    (tmp_path / "net").mkdir()
    (tmp_path / "net" / "link").symlink_to(tmp_path / "secret")
    for where in (str(tmp_path / "secret"), "../secret", "link"):
        weight = onnx.TensorProto(name="w", data_type=1, dims=[16], data_location=onnx.TensorProto.EXTERNAL)
        for key, value in {"location": where, "offset": "0", "length": "64"}.items():
            weight.external_data.add(key=key, value=value)
        ends = [onnx.helper.make_tensor_value_info(name, 1, [16]) for name in "xy"]
        node = onnx.helper.make_node("Add", ["x", "w"], ["y"])
        graph = onnx.helper.make_graph([node], "g", ends[:1], ends[1:], [weight])
        model = onnx.helper.make_model(graph, opset_imports=[onnx.helper.make_opsetid("", 17)], ir_version=9)
        (tmp_path / "net" / "evil.onnx").write_bytes(model.SerializeToString())
        with pytest.raises(
            InputError, match=r"evil.onnx: not an ONNX file that can be run .*[Ee]xternal data"
        ):
            OnnxNetwork(tmp_path / "net" / "evil.onnx")


@pytest.mark.parametrize("read", [load_checkpoint, read_weights])
def test_weights_that_would_fill_the_memory(read: Callable[[Path], Any], tmp_path: Path) -> None:
    path = tmp_path / "bomb.ckpt"
    with (
        zipfile.ZipFile(FOLDER / "small.ckpt") as small,
        zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as bomb,
    ):
        for entry in small.infolist():
            bomb.writestr(entry.filename, small.read(entry))
        bomb.writestr("small/data/999", bytes(100 << 20))
    with pytest.raises(
        InputError, match=r"bomb.ckpt: \d+ KiB unpack to \d+ KiB, which no file of weights does"
    ):
        read(path)


def test_a_checkpoint_is_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for path in ("/dev/zero", tmp_path / "pipe", tmp_path):
        with pytest.raises(InputError, match="not a file, so not a checkpoint"):
            load_checkpoint(path)


# ---------------------------------------------------------------------------- recipes and servers


def test_a_recipe_stands_on_no_device(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "pipe")
    for base in ("/dev/zero", str(tmp_path / "pipe"), str(tmp_path)):
        (tmp_path / "r.toml").write_text(f'base = "{base}"\n')
        with pytest.raises(InputError, match=r"cannot read the recipe, the base of .*r.toml: not a file"):
            load_recipe(tmp_path / "r.toml")


def test_a_recipe_names_no_module(tmp_path: Path) -> None:
    """What finds faces, and may be a function of one's own, is said on the command line or in Python alone."""
    data = '[data]\nindex = "i.tsv"\ntrain = ["a/b"]\nval = ["c/d"]\n'
    for more in (
        'detector = "os:system"',
        '[train]\ndetector = "os:system"',
        '[model]\npreset = "os:system"',
    ):
        (tmp_path / "r.toml").write_text(f"{more}\n{data}" if more[0] != "[" else f"{data}{more}\n")
        with pytest.raises(InputError, match=r"r\.toml: cannot be used"):
            load_recipe(tmp_path / "r.toml")
    step = '[[augment.photometric]]\nname = "{}"\n'
    for name in ("os.system", "Compose", "__class__"):
        (tmp_path / "r.toml").write_text(data + step.format(name))
        with pytest.raises(InputError, match="albumentations has no transform"):
            load_recipe(tmp_path / "r.toml")
    (tmp_path / "r.toml").write_text(data + step.format("Lambda") + 'image = "os.system"\np = 1.0\n')
    with pytest.raises(InputError, match=r"Lambda: fails on .* 'str' object is not callable"):
        load_recipe(tmp_path / "r.toml")


def test_addresses_in_chains_are_refused(tmp_path: Path, host: tuple[str, list[str]]) -> None:
    """fsspec's ``reference://`` renders templates, and reads any file, as what a server sends tells it to."""
    for url in (f"reference://::{host[0]}/refs", f"simplecache::{host[0]}/p", f"zip://*::{host[0]}/p.zip"):
        with pytest.raises(InputError, match=r"a chain of addresses \(::\)"):
            remote.open_remote(url, Cache(tmp_path))
    assert host[1] == []


def test_a_full_cache_removes_only_what_was_fetched(tmp_path: Path) -> None:
    """A recipe may name any folder as its cache, and a mistaken one holds the archives of a life."""
    (tmp_path / "archives").mkdir()
    own, fetched = tmp_path / "archives" / "own.tar", tmp_path / "archives" / "fetched.tar"
    for path in (own, fetched):
        path.write_bytes(bytes(1000))
    (tmp_path / "archives" / ".fetched.tar.lock").touch()
    remote._make_room(Cache(tmp_path, gib=1e-9), 1000)
    assert own.exists()
    assert not fetched.exists()


class Endless(BaseHTTPRequestHandler):
    """Sends zeros for as long as anyone listens."""

    sent = 0

    def do_GET(self) -> None:
        self.send_response(200)
        self.end_headers()
        try:
            while True:
                self.wfile.write(bytes(1 << 20))
                type(self).sent += 1 << 20
        except OSError:
            self.close_connection = True

    def log_message(self, format: str, *args: object) -> None:
        """Nothing on standard error."""


def test_a_server_that_never_ends_is_left(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("aiohttp")
    monkeypatch.setattr(fetch, "DELAYS", ())
    monkeypatch.setattr(remote, "MAX_DESCRIPTION_BYTES", 1 << 20)
    server = ThreadingHTTPServer(("127.0.0.1", 0), Endless)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        with pytest.raises(InputError, match=r"pack.json: cannot be fetched.*more than 1048576 bytes"):
            remote.open_remote(f"http://127.0.0.1:{server.server_port}/p", Cache(tmp_path / "cache"))
    finally:
        server.shutdown()
        server.server_close()
    assert Endless.sent < 256 << 20
    assert not [path for path in (tmp_path / "cache").rglob("*") if path.is_file()]


def test_detectors_of_checkpoints_are_names_and_no_modules(tmp_path: Path) -> None:
    """A checkpoint has rules for detectors' boxes by the detectors' names: they are looked up, never imported."""
    from dataclasses import replace

    import fanlight
    from fanlight.checkpoint import save_checkpoint
    from fanlight.geometry import CropRule

    (tmp_path / "evil_module.py").write_text(f"open({str(tmp_path / 'was_run')!r}, 'w')\n")
    checkpoint = load_checkpoint(FOLDER / "small.ckpt")
    crops: dict[str, Any] = {"evil_module:find": CropRule()}
    save_checkpoint(tmp_path / "evil.ckpt", replace(checkpoint, crops=crops))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(tmp_path)
        predictor = fanlight.load("evil.ckpt")
        photo = np.zeros((80, 80, 3), np.uint8)
        predictor.predict(photo, boxes=[(10, 10, 60, 60)], crop="evil_module:find")
        predictor.predict(photo)
    assert not (tmp_path / "was_run").exists()
