"""The command: what it prints, what it writes, and how it fails."""

from __future__ import annotations

import importlib.util
import io
import os
import re
import subprocess
import sys
from pathlib import Path

import pytest
import torch

import hesscope as hs
from hesscope.cli import console, demo, main

PROBLEM = """
import signal

import torch
from torch import nn

import hesscope as hs

torch.manual_seed(0)
model = nn.Linear(3, 2)
objective = hs.Objective(model, nn.MSELoss(), (torch.randn(20, 3), torch.randn(20, 2)))
eigenvalues = torch.linspace(-1, 2, 40)
calls = 0


def operator():
    return hs.from_function(lambda v: eigenvalues * v, 40, batched=True)


def interrupted():
    def product(v):
        global calls
        calls += 1
        if calls == 3:
            signal.raise_signal(signal.SIGINT)
        return eigenvalues * v

    return hs.from_function(product, 40, batched=True)


def turns_bad():
    def product(v):
        global calls
        calls += 1
        return eigenvalues * v if calls < 4 else v * float("nan")

    return hs.from_function(product, 40, batched=True)


def broken():
    return 1 / 0


def stops():
    raise KeyboardInterrupt


def wrong_loss():
    return hs.Objective(model, lambda model, batch: model(batch), torch.randn(20, 3))


number = 3
"""


@pytest.fixture
def problem(tmp_path) -> str:
    (tmp_path / "problem.py").write_text(PROBLEM)
    return str(tmp_path / "problem.py")


def density(problem: str, name: str, folder: Path, *more: str) -> int:
    return main(["density", f"{problem}:{name}", "--quiet", "--output", str(folder), *more])


def error_line(capsys) -> str:
    """The one line on stderr."""
    captured = capsys.readouterr()
    assert captured.err.count("\n") == 1
    assert captured.err.startswith("hesscope: error: ")
    return captured.err


def test_the_demo_prints_a_table_and_two_sentences_and_writes_two_files(tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["demo", "--probes", "3", "--steps", "12", "--seed", "1"]) == 0
    out, err = capsys.readouterr()
    for words in ("6,570 parameters", "1,797 digits", "largest eigenvalue", "trace", "negative share"):
        assert words in out
    assert "2/λmax = " in out
    assert "100%" in err  # the progress bar
    rho = hs.load(tmp_path / "hesscope-demo" / "spectrum.safetensors")
    assert (rho.n, rho.num_probes, rho.num_steps, rho.seed, rho.products) == (6570, 3, 12, 1, 36)
    assert (tmp_path / "hesscope-demo" / "spectrum.png").read_bytes().startswith(b"\x89PNG")


def test_training_for_the_demo_is_repeatable_and_leaves_the_generator_alone():
    inputs, labels = demo.digits()
    assert inputs.shape == (1797, 64)
    state = torch.random.get_rng_state()
    models = [demo.train(inputs, labels, seed=seed, steps=3) for seed in (0, 0, 1)]
    assert torch.equal(torch.random.get_rng_state(), state)
    first, again, other = ([p.detach() for p in model.parameters()] for model in models)
    assert all(torch.equal(a, b) for a, b in zip(first, again, strict=True))
    assert not torch.equal(first[0], other[0])


def test_training_for_the_demo_learns():
    inputs, labels = demo.digits()
    model = demo.train(inputs, labels, seed=0, steps=150)
    assert float((model(inputs).argmax(dim=1) == labels).double().mean()) > 0.8


def test_the_demo_without_scikit_learn_says_what_to_install(tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None if name == "sklearn" else found(name))
    assert main(["demo", "--output", str(tmp_path)]) == 2
    assert "pip install 'hesscope[demo]'" in error_line(capsys)


@pytest.mark.parametrize(("name", "n"), [("objective", 8), ("operator", 40)])
def test_density_takes_objects_and_functions(name, n, problem, tmp_path, capsys):
    assert density(problem, name, tmp_path / "out", "--probes", "2", "--steps", "5") == 0
    assert f"{n}\n" in capsys.readouterr().out
    rho = hs.load(tmp_path / "out" / "spectrum.safetensors")
    assert rho.n == n
    assert rho.num_probes == 2
    assert (tmp_path / "out" / "spectrum.png").exists()


