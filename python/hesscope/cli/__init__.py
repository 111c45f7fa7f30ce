"""The command ``hesscope``."""

from hesscope.cli.main import main

__all__ = ["main"]
