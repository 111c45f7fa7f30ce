"""What the commands say, and how they fail: one line on stderr and an exit code."""

from __future__ import annotations

import sys
import textwrap
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

# Exit codes: as argparse for a wrong command, as a shell for Ctrl-C.
OK, FAILED, USAGE, INTERRUPTED = 0, 1, 2, 130
_WIDTH = 100


class CommandError(Exception):
    """A failure that one line explains; the command ends with exit code 2."""


def say(text: str = "", *, wrap: bool = False) -> None:
    """Write text and a newline to stdout, as one paragraph of lines if ``wrap``."""
    sys.stdout.write((textwrap.fill(text, _WIDTH) if wrap else text) + "\n")
    sys.stdout.flush()


def complain(kind: str, text: object) -> None:
    """Write one line to stderr."""
    line = " ".join(str(text).split())
    sys.stderr.write(f"hesscope: {kind}: {line}\n")
    sys.stderr.flush()


def tolerate_narrow_encodings() -> None:
    """Replace characters that the terminal's encoding lacks (λ, ±) instead of failing on them."""
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(errors="replace")


@contextmanager
def one_line_warnings() -> Iterator[None]:
    """Show warnings as single lines, without the place in the library that gave them."""

    def show(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        del category, filename, lineno, file, line
        complain("warning", message)

    with warnings.catch_warnings():
        # How a run ended must neither be hidden nor raise, whatever -W says: its result would be lost.
        warnings.filterwarnings("always", message="(spectral_density|resume): ")
        warnings.showwarning = show
        yield
