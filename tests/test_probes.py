"""probes and probe_dot: an independent Philox, sharding, statistics, rounding bounds and messages."""

from __future__ import annotations

import itertools
import math
import os
import subprocess
import sys

import mpmath
import pytest
import torch

from hesscope import _ops
from hesscope.testing import dot_bound

KINDS = ["rademacher", "gaussian"]
SIZES = [0, 1, 31, 32, 33, 127, 128, 129, 4095, 4096, 4097, 70_001]


def philox(counter, key):
    """Philox 4x32-10 in Python's integers, after Salmon et al. (2011), figure 2; counter: 4 words."""
    c, k = list(counter), list(key)
    for _ in range(10):
        p0, p1 = 0xD2511F53 * c[0], 0xCD9E8D57 * c[2]
        c = [p1 >> 32 ^ c[1] ^ k[0], p1 & 0xFFFFFFFF, p0 >> 32 ^ c[3] ^ k[1], p0 & 0xFFFFFFFF]
        k = [(k[0] + 0x9E3779B9) & 0xFFFFFFFF, (k[1] + 0xBB67AE85) & 0xFFFFFFFF]
    return c


def block(seed, probe, domain, index):
    return philox((index & 0xFFFFFFFF, index >> 32, probe, domain), (seed & 0xFFFFFFFF, seed >> 32))


