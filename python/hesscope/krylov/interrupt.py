"""Ctrl-C: the first one lets a loop end in good order, the second one raises."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Interruption:
    """Whether the user has asked to stop."""

    def __init__(self) -> None:
        self.requested = False


@contextmanager
def deferred_interrupt() -> Iterator[Interruption]:
    """Hold back the first Ctrl-C: it sets ``requested``; the second goes to the handler before.

    Only the main thread can hold signals; elsewhere, and where a host program handles SIGINT outside
    Python or ignores it, nothing changes. The handler before is restored at the end.
    """
    interruption = Interruption()
    before = signal.getsignal(signal.SIGINT)
    if threading.current_thread() is not threading.main_thread() or before in (None, signal.SIG_IGN):
        yield interruption
        return

    def handler(signum: int, frame: FrameType | None) -> None:
        if not interruption.requested:
            interruption.requested = True
        elif callable(before):
            before(signum, frame)
        else:
            raise KeyboardInterrupt

    signal.signal(signal.SIGINT, handler)
    try:
        yield interruption
    finally:
        signal.signal(signal.SIGINT, before)
