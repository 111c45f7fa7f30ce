"""Leave-one-out estimators from one sketch: XTrace and XDiag (Epperly, Tropp and Webber 2024).

From probes omega_i (m rows) and Y = H Omega comes an orthonormal basis Q of the range of Y; Q_i denotes
that of all columns of Y but the i-th. Everything known about Q_i follows from one unit vector s_i, the one
orthogonal to those columns in the coordinates of Q: ``Q_i Q_i' = Q (I - s_i s_i') Q'``. So m estimates, each
with a probe independent of its basis, cost 2m products instead of m (m + 1).
"""

from __future__ import annotations

import torch
from torch import Tensor

from hesscope._ops.probes import ProbeKind
from hesscope.spectrum.probing import Prober, project


class Sketch:
    """Probes, products, basis and its products; grows without repeating any.

    Attributes
    ----------
    probes, images, basis, basis_images
        Shape ``[m, n]``: omega_i, H omega_i, an orthonormal basis of the span of the images, and H times it.
    """

    def __init__(self, prober: Prober, count: int, *, kind: ProbeKind) -> None:
        self._prober, self._kind = prober, kind
        self.probes = prober.probes(count, kind=kind)
        self.images = prober.rows(self.probes)
        self.basis = _orthonormal(self.images)
        self.basis_images = prober.rows(self.basis)

    def grow(self, count: int) -> None:
        """Add ``count`` probes; 2 count products."""
        probes = self._prober.probes(count, kind=self._kind)
        images = self._prober.rows(probes)
        # Householder reflections of all of it: an image that lies in the span so far leaves rounding, which
        # Gram-Schmidt would not make orthogonal. The first rows come out as they were, up to sign.
        fresh = _orthonormal(torch.cat([self.basis, images]))[self.basis.shape[0] :]
        self.probes, self.images = torch.cat([self.probes, probes]), torch.cat([self.images, images])
        self.basis = torch.cat([self.basis, fresh])
        self.basis_images = torch.cat([self.basis_images, self._prober.rows(fresh)])

    def compressed(self) -> Tensor:
        """``Q' H Q`` ``[m, m]``, float64, CPU."""
        square = project(self.basis, self.basis_images).cpu()
        return (square + square.T) / 2

    def left_out(self) -> tuple[Tensor, Tensor]:
        """Return R with ``Y = Q R`` and, in columns, the unit vectors s_i: ``[m, m]`` each, float64, CPU."""
        r = project(self.basis, self.images).cpu().T.triu()
        # Where H has a rank below m, R is singular to rounding. Then Q has directions that no image needs,
        # and a diagonal raised to rounding makes every s_i one of those: nothing is left out, rightly.
        size = float(r.abs().max())
        least = torch.finfo(self.images.dtype).eps * size if size > 0 else 1.0
        diagonal = r.diagonal()
        raised = torch.where(diagonal.abs() < least, least, diagonal)
        safe = r - torch.diag(diagonal) + torch.diag(raised)
        identity = torch.eye(r.shape[0], dtype=torch.float64)
        s = torch.linalg.solve_triangular(safe.T, identity, upper=False)
        return r, s / s.norm(dim=0)


def xtrace(sketch: Sketch) -> Tensor:
    """Return m exchangeable estimates of the trace ``[m]``, float64: their mean is XTrace's.

    Probes must be uniform on the sphere of radius sqrt(n): then the part of a probe outside Q_i is uniform
    on a sphere as well, and is scaled to its mean norm, which removes a part of the variance.
    """
    r, s = sketch.left_out()
    n, m = sketch.basis.shape[1], sketch.basis.shape[0]
    h = sketch.compressed()
    w = project(sketch.basis, sketch.probes).cpu().T  # Q' Omega
    t = project(sketch.basis_images, sketch.probes).cpu().T  # Q' H Omega
    sw, sr = (s * w).sum(dim=0), (s * r).sum(dim=0)
    x = w - s * sw  # coordinates of Q_i' omega_i
    inside = torch.trace(h) - (s * (h @ s)).sum(dim=0)
    # (omega - Q x)' H (omega - Q x), written so that nothing large cancels.
    outside = sw * sr - (t * x).sum(dim=0) + (x * (h @ x)).sum(dim=0)
    rest = n - w.square().sum(dim=0) + sw.square()  # |omega - Q x|^2
    some = rest > 8 * torch.finfo(sketch.basis.dtype).eps * n
    return inside + torch.where(some, outside * (n - m + 1) / rest, 0.0)


def xdiag(sketch: Sketch) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of m exchangeable estimates of the diagonal: ``[n]`` each, float64.

    Probes must be random signs.
    """
    r, s = sketch.left_out()
    m, device = s.shape[0], sketch.basis.device
    basis, images = sketch.basis.double(), sketch.basis_images.double()
    common = (basis * images).sum(dim=0)
    scales = (s * r).sum(dim=0).to(device)
    total, squares = torch.zeros_like(common), torch.zeros_like(common)
    for i in range(m):
        direction = s[:, i].to(device)
        qs, zs = direction @ basis, direction @ images
        deviation = sketch.probes[i].double() * qs * scales[i] - qs * zs
        total += deviation
        squares += deviation.square()
    mean = total / m
    variance = (squares - m * mean.square()).clamp(min=0.0) / max(m - 1, 1)
    return common + mean, variance.sqrt()


def _orthonormal(rows: Tensor) -> Tensor:
    """Return orthonormal rows that span the given ones: ``[m, n] -> [m, n]``, m <= n."""
    factor: Tensor = torch.linalg.qr(rows.T).Q.T.contiguous()
    return factor
