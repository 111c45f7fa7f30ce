"""Rows of K bases away from the device: in the memory of the host, or in a file."""

from __future__ import annotations

import errno
import os
import tempfile
from abc import ABC, abstractmethod

import torch
from torch import Tensor

from hesscope import _ops
from hesscope.krylov.recurrence import aligned_rows, squared_norms
from hesscope.krylov.rows import COLUMNS, combine, gram_defect

CHUNK_BYTES = 2**24  # brought near at a time, at least one row and one strip of columns
_STRIP = 2**12  # columns, at least: a slab, in which the core sums
_MAXIMUM_IO = 2**30  # bytes a call: Linux moves at most 2 GB


def chunk_bytes(capacity: int, n: int, itemsize: int) -> int:
    """Return what a chunk takes on the device: whole rows, or a strip of all rows."""
    return max(min(CHUNK_BYTES, capacity * n * itemsize), n * itemsize, capacity * _STRIP * itemsize)


class StorageError(OSError):
    """The storage of a basis failed; what was computed before is valid."""


class FarRows(ABC):
    """Rows that are brought to the device in chunks.

    Dot products bring whole rows, everything else strips of columns: so sums keep their order, and the bits
    are those of :class:`~hesscope.krylov.rows.MemoryRows`. Every projection moves the basis once.
    """

    exact = True

    def __init__(self, k: int, capacity: int, n: int, *, dtype: torch.dtype, device: torch.device) -> None:
        self.k, self.capacity, self.n, self.dtype, self.device = k, capacity, n, dtype, device

    @abstractmethod
    def load(self, b: int, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """Return a part of basis b on the device."""

    @abstractmethod
    def store(self, b: int, row: int, begin: int, part: Tensor) -> None:
        """Keep ``part [count]``, of the device, at column ``begin`` of a row."""

    @abstractmethod
    def close(self) -> None:
        """Give back what the storage holds."""

    def put(self, start: int, rows: Tensor, *, scale: Tensor | None = None) -> None:
        """Store rows."""
        for i, row in enumerate(rows):
            b, at = (0, start + i) if self.k == 1 else (i, start)
            if scale is None:
                self.store(b, at, 0, row)
                continue
            for begin in range(0, self.n, COLUMNS):
                part = (row[begin : begin + COLUMNS] * scale[i : i + 1]).to(self.dtype)
                self.store(b, at, begin, part)

    def get(self, start: int, stop: int) -> Tensor:
        """Return rows."""
        out = aligned_rows(stop - start, self.n, dtype=self.dtype, device=self.device)
        for first, last in self._row_chunks(start, stop):
            out[first - start : last - start] = self.load(0, (first, last), (0, self.n))
        return out

    def dot(self, w: Tensor, stop: int, *, start: int = 0) -> Tensor:
        """Return coefficients."""
        out = torch.zeros(w.shape[0], stop - start, dtype=torch.float64, device=w.device)
        for b in range(self.k):
            mine = slice(None) if self.k == 1 else slice(b, b + 1)
            vectors = w[mine]
            for first, last in self._row_chunks(start, stop):
                chunk = self.load(b, (first, last), (0, self.n))
                shared = chunk.expand(vectors.shape[0], -1, -1)
                out[mine, first - start : last - start] = _ops.multi_dot(shared, vectors)
        return out

    def axpy(self, c: Tensor, w: Tensor, *, start: int = 0) -> None:
        """Subtract a combination."""
        stop = start + c.shape[1]
        for b in range(self.k):
            mine = slice(None) if self.k == 1 else slice(b, b + 1)
            coefficients = c[mine].contiguous()
            for columns in self._strips(stop - start):
                chunk = self.load(b, (start, stop), columns).expand(coefficients.shape[0], -1, -1)
                _ops.multi_axpy(chunk, coefficients, w[mine, slice(*columns)], scale=-1.0)

    def extend(self, j: int, v: Tensor, w: Tensor, before: Tensor, after: Tensor) -> Tensor:
        """Write row j and the vectors after it, and project those: one reading, strip by strip."""
        out = torch.zeros(after.shape, dtype=torch.float64, device=v.device)
        for b in range(self.k):
            one = slice(b, b + 1)
            for begin, end in self._strips(j + 1):
                columns = slice(begin, end)
                chunk = torch.empty(1, j + 1, end - begin, dtype=self.dtype, device=self.device)
                chunk[0, :j] = self.load(b, (0, j), (begin, end))
                _ops.extend_basis(
                    chunk, v[one, columns], w[one, columns], before[one], after[one], d=out[one]
                )
                self.store(b, j, begin, chunk[0, j])
        return out

    def combine(self, coefficients: Tensor, out: Tensor | None) -> None:
        """Combine rows, a strip of columns at a time."""
        count, m = coefficients.shape
        for begin, end in self._strips(m):
            chunk = self.load(0, (0, m), (begin, end))
            if out is not None:
                combine(coefficients, chunk, out=out[:, begin:end])
                continue
            combine(coefficients, chunk, out=chunk[:count])
            for i in range(count):
                self.store(0, i, begin, chunk[i])

    def normalize(self, count: int) -> None:
        """Scale the first rows to norm 1."""
        for i in range(count):
            row = self.get(i, i + 1)
            row /= squared_norms(row).sqrt().to(row.dtype)[:, None]
            self.put(i, row)

    def defect(self, length: int) -> float:
        """Measure the orthogonality: one reading, summed strip by strip."""
        worst = 0.0
        for b in range(self.k):
            total = torch.zeros(length, length, dtype=torch.float64, device=self.device)
            for columns in self._strips(length):
                total += _ops.gram(self.load(b, (0, length), columns))
            worst = max(worst, gram_defect(total))
        return worst

    def _row_chunks(self, start: int, stop: int) -> list[tuple[int, int]]:
        step = max(CHUNK_BYTES // (self.n * self.dtype.itemsize), 1)
        return [(first, min(first + step, stop)) for first in range(start, stop, step)]

    def _strips(self, rows: int) -> list[tuple[int, int]]:
        step = max(CHUNK_BYTES // (max(rows, 1) * self.dtype.itemsize) // _STRIP, 1) * _STRIP
        return [(begin, min(begin + step, self.n)) for begin in range(0, self.n, step)]


class HostRows(FarRows):
    """In the memory of the host, pinned where that makes copies to the device faster."""

    def __init__(self, k: int, capacity: int, n: int, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(k, capacity, n, dtype=dtype, device=device)
        pinned = device.type == "cuda"
        self.tensor = torch.empty(k, capacity, n, dtype=dtype, pin_memory=pinned)

    def load(self, b: int, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """Return a part of basis b on the device: a copy, which may be written."""
        part = self.tensor[b, slice(*rows), slice(*columns)]
        out = torch.empty(part.shape, dtype=self.dtype, device=self.device)
        return out.copy_(part, non_blocking=True)

    def store(self, b: int, row: int, begin: int, part: Tensor) -> None:
        """Keep a part of a row. Waits for the copy: the next reader may be the host."""
        self.tensor[b, row, begin : begin + part.shape[0]].copy_(part)

    def close(self) -> None:
        """Give the memory back."""
        self.tensor = self.tensor[:, :0].clone()


class DiskRows(FarRows):
    """In a file without a name, in the folder for temporary files: it is gone when this is, or the process.

    Its space is reserved at the start, so that a disk too small is found before any product.
    """

    def __init__(self, k: int, capacity: int, n: int, *, dtype: torch.dtype, device: torch.device) -> None:
        super().__init__(k, capacity, n, dtype=dtype, device=device)
        self._file = tempfile.TemporaryFile(prefix="hesscope-", buffering=0)  # noqa: SIM115 - lives on
        size = max(k * capacity * n * dtype.itemsize, 1)
        try:
            os.posix_fallocate(self._file.fileno(), 0, size)
        except OSError as error:
            self._file.close()
            raise _full(error, size) from error

    def load(self, b: int, rows: tuple[int, int], columns: tuple[int, int]) -> Tensor:
        """Return a part of basis b on the device."""
        count, width = rows[1] - rows[0], columns[1] - columns[0]
        out = torch.empty(count, width, dtype=self.dtype)
        data = _bytes(out)
        if width == self.n:
            self._read(data, self._offset(b, rows[0], 0))
        else:
            stride = width * self.dtype.itemsize
            for i in range(count):
                self._read(data[i * stride : (i + 1) * stride], self._offset(b, rows[0] + i, columns[0]))
        return out.to(self.device)

    def store(self, b: int, row: int, begin: int, part: Tensor) -> None:
        """Keep a part of a row."""
        host = part.detach().to("cpu").contiguous()
        data = _bytes(host)
        offset = self._offset(b, row, begin)
        try:
            while data:
                written = os.pwrite(self._file.fileno(), data[:_MAXIMUM_IO], offset)
                data, offset = data[written:], offset + written
        except OSError as error:
            raise _full(error, self.k * self.capacity * self.n * self.dtype.itemsize) from error

    def close(self) -> None:
        """Close, and so remove, the file."""
        self._file.close()

    def _read(self, data: memoryview, offset: int) -> None:
        while data:
            count = os.preadv(self._file.fileno(), [data[:_MAXIMUM_IO]], offset)
            if count == 0:
                msg = f"basis: the file of the basis ends at byte {offset}, where there must be more"
                raise StorageError(errno.EIO, msg)
            data, offset = data[count:], offset + count

    def _offset(self, b: int, row: int, column: int) -> int:
        return ((b * self.capacity + row) * self.n + column) * self.dtype.itemsize


def _bytes(tensor: Tensor) -> memoryview:
    """Return the memory of a contiguous tensor on the CPU."""
    return tensor.view(-1).view(torch.uint8).numpy().data.cast("B") if tensor.numel() else memoryview(b"")


def _full(error: OSError, size: int) -> StorageError:
    reason = "is full" if error.errno in (errno.ENOSPC, errno.EDQUOT) else f"failed ({error.strerror})"
    msg = (
        f"basis: the disk of {tempfile.gettempdir()} {reason}; the basis takes {size / 1e9:.3g} GB there. "
        "Make room, or let TMPDIR name a folder on another disk"
    )
    return StorageError(error.errno, msg)