def test_density_measures_what_the_operator_is(problem, tmp_path):
    assert density(problem, "operator", tmp_path, "--steps", "40", "--reorthogonalize", "full") == 0
    rho = hs.load(tmp_path / "spectrum.safetensors")
    assert rho.settings["reorthogonalize"] == "full"
    eigenvalues = torch.linspace(-1, 2, 40).double()
    # float32 vectors: a Ritz value is off by a few roundings of the largest eigenvalue for every step.
    allowed = 40 * rho.rounding
    assert bool(((rho.nodes[0] - eigenvalues).abs() <= allowed).all())


def test_a_run_can_be_resumed_to_more_probes_and_steps(problem, tmp_path):
    assert density(problem, "operator", tmp_path / "a", "--probes", "2", "--steps", "4", "--state") == 0
    file = str(tmp_path / "a" / "spectrum.safetensors")
    assert (
        density(problem, "operator", tmp_path / "b", "--resume", file, "--probes", "3", "--steps", "6") == 0
    )
    assert density(problem, "operator", tmp_path / "c", "--probes", "3", "--steps", "6") == 0
    resumed, fresh = (hs.load(tmp_path / name / "spectrum.safetensors") for name in "bc")
    assert torch.equal(resumed.alpha, fresh.alpha)
    assert torch.equal(resumed.beta, fresh.beta)


def test_ctrl_c_keeps_what_is_done(problem, tmp_path, capsys):
    assert density(problem, "interrupted", tmp_path, "--probes", "2", "--steps", "20") == 130
    out, err = capsys.readouterr()
    assert err.startswith("hesscope: warning: spectral_density: Stopped by the user.")
    assert err.count("\n") == 1
    rho = hs.load(tmp_path / "spectrum.safetensors")
    assert rho.status is hs.Status.INTERRUPTED
    assert 0 < rho.num_steps < 20
    assert f"2 probes × {rho.num_steps} step" in out
    file = str(tmp_path / "spectrum.safetensors")
    assert density(problem, "operator", tmp_path, "--resume", file) == 0
    assert hs.load(file).num_steps == 20


def test_products_that_turn_nan_are_reported_and_the_rest_is_kept(problem, tmp_path, capsys):
    assert density(problem, "turns_bad", tmp_path, "--probes", "2", "--steps", "20") == 1
    assert "NaN or inf" in capsys.readouterr().err
    assert 0 < hs.load(tmp_path / "spectrum.safetensors").num_steps < 20


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("missing", "problem.py must define 'missing', but does not; it defines objective"),
        ("number", "number in problem.py must be a hesscope.Objective, .* got int"),
        ("PROBLEM TEXT", "PROBLEM must name an object in a file, got '.*PROBLEM TEXT'; write FILE.py:NAME"),
        ("broken", r"problem.py, line \d+: broken\(\) failed: ZeroDivisionError: division by zero"),
        ("wrong_loss", "loss"),
    ],
)
def test_a_wrong_problem_is_one_line_and_exit_code_2(name, message, problem, tmp_path, capsys):
    assert density(problem, name, tmp_path / "out") == 2
    line = error_line(capsys)
    assert re.search(message, line), line
    assert not (tmp_path / "out" / "spectrum.safetensors").exists()


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("x = 1\nraise ValueError('no data')\n", "problem.py, line 2: the file failed: ValueError: no data"),
        ("x = (\n", "problem.py, line 1: the file failed: SyntaxError"),
        ("import sys\nsys.exit('bye')\n", "problem.py, line 2: the file failed: SystemExit: bye"),
        ("import no_such_module\n", "problem.py, line 1: the file failed: ModuleNotFoundError"),
    ],
)
def test_a_file_that_fails_is_one_line_with_its_place(text, message, tmp_path, capsys):
    (tmp_path / "problem.py").write_text(text)
    assert density(str(tmp_path / "problem.py"), "objective", tmp_path / "out") == 2
    assert message in error_line(capsys)


