"""The checksum of weights and data, kept between products: it must see what a fresh one sees."""

from __future__ import annotations

import pytest
import torch

from hesscope.objective.checksum import Checksum, checksum


def tensors() -> dict[str, torch.Tensor]:
    base = torch.arange(101.0)
    return {
        "words": torch.randn(3, 6),
        "odd": torch.randn(7),
        "one": torch.randn(1),
        "scalar": torch.randn(()),
        "unaligned": base[1:8],
        "half": torch.randn(6).half(),
        "bfloat16": torch.randn(5).bfloat16(),
        "bool": torch.tensor([True, False, True]),
        "transposed": torch.randn(4, 6).T,
        "large": torch.randn(200, 333),
        "large_unaligned": torch.randn(201, 333)[1:],
        "large_transposed": torch.randn(201, 333).T,
        "complex": torch.randn(3, dtype=torch.complex64),
        "empty": torch.empty(0),
    }


@pytest.mark.parametrize("name", [name for name in tensors() if name != "empty"])
@pytest.mark.parametrize("last", [False, True])
def test_a_kept_checksum_sees_every_write(name, last):
    watched = tensors()
    kept = Checksum()
    before = kept(list(watched.values()))
    assert before == kept(list(watched.values())) == checksum(watched.values())
    tensor = watched[name]
    entry = (size - 1 if last else 0 for size in tensor.shape)
    changed = tensor.data[tuple(entry)]  # writes through .data pass by the version counter
    old = changed.clone()
    changed.copy_(~old if old.dtype == torch.bool else old + 1)
    assert kept(list(watched.values())) == checksum(watched.values()) != before
    changed.copy_(old)
    assert kept(list(watched.values())) == before


def test_bytes_of_an_entry_that_change_places_count():
    """1 and 256 have the same sum of bytes."""
    for padding in (0, 1):
        tensor = torch.ones(3 + padding, dtype=torch.int32)[padding:]
        before = checksum([tensor])
        tensor[2] = 256
        assert checksum([tensor]) != before


def test_a_kept_checksum_follows_memory_that_is_replaced():
    parameter = torch.nn.Parameter(torch.randn(3, 6))
    kept = Checksum()
    kept([parameter])
    parameter.data = torch.randn(3, 6)
    assert kept([parameter]) == checksum([parameter])
    parameter.data = torch.randn(6, 6)[:, ::2]
    assert kept([parameter]) == checksum([parameter])
