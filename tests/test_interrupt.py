"""Ctrl-C: the first one returns what is done, the second one raises, and handlers are restored."""

from __future__ import annotations

import signal
import threading

import pytest
import torch

import hesscope as hs
from hesscope.krylov.interrupt import deferred_interrupt
from hesscope.testing import prescribed_spectrum

SPECTRUM = torch.linspace(-1, 2, 128, dtype=torch.float64)


@pytest.fixture(autouse=True)
def handler_is_restored():
    before = signal.getsignal(signal.SIGINT)
    yield
    assert signal.getsignal(signal.SIGINT) is before


def interrupting(at, *, times=1):
    """An operator whose product number ``at`` is hit by Ctrl-C."""
    h, calls = prescribed_spectrum(SPECTRUM), 0

    def f(v):
        nonlocal calls
        calls += 1
        if calls == at:
            for _ in range(times):
                signal.raise_signal(signal.SIGINT)
        return h.rows(v)

    return hs.from_function(f, 128, dtype=torch.float64, batched=True, check_symmetric=False)


def test_the_first_returns_what_is_done():
    with pytest.warns(RuntimeWarning, match=r"Stopped by the user\..* Returned: 3 probes, 11 steps"):
        rho = hs.spectral_density(interrupting(11), num_probes=3, num_steps=40, keep_state=True)
    assert rho.status is hs.Status.INTERRUPTED
    assert rho.products == 33
    want = hs.spectral_density(prescribed_spectrum(SPECTRUM), num_probes=3, num_steps=11)
    assert torch.equal(rho.alpha, want.alpha)
    assert torch.equal(rho.beta, want.beta)
    whole = hs.resume(rho, prescribed_spectrum(SPECTRUM))
    assert whole.status is hs.Status.COMPLETE
    assert torch.equal(
        whole.alpha, hs.spectral_density(prescribed_spectrum(SPECTRUM), num_probes=3, num_steps=40).alpha
    )


def test_the_second_raises():
    with pytest.raises(KeyboardInterrupt):
        hs.spectral_density(interrupting(5, times=2), num_steps=40)


@pytest.mark.parametrize("stored", [False, True])
def test_an_interrupted_resume_keeps_what_was_there(stored):
    h = prescribed_spectrum(SPECTRUM)
    rho = hs.spectral_density(h, num_probes=2, num_steps=20, keep_state=stored)
    with pytest.warns() as caught:
        got = hs.resume(rho, interrupting(8), num_steps=40)  # the first product is the check
    assert got.status is hs.Status.INTERRUPTED
    assert got.num_steps == (27 if stored else 20)
    assert torch.equal(got.alpha[:, :20], rho.alpha)
    assert any("Stopped by the user" in str(w.message) for w in caught)
    with pytest.warns(RuntimeWarning, match="Stopped by the user"):
        got = hs.resume(rho, interrupting(8), num_probes=5)
    assert torch.equal(got.alpha, rho.alpha)
    whole = hs.resume(got, h)
    assert torch.equal(whole.alpha, hs.spectral_density(h, num_probes=5, num_steps=20).alpha)


def test_other_threads_leave_signals_alone():
    results = []

    def work():
        results.append(hs.spectral_density(prescribed_spectrum(SPECTRUM), num_steps=10))

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    assert results[0].status is hs.Status.COMPLETE


def test_a_handler_of_the_program_gets_the_second():
    seen = []

    def own(signum, frame):
        seen.append(signum)

    before = signal.signal(signal.SIGINT, own)
    try:
        with deferred_interrupt() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert interruption.requested
            assert not seen
            signal.raise_signal(signal.SIGINT)
            assert seen == [signal.SIGINT]
        assert signal.getsignal(signal.SIGINT) is own
    finally:
        signal.signal(signal.SIGINT, before)


def test_an_ignored_signal_stays_ignored():
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with deferred_interrupt() as interruption:
            signal.raise_signal(signal.SIGINT)
            assert not interruption.requested
    finally:
        signal.signal(signal.SIGINT, before)
