"""Results files: what is saved comes back, and nothing else does."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pytest
import torch
from safetensors import safe_open
from safetensors.torch import save_file

import hesscope as hs
from hesscope.results.files import SCHEMA
from hesscope.testing import prescribed_spectrum


@pytest.fixture
def rho():
    h = prescribed_spectrum(torch.linspace(-1, 2, 64, dtype=torch.float64))
    return hs.spectral_density(h, num_probes=3, num_steps=12, seed=5, bounds=(-2.0, 3.0), keep_state=True)


def same(a, b):
    assert torch.equal(a.alpha, b.alpha)
    assert torch.equal(a.beta, b.beta)
    for name in (
        "n",
        "products",
        "status",
        "seconds",
        "memory_bytes",
        "orthogonality",
        "settings",
        "operator",
    ):
        assert getattr(a, name) == getattr(b, name)


@pytest.mark.parametrize("state", [False, True])
def test_what_is_saved_comes_back(rho, tmp_path, state):
    path = tmp_path / "rho.safetensors"
    rho.save(path, state=state)
    back = hs.load(path)
    same(rho, back)
    assert torch.equal(back.nodes, rho.nodes)
    assert (back.state is None) == (not state)
    if state:
        assert torch.equal(back.state.v, rho.state.v)
        assert torch.equal(back.state.v_prev, rho.state.v_prev)
        assert torch.equal(back.state.scalars, rho.state.scalars)
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


def test_the_description_is_json_in_the_header(rho, tmp_path):
    rho.save(str(tmp_path / "rho.safetensors"))
    with safe_open(tmp_path / "rho.safetensors", framework="pt") as file:
        description = json.loads(file.metadata()["hesscope"])
        assert sorted(file.keys()) == ["alpha", "beta"]
    assert description["schema"] == SCHEMA
    assert description["kind"] == "spectral_density"
    assert description["versions"]["hesscope"] == hs.__version__
    assert description["settings"]["seed"] == 5
    assert description["operator"]["n"] == 64


def test_saving_replaces_a_file_and_follows_a_link(rho, tmp_path):
    path, link = tmp_path / "rho.safetensors", tmp_path / "link"
    path.write_text("old")
    link.symlink_to(path)
    rho.save(link)
    assert link.is_symlink()
    same(hs.load(path), rho)


def test_a_file_has_the_permissions_that_the_umask_gives(rho, tmp_path):
    (tmp_path / "other").touch()
    rho.save(tmp_path / "rho.safetensors")
    modes = [path.stat().st_mode for path in tmp_path.iterdir()]
    assert modes[0] == modes[1]


def test_state_must_be_there_to_be_saved(tmp_path):
    rho = hs.spectral_density(hs.from_matrix(torch.eye(3)))
    with pytest.raises(ValueError, match="save: state=True needs a result that holds its state"):
        rho.save(tmp_path / "x", state=True)
    assert not list(tmp_path.iterdir())


def test_every_cut_of_a_file_is_noticed(rho, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    rho.save(whole)
    data = whole.read_bytes()
    for length in [0, 1, 7, 8, 100, len(data) // 2, len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(ValueError, match=r"load: .*cut must be a results file .* cut off or damaged"):
            hs.load(cut)


def test_every_damaged_byte_is_noticed(rho, tmp_path):
    whole, damaged = tmp_path / "whole", tmp_path / "damaged"
    rho.save(whole)
    data = bytearray(whole.read_bytes())
    header = 8 + int.from_bytes(data[:8], "little")
    for where in [*range(8, header, 5), *range(header, len(data), 31), len(data) - 1]:
        broken = data.copy()
        broken[where] ^= 0x01
        damaged.write_bytes(broken)
        try:
            back = hs.load(damaged)
        except ValueError:
            continue
        same(back, rho)  # a space between values of the header may change


def test_foreign_and_newer_files_are_named(rho, tmp_path):
    path = tmp_path / "file"
    with pytest.raises(FileNotFoundError, match="load: path must be an existing file"):
        hs.load(path)
    with pytest.raises(TypeError, match="load: path must be a str or a PathLike, got NoneType"):
        hs.load(None)
    path.write_text('{"alpha": 1}')
    with pytest.raises(ValueError, match="must be a results file of hesscope"):
        hs.load(path)
    save_file({"weight": torch.ones(2)}, path)
    with pytest.raises(ValueError, match="is a safetensors file of another program"):
        hs.load(path)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"schema": SCHEMA + 1}, r"has schema 2, newer than the 1 this version reads\. Update hesscope"),
        ({"schema": "one"}, "must name its schema as an integer, got 'one'"),
        (
            {"kind": "movie"},
            r"must hold one of \[.*'deflated_spectral_density', 'eigenpairs', .*\], got 'movie'",
        ),
        ({"status": "HAPPY"}, "lacks 'HAPPY'"),
        ({"settings": None}, "must be a complete results file"),
    ],
)
def test_descriptions_are_checked(rho, tmp_path, change, message):
    from hesscope.results.files import _checksum

    path = tmp_path / "file"
    rho.save(path)
    with safe_open(path, framework="pt") as file:
        description = json.loads(file.metadata()["hesscope"]) | change
        tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    text = json.dumps(description)
    save_file(tensors, path, metadata={"hesscope": text, "crc32": _checksum(text, tensors)})
    with pytest.raises(ValueError, match=message):
        hs.load(path)


def test_a_folder_that_is_not_there(rho, tmp_path):
    with pytest.raises(OSError, match=r"save: .*nowhere/rho could not be written"):
        rho.save(tmp_path / "nowhere" / "rho")


def test_a_failed_rename_leaves_nothing_behind(rho, tmp_path):
    (tmp_path / "rho").mkdir()
    with pytest.raises(OSError, match=r"save: .*rho could not be written"):
        rho.save(tmp_path / "rho")
    assert [p.name for p in tmp_path.iterdir()] == ["rho"]


FULL = """
import resource, signal, sys, torch, hesscope as hs
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
rho = hs.load(sys.argv[1])
resource.setrlimit(resource.RLIMIT_FSIZE, (500, 500))
try:
    rho.save(sys.argv[1])
except OSError as error:
    print(error)
"""


@pytest.mark.skipif(os.name != "posix", reason="limits the size of files")
def test_a_full_disk_leaves_the_old_file(rho, tmp_path):
    path = tmp_path / "rho.safetensors"
    rho.save(path)
    before = path.read_bytes()
    out = subprocess.run(
        [sys.executable, "-c", FULL, str(path)], capture_output=True, text=True, check=True
    ).stdout
    assert f"save: {path} could not be written; a file that was there before is intact" in out
    assert path.read_bytes() == before
    assert [p.name for p in tmp_path.iterdir()] == [path.name]
