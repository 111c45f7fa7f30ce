"""A progress bar, if one is asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol


class Bar(Protocol):
    """What a loop tells about its progress."""

    def update(self, n: int = 1) -> object:
        """Say that n more steps are done."""


class _Silent:
    def update(self, n: int = 1) -> None:
        """Say nothing."""


@contextmanager
def progress_bar(label: str, total: int, *, shown: bool) -> Iterator[Bar]:
    """Show a bar of ``total`` steps on stderr while the block runs, or nothing."""
    if not shown:
        yield _Silent()
        return
    from tqdm.auto import tqdm

    with tqdm(total=total, desc=label, unit="step") as bar:
        yield bar
