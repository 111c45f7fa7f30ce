"""``hesscope density FILE.py:NAME``: the spectrum of a user's own objective."""

from __future__ import annotations

import argparse
import contextlib
import importlib.util
import sys
import traceback
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import ModuleType

from hesscope.cli.console import CommandError
from hesscope.cli.run import compute, make_folder, present
from hesscope.curvature import fisher, ggn, gradient_covariance, hessian
from hesscope.objective import Objective
from hesscope.operators import SymmetricOperator

MATRICES: Mapping[str, Callable[[Objective], SymmetricOperator]] = {
    "hessian": hessian,
    "ggn": ggn,
    "fisher": fisher,
    "gradient-covariance": gradient_covariance,
}

_EXAMPLE = "write FILE.py:NAME, as in problem.py:objective"


def density(options: argparse.Namespace) -> int:
    """Serve ``hesscope density`` and return the exit code."""
    path, name = parse(options.problem)
    make_folder(options.output)
    with importable(path.parent):
        make = MATRICES[options.matrix]
        operator = find_operator(path, name, make, show_traceback=options.traceback)
        rho = compute(operator, options)
    return present(rho, options.output, title=f"Spectral density of {path.name}:{name}", state=options.state)


def parse(problem: str) -> tuple[Path, str]:
    """Split FILE.py:NAME.

    Raises
    ------
    CommandError
        If it has another form, or there is no such file.
    """
    file, colon, name = problem.rpartition(":")
    if not colon or not name.isidentifier():
        msg = f"PROBLEM must name an object in a file, got {problem!r}; {_EXAMPLE}"
        raise CommandError(msg)
    path = Path(file)
    if not path.is_file():
        msg = f"PROBLEM must name a file that exists, got {file!r}; {_EXAMPLE}"
        raise CommandError(msg)
    return path.resolve(), name


@contextlib.contextmanager
def importable(folder: Path) -> Iterator[None]:
    """Let a file import its neighbours, as if it were run as a script."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))


def find_operator(
    path: Path,
    name: str,
    make: Callable[[Objective], SymmetricOperator] = hessian,
    *,
    show_traceback: bool,
) -> SymmetricOperator:
    """Run the file and make an operator, by ``make`` of an objective, of the object called ``name`` in it.

    Raises
    ------
    CommandError
        As :func:`find_problem`; if it has an operator, and ``make`` is to make another matrix than the
        Hessian.
    """
    found, name = find_problem(path, name, show_traceback=show_traceback)
    if isinstance(found, Objective):
        return make(found)
    if make is not hessian:
        msg = f"--matrix must be left out, for {name} in {path.name} is an operator already"
        raise CommandError(msg)
    return found


def find_problem(path: Path, name: str, *, show_traceback: bool) -> tuple[Objective | SymmetricOperator, str]:
    """Run the file and return the object called ``name`` in it, called if it is a function, and its name.

    Raises
    ------
    CommandError
        If the file fails, or has no such object, or one of another type.
    """
    module = _run_file(path, show_traceback=show_traceback)
    if not hasattr(module, name):
        msg = f"{path.name} must define {name!r}, but does not; it defines {_names(module)}"
        raise CommandError(msg)
    found = getattr(module, name)
    if callable(found) and not isinstance(found, Objective | SymmetricOperator | type):
        with _blame(path, f"{name}() failed", show_traceback=show_traceback):
            found = found()
        name += "()"
    if isinstance(found, Objective | SymmetricOperator):
        return found, name
    msg = (
        f"{name} in {path.name} must be a hesscope.Objective, a SymmetricOperator or a function without "
        f"arguments that returns one, got {type(found).__name__}"
    )
    raise CommandError(msg)


def _run_file(path: Path, *, show_traceback: bool) -> ModuleType:
    spec = importlib.util.spec_from_file_location(path.stem, path)
    if spec is None or spec.loader is None:
        msg = f"PROBLEM must name a Python file, got {path.name!r}; {_EXAMPLE}"
        raise CommandError(msg)
    module = importlib.util.module_from_spec(spec)
    # Under its name, as an import would: pickling and dataclasses in the file look there.
    sys.modules[spec.name] = module
    with _blame(path, "the file failed", show_traceback=show_traceback):
        spec.loader.exec_module(module)
    return module


@contextlib.contextmanager
def _blame(path: Path, what: str, *, show_traceback: bool) -> Iterator[None]:
    """Turn an exception of the user's code into one line that says where it came from."""
    try:
        yield
    except (Exception, SystemExit) as error:
        if show_traceback and not isinstance(error, SystemExit):
            raise
        lines = [f.lineno for f in traceback.extract_tb(error.__traceback__) if f.filename == str(path)]
        if isinstance(error, SyntaxError) and error.filename == str(path):
            lines = [error.lineno]
        where = f", line {lines[-1]}" if lines else ""
        msg = f"{path.name}{where}: {what}: {type(error).__name__}: {error}"
        raise CommandError(msg) from error


def _names(module: ModuleType) -> str:
    """List what the file itself could have meant."""
    names = [
        name
        for name, value in vars(module).items()
        if not name.startswith("_") and isinstance(value, Objective | SymmetricOperator)
    ]
    return ", ".join(names) or "no Objective and no SymmetricOperator"