def test_a_file_that_is_not_there_is_named(tmp_path, capsys):
    assert density(str(tmp_path / "nothing.py"), "objective", tmp_path / "out") == 2
    assert "PROBLEM must name a file that exists" in error_line(capsys)


def test_a_problem_may_import_its_neighbours(tmp_path):
    (tmp_path / "neighbour.py").write_text(PROBLEM)
    (tmp_path / "problem.py").write_text("from neighbour import operator\n")
    before = list(sys.path)
    assert density(str(tmp_path / "problem.py"), "operator", tmp_path / "out", "--steps", "3") == 0
    assert sys.path == before


def test_ctrl_c_in_the_users_file_ends_the_command(problem, tmp_path, capsys):
    assert density(problem, "stops", tmp_path) == 130
    assert "stopped" in capsys.readouterr().err


def test_the_traceback_is_there_for_who_asks(problem, tmp_path):
    with pytest.raises(ZeroDivisionError):
        density(problem, "broken", tmp_path, "--traceback")


def test_the_output_is_checked_before_the_run(problem, tmp_path, capsys):
    (tmp_path / "file").write_text("")
    assert density(problem, "operator", tmp_path / "file") == 2
    assert "--output must be a folder that can be written" in error_line(capsys)


def test_a_full_disk_loses_nothing(problem, tmp_path, capsys, monkeypatch):
    save = hs.SpectralDensity.save

    def fails(rho, path, *, state=False):
        if Path(path).parent == tmp_path / "full":
            raise OSError(28, "No space left on device")
        save(rho, path, state=state)

    monkeypatch.setattr(hs.SpectralDensity, "save", fails)
    assert density(problem, "operator", tmp_path / "full", "--steps", "3") == 0
    out, err = capsys.readouterr()
    assert "No space left on device" in err
    path = Path(next(line for line in out.splitlines() if line.startswith("results")).split()[1])
    assert hs.load(path).num_steps == 3
    path.unlink()
    path.parent.rmdir()


def test_no_matplotlib_costs_only_the_picture(problem, tmp_path, capsys, monkeypatch):
    found = importlib.util.find_spec
    monkeypatch.setattr(
        importlib.util, "find_spec", lambda name: None if name == "matplotlib" else found(name)
    )
    assert density(problem, "operator", tmp_path, "--steps", "3") == 0
    assert "no picture: plot: needs matplotlib" in capsys.readouterr().err
    assert hs.load(tmp_path / "spectrum.safetensors").num_steps == 3


def test_a_file_to_resume_must_be_one(problem, tmp_path, capsys):
    assert density(problem, "operator", tmp_path, "--resume", problem) == 2
    assert "problem.py" in error_line(capsys)
    assert density(problem, "operator", tmp_path, "--resume", problem, "--seed", "1") == 2
    assert "--seed must not be given with --resume" in error_line(capsys)


@pytest.mark.parametrize("option", [["--probes", "0"], ["--steps", "x"], ["--seed", "-1"]])
def test_wrong_numbers_are_refused_with_exit_code_2(option, capsys):
    with pytest.raises(SystemExit) as error:
        main(["demo", *option])
    assert error.value.code == 2
    assert option[0] in capsys.readouterr().err


def test_info_names_versions_backends_and_devices(capsys):
    assert main(["info"]) == 0
    out = capsys.readouterr().out
    for words in (
        hs.__version__,
        torch.__version__,
        "python",
        "compiler",
        "CPU backend",
        "CUDA backend",
        "cpu",
    ):
        assert words in out


def test_a_terminal_that_lacks_a_character_does_not_end_the_command(monkeypatch):
    raw = io.BytesIO()
    monkeypatch.setattr(sys, "stdout", io.TextIOWrapper(raw, encoding="ascii"))
    console.tolerate_narrow_encodings()
    console.say("2/λmax ± 1")
    assert raw.getvalue() == b"2/?max ? 1\n"


def test_the_command_runs_as_a_module():
    environment = os.environ | {"PYTHONPATH": str(Path(hs.__file__).parents[1])}
    command = [sys.executable, "-m", "hesscope", "--version"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == f"hesscope {hs.__version__}\n"
