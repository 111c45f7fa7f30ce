"""How large the third derivative is: norms, the change of H on a segment, and T on a small basis."""

from __future__ import annotations

from torch import Tensor

from hesscope.results import Estimate
from hesscope.results.injective_norm import InjectiveNorm
from hesscope.results.lipschitz import LipschitzEstimate
from hesscope.third_order import injective, norms
from hesscope.third_order import lipschitz as segments
from hesscope.third_order import project as projections
from hesscope.third_order.gradients import SpectrumGradients
from hesscope.third_order.projected import ProjectedTensor


class ThirdOrderMeasures(SpectrumGradients):
    """A third derivative that is measured."""

    def frobenius_norm(self, *, num_pairs: int = 256, seed: int = 0, progress: bool = False) -> Estimate:
        """Estimate ``|T|_F``, the root of the sum of all squared entries, from ``|T[u, v, .]|^2``.

        Parameters
        ----------
        num_pairs
            Pairs of independent random signs (u, v).
        seed
            Of the pairs.
        progress
            Show a bar on stderr.

        Returns
        -------
        Estimate
            The square of ``value`` is unbiased. ``interval``: bootstrap-t on the logarithm of the mean
            square, at 95 %; squares are skewed, and a plain t-interval covers too little. It covers 92 % or
            more for tensors of rank one, the most skewed, at 256 pairs; less at fewer. ``status`` as in
            :meth:`trace_gradient`.

        Raises
        ------
        TypeError, ValueError, RuntimeError, CaptureError
            As :meth:`trace_gradient`.

        Notes
        -----
        Cost: 6 gradients a pair. One direction given twice would cost less and be biased: its mean is
        ``2 |T|_F^2 + |t|^2`` with ``t_k = sum_i T_iik``, for Gaussian directions. Memory: 24 vectors.

        References
        ----------
        Efron and Tibshirani (1993), An Introduction to the Bootstrap, section 12.5.
        """
        return norms.frobenius_norm(self, num_pairs=num_pairs, seed=seed, progress=progress)

    def injective_norm(
        self,
        *,
        num_starts: int = 16,
        num_steps: int = 100,
        tol: float = 1e-2,
        initial: Tensor | None = None,
        frobenius: Estimate | None = None,
        num_pairs: int = 256,
        seed: int = 0,
        progress: bool = False,
    ) -> InjectiveNorm:
        """Search for the injective norm of T, ``max T[x, x, x]`` over unit vectors: the largest slope of H.

        It is also the largest ``|T[u, v, w]|`` over unit vectors (Banach 1938), and so the local Lipschitz
        constant of H in the spectral norm.

        Parameters
        ----------
        num_starts
            Random starts, which climb together.
        num_steps
            Steps at most.
        tol
            A start has arrived when ``|T[x, x, .] - T[x, x, x] x| <= tol |T[x, x, .]|``; its value is then
            below a stationary one by about tol squared of it.
        initial
            ``[n]`` or rows ``[j, n]``: further starts, such as eigenvectors of H.
        frobenius
            What :meth:`frobenius_norm` returned; computed if None.
        num_pairs
            For it; 0 for no upper bound.
        seed
            Of starts and pairs.
        progress
            Show a bar on stderr.

        Returns
        -------
        InjectiveNorm
            ``value`` is attained at ``vector``: a lower bound whatever the search missed. ``interval`` goes
            up to that of the Frobenius norm. ``status`` CONVERGED or COMPLETE; INTERRUPTED or
            NONFINITE_OPERATOR.

        Raises
        ------
        TypeError, ValueError, RuntimeError, CaptureError
            As :meth:`trace_gradient`.

        Notes
        -----
        Cost: 11/3 gradients a start and step, and those of the Frobenius norm. A step that lowers a value is
        taken back, and repeated with a larger shift; enough of it makes every value rise. Memory: 3 vectors
        a start.

        References
        ----------
        Kolda and Mayo (2011), SIAM J. Matrix Anal. Appl. 32, 1095-1124: SS-HOPM.
        """
        return injective.injective_norm(
            self,
            num_starts=num_starts,
            num_steps=num_steps,
            tol=tol,
            initial=initial,
            frobenius=frobenius,
            num_pairs=num_pairs,
            seed=seed,
            progress=progress,
        )

    def lipschitz(
        self, d: Tensor, radius: float, *, num_segments: int = 4, tol: float = 1e-2, seed: int = 0
    ) -> LipschitzEstimate:
        """Measure how fast H changes on the segment from here to ``radius`` along d.

        Kinks, which no derivative sees, are seen: Hessians are compared, not differentiated.

        Parameters
        ----------
        d
            ``[n]``: a direction; its length does not count.
        radius
            Length of the segment, in the norm of the parameters.
        num_segments
            Parts of equal length, whose ends are compared.
        tol
            Relative, of the norms of differences.
        seed
            Of the starts.

        Returns
        -------
        LipschitzEstimate
            ``value`` is the largest ``|H(b) - H(a)| / |b - a|``, a lower bound of the Lipschitz constant on
            the segment; ``rates`` has all parts. ``status`` CONVERGED; MAX_PRODUCTS where a norm did not
            reach ``tol`` (it is still a lower bound, and ``errors`` says how far off).

        Raises
        ------
        ValueError, TypeError
            If an argument has a wrong type, shape, device or value.
        RunFailed
            If a product raises an error.

        Notes
        -----
        Cost: two products with H, and the primal of one place, a step of Lanczos; 10 to 20 steps a part.
        Memory: a copy of the weights, and 24 vectors. The weights are moved meanwhile, and put back bit for
        bit.
        """
        return segments.lipschitz(self, d, radius, num_segments=num_segments, tol=tol, seed=seed)

    def project(self, basis: Tensor) -> ProjectedTensor:
        """Compute T on the span of a few directions: ``T[q_i, q_j, q_l]``.

        Parameters
        ----------
        basis
            ``[k, n]``, orthonormal rows, k at most 64; the dtype and device of the objective.

        Returns
        -------
        ProjectedTensor
            Packed, symmetric, float64, with contractions and norms of its own.

        Raises
        ------
        ValueError
            If rows are not orthonormal, too many, or of another shape or device.
        TypeError, CaptureError
            As :meth:`contract`.

        Notes
        -----
        Cost: k squares T[q_i, q_i, .] and, for two halves of the basis, the pairs within each: about
        ``k^2 / 4 + k / 2`` contractions. Any three vectors have two in one half, so every entry is met; by
        Mantel's theorem (1907) no smaller set of pairs meets them all.
        """
        return projections.project(self, basis)
