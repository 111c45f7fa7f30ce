"""An operator that fails in the middle of a run: the error surfaces, and nothing computed is lost."""

from __future__ import annotations

import pytest
import torch

import hesscope as hs
from hesscope.testing import prescribed_spectrum

SPECTRUM = torch.linspace(-1, 2, 128, dtype=torch.float64)


class Failing:
    """Products with a known operator; call number ``at`` raises."""

    def __init__(self, at):
        self.operator, self.at, self.calls = prescribed_spectrum(SPECTRUM), at, 0

    def __call__(self, vectors):
        self.calls += 1
        if self.calls == self.at:
            msg = "no memory for the graph"
            raise MemoryError(msg)
        return self.operator.rows(vectors)


def failing(at):
    return hs.from_function(Failing(at), 128, dtype=torch.float64, batched=True, check_symmetric=False)


@pytest.mark.parametrize("reorthogonalize", ["none", "full"])
def test_the_steps_before_are_in_the_error(reorthogonalize):
    with pytest.raises(hs.RunFailed, match="failed in step 12: MemoryError: no memory") as caught:
        hs.spectral_density(failing(12), num_probes=3, num_steps=40, reorthogonalize=reorthogonalize)
    partial = caught.value.partial
    want = hs.spectral_density(
        prescribed_spectrum(SPECTRUM), num_probes=3, num_steps=11, reorthogonalize=reorthogonalize
    )
    assert partial.status is hs.Status.OPERATOR_FAILED
    assert torch.equal(partial.alpha, want.alpha)
    assert torch.equal(partial.beta, want.beta)
    assert isinstance(caught.value.__cause__, MemoryError)


def test_they_can_be_saved_and_resumed(tmp_path):
    with pytest.raises(hs.RunFailed) as caught:
        hs.spectral_density(failing(12), num_probes=2, num_steps=40, keep_state=True)
    caught.value.partial.save(tmp_path / "partial.safetensors", state=True)
    whole = hs.resume(hs.load(tmp_path / "partial.safetensors"), prescribed_spectrum(SPECTRUM))
    want = hs.spectral_density(prescribed_spectrum(SPECTRUM), num_probes=2, num_steps=40)
    assert torch.equal(whole.alpha, want.alpha)
    assert whole.status is hs.Status.COMPLETE


def test_a_first_step_that_fails_is_the_users_own_error():
    with pytest.raises(MemoryError, match="no memory for the graph"):
        hs.spectral_density(failing(1), num_steps=5)


# Product 1 of resume is its check of the operator, products 2, 3, ... are steps 21, 22, ... or new probes.
@pytest.mark.parametrize(
    ("sizes", "fails_at", "kept"), [({"num_probes": 4}, 3, 20), ({"num_steps": 25}, 5, 23)]
)
def test_resuming_keeps_what_there_is(sizes, fails_at, kept):
    before = hs.spectral_density(prescribed_spectrum(SPECTRUM), num_probes=2, num_steps=20, keep_state=True)
    with pytest.raises(hs.RunFailed) as caught:
        hs.resume(before, failing(fails_at), **sizes)
    partial = caught.value.partial
    assert partial.num_steps == kept
    assert partial.num_probes == 2
    assert torch.equal(partial.alpha[:, :20], before.alpha)


def test_the_steps_before_a_change_of_the_weights_are_kept():
    model = torch.nn.Linear(6, 3)
    data = (torch.randn(20, 6), torch.randint(3, (20,)))
    h = hs.hessian(hs.Objective(model, torch.nn.CrossEntropyLoss(), data))
    rows, calls = h._rows_into, 0

    def stepping(vectors, out):
        nonlocal calls
        calls += 1
        if calls == 11:
            with torch.no_grad():
                model.weight.add_(0.1)
        rows(vectors, out)

    h._rows_into = stepping
    with pytest.raises(hs.RunFailed, match="operator must not change during a run") as caught:
        hs.spectral_density(h, num_probes=2, num_steps=20)
    assert caught.value.partial.num_steps == 8
    assert caught.value.partial.alpha.isfinite().all()
