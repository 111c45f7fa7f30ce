"""SpectralDensity in a results file."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING, Any

from torch import Tensor

from hesscope import results
from hesscope.krylov.recurrence import Recurrence
from hesscope.results.files import Description, register, write

if TYPE_CHECKING:
    from hesscope.spectrum.result import SpectralDensity

KIND = "spectral_density"
DEFLATED = "deflated_spectral_density"  # of its own, so that a program that knows of no atoms refuses it
_FIELDS = ("n", "products", "seconds", "memory_bytes", "orthogonality")
_LATER: dict[str, Any] = {
    "projections": 0,
    "basis": None,
}  # what older files mean


def save(rho: SpectralDensity, path: str | os.PathLike[str], *, state: bool) -> None:
    """Write; see :meth:`SpectralDensity.save`."""
    tensors = {"alpha": rho.alpha, "beta": rho.beta}
    if state:
        if rho.state is None:
            msg = "save: state=True needs a result that holds its state; run with keep_state=True"
            raise ValueError(msg)
        tensors |= {"v": rho.state.v, "v_prev": rho.state.v_prev, "scalars": rho.state.scalars}
    description = {name: getattr(rho, name) for name in (*_FIELDS, *_LATER)}
    description |= {
        "status": rho.status.name,
        "settings": dict(rho.settings),
        "operator": dict(rho.operator),
    }
    if rho.deflation is None:
        write(path, KIND, description, tensors)
        return
    tensors |= {"known_values": rho.deflation.values, "known_residuals": rho.deflation.residuals}
    write(path, DEFLATED, description | {"shift": rho.deflation.shift}, tensors)


def read(description: Description, tensors: dict[str, Tensor]) -> SpectralDensity:
    """Rebuild a density from the parts of its file."""
    from hesscope.spectrum.deflation import Deflation
    from hesscope.spectrum.result import SpectralDensity

    settings = dict(description["settings"])
    if settings.get("bounds") is not None:
        settings["bounds"] = tuple(settings["bounds"])
    state = Recurrence(tensors["v"], tensors["v_prev"], tensors["scalars"]) if "v" in tensors else None
    deflation = None
    if description["kind"] == DEFLATED:
        parts = tensors["known_values"], tensors["known_residuals"]
        deflation = Deflation(*parts, shift=float(description["shift"]))
    return SpectralDensity(
        alpha=tensors["alpha"],
        beta=tensors["beta"],
        status=results.Status[description["status"]],
        settings=settings,
        operator=dict(description["operator"]),
        state=state,
        deflation=deflation,
        **{name: description[name] for name in _FIELDS},
        **{name: description.get(name, absent) for name, absent in _LATER.items()},
    )


register(KIND, read)
register(DEFLATED, read)
