"""Results files: one safetensors file with a JSON description in its header.

Format (schema 1). Header metadata, all strings: ``hesscope`` is the JSON description, an object with
``schema``, ``kind``, ``versions`` and what the kind needs; ``crc32`` is the CRC-32, in eight hexadecimal
digits, of the UTF-8 bytes of ``hesscope`` followed by the bytes of the tensors in the order of their
names. Nothing is ever pickled.
"""

from __future__ import annotations

import json
import os
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

SCHEMA = 1

Description = dict[str, Any]
Reader = Callable[[Description, dict[str, Tensor]], Any]
_READERS: dict[str, Reader] = {}


def register(kind: str, reader: Reader) -> None:
    """Tell :func:`load` how to build the result of this kind from its description and tensors."""
    _READERS[kind] = reader


def write(
    path: str | os.PathLike[str], kind: str, description: Description, tensors: dict[str, Tensor]
) -> None:
    """Write a results file beside ``path`` and rename it, so that an old file is replaced whole or kept.

    Raises
    ------
    OSError
        If the file cannot be written (no space, no permission, no such folder); an old file is intact.
    """
    from safetensors import SafetensorError
    from safetensors.torch import save_file

    target = Path(os.path.realpath(path))  # a link keeps pointing where it points
    text = json.dumps(
        {"schema": SCHEMA, "kind": kind, "versions": _versions(), **description}, allow_nan=False
    )
    tensors = {name: tensor.detach().cpu().contiguous() for name, tensor in tensors.items()}
    partial = target.with_name(f".{target.name}.{os.getpid()}.partial")
    try:
        partial.touch()
        mode = partial.stat().st_mode  # what the user's umask gives; the library would write 0600
        save_file(tensors, partial, metadata={"hesscope": text, "crc32": _checksum(text, tensors)})
        partial.chmod(mode)
        with partial.open("rb+") as file:
            os.fsync(file.fileno())
        partial.replace(target)
    except (OSError, SafetensorError) as error:
        msg = f"save: {target} could not be written; a file that was there before is intact. {error}"
        raise OSError(msg) from error
    finally:
        partial.unlink(missing_ok=True)


def read(path: str | os.PathLike[str]) -> tuple[Description, dict[str, Tensor]]:
    """Read and verify a results file; raise as :func:`load` does."""
    from safetensors import SafetensorError, safe_open

    if not isinstance(path, (str, os.PathLike)):
        msg = f"load: path must be a str or a PathLike, got {type(path).__name__}"
        raise TypeError(msg)
    source = Path(path)
    if not source.is_file():
        msg = f"load: path must be an existing file, got {source}"
        raise FileNotFoundError(msg)
    try:
        with safe_open(source, framework="pt") as file:
            metadata = file.metadata() or {}
            tensors = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118
    except SafetensorError as error:
        msg = (
            f"load: {source} must be a results file of hesscope; it is of another kind, cut off or damaged "
            f"({error})"
        )
        raise ValueError(msg) from error
    if "hesscope" not in metadata:
        msg = (
            f"load: {source} must be a results file of hesscope; it is a safetensors file of another program"
        )
        raise ValueError(msg)
    return _verified(source, metadata, tensors), tensors


def load(path: str | os.PathLike[str]) -> Any:
    """Load a result that was saved with its ``save`` method.

    Parameters
    ----------
    path
        The file.

    Returns
    -------
    SpectralDensity
        Or whatever the file holds; equal to what was saved, bit for bit.

    Raises
    ------
    TypeError
        If ``path`` is no path.
    FileNotFoundError
        If there is no such file.
    ValueError
        If the file is not a results file, is damaged or cut off, or comes from a newer hesscope.
    """
    description, tensors = read(path)
    kind = description.get("kind")
    reader = _READERS.get(str(kind))
    if reader is None:
        msg = f"load: {path} must hold one of {sorted(_READERS)}, got {kind!r}"
        raise ValueError(msg)
    try:
        return reader(description, tensors)
    except (KeyError, TypeError) as error:
        msg = f"load: {path} must be a complete results file, but its description lacks {error}"
        raise ValueError(msg) from error


def _verified(source: Path, metadata: dict[str, str], tensors: dict[str, Tensor]) -> Description:
    text = metadata["hesscope"]
    if metadata.get("crc32") != _checksum(text, tensors):
        msg = f"load: {source} is damaged: its checksum does not match its content"
        raise ValueError(msg)
    description = json.loads(text)
    schema = description.get("schema") if isinstance(description, dict) else None
    if not isinstance(schema, int):
        msg = f"load: {source} must name its schema as an integer, got {schema!r}"
        raise ValueError(msg)  # noqa: TRY004 - the value of a file, not of an argument
    if schema > SCHEMA:
        msg = (
            f"load: {source} has schema {schema}, newer than the {SCHEMA} this version reads. Update "
            f"hesscope (the file was written by {description.get('versions')})"
        )
        raise ValueError(msg)
    return dict(description)


def _checksum(text: str, tensors: dict[str, Tensor]) -> str:
    crc = zlib.crc32(text.encode())
    for name in sorted(tensors):
        data = tensors[name].contiguous().view(-1)
        # Reinterpreted, not copied: the state of a run can be gigabytes.
        crc = zlib.crc32(data.view(torch.uint8).numpy().data, crc) if data.numel() else crc
    return f"{crc:08x}"


def _versions() -> dict[str, str]:
    from hesscope import _ops

    return {"hesscope": str(_ops.build_info()["version"]), "torch": str(torch.__version__)}