def rademacher(seed, probe, index):
    word = block(seed, probe, 0, index // 128)[index % 128 // 32]
    return -1.0 if word >> (index % 32) & 1 else 1.0


def gaussian(seed, probe, index):
    """Box-Muller in 40 digits, rounded."""
    w = block(seed, probe, 1, index // 2)
    with mpmath.workdps(40):
        u1 = mpmath.mpf(((w[1] << 32 | w[0]) >> 11) + 1) / 2**53
        u2 = mpmath.mpf((w[3] << 32 | w[2]) >> 11) / 2**53
        turn = mpmath.cospi if index % 2 == 0 else mpmath.sinpi
        return float(mpmath.sqrt(-2 * mpmath.log(u1)) * turn(2 * u2))


def test_the_oracle_reproduces_the_published_known_answers():
    """Random123, kat_vectors, philox4x32 with 10 rounds."""
    ones = 0xFFFFFFFF
    assert philox([0] * 4, [0] * 2) == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]
    assert philox([ones] * 4, [ones] * 2) == [0x408F276D, 0x41C83B0E, 0xA20BC7C6, 0x6D5451FD]
    pi = [0x243F6A88, 0x85A308D3, 0x13198A2E, 0x03707344], [0xA4093822, 0x299F31D0]
    assert philox(*pi) == [0xD16CFE09, 0x94FDCCEB, 0x5001E420, 0x24126EA1]


def test_the_first_signs_are_the_bits_of_the_published_known_answer(backend, device):
    """Counter 0 and key 0 are block 0 of probe 0 of seed 0."""
    z = _ops.probes(1, 128, device=device, backend=backend)[0].tolist()
    words = [sum((z[32 * j + i] < 0) << i for i in range(32)) for j in range(4)]
    assert words == [0x6627E8D5, 0xE169C58D, 0xBC57AC4C, 0x9B00DBD8]


# A seed above 2^32, a probe with its upper bit set and an index above 2^40: every word of the counter.
@pytest.mark.parametrize(
    ("seed", "first_probe", "first_index"),
    [(0, 0, 0), (7, 3, 77), (2**63 - 1, 2**32 - 2, 2**40 + 12_345), (0x299F31D0A4093822, 2**31, 2**61 + 1)],
)
def test_signs_are_those_of_the_oracle(seed, first_probe, first_index, dtype, backend, device):
    out = torch.full((2, 403), torch.nan, dtype=dtype, device=device)[:, :400]
    got = _ops.probes(
        2, 400, seed=seed, first_probe=first_probe, first_index=first_index, out=out, backend=backend
    )
    want = [
        [rademacher(seed, probe, index) for index in range(first_index, first_index + 400)]
        for probe in (first_probe, first_probe + 1)
    ]
    assert got is out
    assert got.tolist() == want


def gaussian_bound(z):
    """Rounding of Box-Muller: log and sincos 2 ulp each, the square root halves that of log and adds half
    an ulp, as does the product: 4 ulp; 4 more where a device contracts.
    """
    return 8 * torch.finfo(torch.float64).eps * z.abs()


@pytest.mark.parametrize(
    ("seed", "first_probe", "first_index"), [(0, 0, 0), (2**63 - 1, 2**32 - 2, 2**40 + 12_345)]
)
def test_gaussians_are_those_of_the_oracle(seed, first_probe, first_index, backend, device):
    arguments = {"kind": "gaussian", "seed": seed, "first_probe": first_probe, "first_index": first_index}
    got = _ops.probes(2, 300, **arguments, dtype=torch.float64, device=device, backend=backend).cpu()
    want = torch.tensor(
        [
            [gaussian(seed, probe, index) for index in range(first_index, first_index + 300)]
            for probe in (first_probe, first_probe + 1)
        ],
        dtype=torch.float64,
    )
    assert ((got - want).abs() <= gaussian_bound(want)).all()


def test_float32_gaussians_are_the_rounded_float64_ones(backend, device):
    wide, narrow = (
        _ops.probes(3, 5001, kind="gaussian", seed=5, dtype=dtype, device=device, backend=backend)
        for dtype in (torch.float64, torch.float32)
    )
    assert torch.equal(wide.float(), narrow)


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_every_backend_gives_the_same_numbers(kind, n, dtype, backend, device):
    wide = torch.full((3, n + 5), torch.nan, dtype=dtype, device=device)
    arguments = {"kind": kind, "seed": 11, "first_probe": 2, "first_index": 1001}
    got = _ops.probes(3, n, **arguments, out=wide[:, :n], backend=backend)
    assert wide[:, n:].isnan().all(), "the padding was written"
    want = _ops.probes(3, n, **arguments, dtype=dtype, backend="reference")
    if device.type == "cuda" and kind == "gaussian":
        bound = gaussian_bound(want.double()) + torch.finfo(dtype).eps * want.double().abs()
        assert ((got.cpu().double() - want.double()).abs() <= bound).all()
    else:
        assert torch.equal(got.cpu(), want)


@pytest.mark.parametrize("kind", KINDS)
def test_shards_of_any_length_make_the_whole(kind, dtype, backend, device):
    start, n = 2**41 + 3, 20_000
    whole = _ops.probes(
        2, n, kind=kind, seed=3, first_index=start, dtype=dtype, device=device, backend=backend
    )
    cuts = [0, 1, 2, 33, 160, 417, 4512, 8609, 19_999, n]
    shards = [
        _ops.probes(
            2,
            to - begin,
            kind=kind,
            seed=3,
            first_index=start + begin,
            dtype=dtype,
            device=device,
            backend=backend,
        )
        for begin, to in itertools.pairwise(cuts)
    ]
    assert torch.equal(torch.cat(shards, dim=1), whole)


@pytest.mark.parametrize("kind", KINDS)
def test_moments_are_those_of_the_distribution(kind):
    """Five standard errors, from the exact variance of each sample moment; K n = 2 million numbers."""
    rows, n = 16, 125_000
    z = _ops.probes(rows, n, kind=kind, seed=1, dtype=torch.float64)
    even = {"rademacher": [1, 1, 1, 1], "gaussian": [1, 3, 15, 105]}[kind]  # E z^2, z^4, z^6, z^8
    slack = 64 * torch.finfo(torch.float64).eps
    for power, mean, second in ((1, 0, even[0]), (2, even[0], even[1]), (4, even[1], even[3])):
        error = abs((z**power).mean().item() - mean)
        assert error <= 5 * math.sqrt((second - mean**2) / (rows * n)) + slack, power


@pytest.mark.parametrize("kind", KINDS)
def test_probes_are_uncorrelated_with_each_other_and_with_shifts_of_themselves(kind):
    """A correlation of independent unit-variance numbers has variance 1/n; 5.5 standard errors for the
    276 pairs of rows, and for the lags at which a block, a word or a pair would show.
    """
    n = 100_000
    z = _ops.probes(24, n, kind=kind, seed=2, dtype=torch.float64)
    bound = 5.5 / math.sqrt(n)
    pairs = (z @ z.T / n).tril(-1)
    assert pairs.abs().max() <= bound
    for lag in (1, 2, 4, 32, 64, 128, 4096):
        assert ((z[:, lag:] * z[:, :-lag]).mean(1).abs() <= bound * math.sqrt(n / (n - lag))).all(), lag


@pytest.mark.parametrize("kind", KINDS)
def test_seed_probe_and_index_all_matter(kind):
    base = {"seed": 1, "first_probe": 1, "first_index": 128}
    first = _ops.probes(1, 256, kind=kind, **base)
    for change in ({"seed": 2}, {"seed": 1 + 2**32}, {"first_probe": 2}, {"first_index": 128 + 2**39}):
        assert not torch.equal(first, _ops.probes(1, 256, kind=kind, **(base | change))), change


@pytest.mark.parametrize("n", SIZES)
@pytest.mark.parametrize("kind", KINDS)
def test_probe_dot_is_within_the_rounding_bound(kind, n, dtype, backend, device, rng):
    w = torch.randn(3, n + 3, generator=rng, dtype=torch.float64).to(device, dtype)[:, :n]
    arguments = {"kind": kind, "seed": 4, "first_probe": 9, "first_index": 2**40 + 131}
    z = _ops.probes(3, n, **arguments, dtype=dtype, device=device, backend=backend)
    got = _ops.probe_dot(w, **arguments, backend=backend)
    assert got.dtype == torch.float64
    assert ((got - (z.double() * w.double()).sum(-1)).abs() <= dot_bound(z, w)).all()


@pytest.mark.parametrize("kind", KINDS)
def test_probe_dot_has_the_bits_of_reading_the_probe(kind, dtype, rng):
    w = torch.randn(4, 50_003, generator=rng, dtype=torch.float64).to(dtype)
    z = _ops.probes(4, 50_003, kind=kind, seed=6, first_index=77, dtype=dtype)
    read = _ops.multi_dot(z[:, None], w)[:, 0]
    assert torch.equal(_ops.probe_dot(w, kind=kind, seed=6, first_index=77), read)


@pytest.mark.parametrize("kind", KINDS)
def test_a_row_does_not_depend_on_its_batch_or_on_the_threads(kind, dtype, backend, device, rng):
    n = 140_001
    w = torch.randn(4, n, generator=rng, dtype=torch.float64).to(device, dtype)
    make = {"kind": kind, "seed": 8, "dtype": dtype, "device": device, "backend": backend}
    dot = {"kind": kind, "seed": 8, "backend": backend}
    threads = torch.get_num_threads()
    try:
        torch.set_num_threads(2)
        z, c = _ops.probes(4, n, **make), _ops.probe_dot(w, **dot)
        torch.set_num_threads(1)
        alone = [_ops.probes(1, n, first_probe=r, **make) for r in range(4)]
        dots = [_ops.probe_dot(w[r : r + 1], first_probe=r, **dot) for r in range(4)]
    finally:
        torch.set_num_threads(threads)
    assert torch.equal(z, torch.cat(alone))
    assert torch.equal(c, torch.cat(dots))


def test_probe_dot_lets_nan_and_inf_through(backend, device):
    w = torch.ones(3, 5000, device=device)
    w[0, 4999], w[1, 0] = torch.nan, torch.inf
    got = _ops.probe_dot(w, backend=backend)
    assert got[0].isnan()
    assert got[1].isinf()
    assert got[2].isfinite()


LEVEL_SCRIPT = """
import hashlib, torch
from hesscope import _core, _ops
digest = hashlib.sha256()
for kind in ("rademacher", "gaussian"):
    for dtype in (torch.float32, torch.float64):
        z = _ops.probes(3, 9001, kind=kind, seed=1, first_index=77, dtype=dtype)
        c = _ops.probe_dot(z.sin(), kind=kind, seed=2, first_index=5)
        digest.update(z.numpy().tobytes() + c.numpy().tobytes())
print(_core.build_info()["cpu_level"], digest.hexdigest())
"""


@pytest.mark.slow
def test_every_instruction_set_gives_the_same_bits():
    def run(level):
        environment = os.environ | {"HESSCOPE_CPU_LEVEL": level, "OMP_NUM_THREADS": "1"}
        command = [sys.executable, "-c", LEVEL_SCRIPT]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
        return done.stdout.split()

    levels, digests = zip(*(run(level) for level in "234"), strict=True)
    assert levels[0] == "x86-64-v2"
    assert len(set(digests)) == 1


def test_messages_name_the_arguments(backend, device):
    ones = lambda *shape, dtype=torch.float32: torch.ones(*shape, dtype=dtype, device=device)  # noqa: E731
    run = lambda **options: _ops.probes(2, 3, device=device, backend=backend, **options)  # noqa: E731
    with pytest.raises(ValueError, match=r"probes: seed must be in \[0, 2\*\*63\), got -1"):
        run(seed=-1)
    with pytest.raises(ValueError, match=r"probes: kind must be 'rademacher' or 'gaussian', got 'normal'"):
        run(kind="normal")
    with pytest.raises(ValueError, match=r"probes: first_probe must be in \[0, 2\^32 - K = 4294967294\]"):
        run(first_probe=2**32 - 1)
    with pytest.raises(ValueError, match=r"probes: first_index must be in \[0, 2\^62 - n = "):
        run(first_index=2**62)
    with pytest.raises(TypeError, match=r"probes: out must be float32 or float64, got out \[2, 3\] int32"):
        run(dtype=torch.int32)
    with pytest.raises(ValueError, match=r"probes: out must have shape \[2, 3\], got \[3, 2\]"):
        run(out=ones(3, 2))
    with pytest.raises(ValueError, match=r"probes: rows of out must not overlap"):
        run(out=ones(1, 3).expand(2, 3))
    with pytest.raises(ValueError, match=r"probe_dot: w must have 2 dimensions"):
        _ops.probe_dot(ones(3), backend=backend)
    with pytest.raises(ValueError, match=r"probe_dot: w must have contiguous rows"):
        _ops.probe_dot(ones(3, 6)[:, ::2], backend=backend)
    with pytest.raises(TypeError, match=r"probe_dot: w must be float32 or float64, got w \[1, 3\] int32"):
        _ops.probe_dot(ones(1, 3, dtype=torch.int32), backend=backend)
    with pytest.raises(ValueError, match=r"probe_dot: first_probe must be in \[0, 2\^32 - K"):
        _ops.probe_dot(ones(2, 3), first_probe=2**32 - 1, backend=backend)


def test_torch_operator_contract(device):
    out = torch.zeros(2, 5, device=device)
    torch.library.opcheck(torch.ops.hesscope.probes, (out, "gaussian", 1, 2, 3))
    torch.library.opcheck(torch.ops.hesscope.probe_dot, (out, "rademacher", 1, 2, 3))
