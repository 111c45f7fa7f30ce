"""``hesscope demo``."""

from __future__ import annotations

import importlib.util

import torch

import hesscope as hs
from hesscope.cli import demo, main


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
    assert (
        capsys.readouterr().err
        == "hesscope: error: demo needs scikit-learn for its data: pip install 'hesscope[demo]'\n"
    )
