"""Gradients of what the spectrum of H says: eigenvalues, the trace, sums of a function."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from torch import Tensor

from hesscope.results import Eigenpairs
from hesscope.results.gradient import EigenvalueGradient, GradientEstimate
from hesscope.third_order import eigen_gradient, spectral_gradient
from hesscope.third_order import trace_gradient as of_trace
from hesscope.third_order.form import TrilinearForm


class SpectrumGradients(TrilinearForm):
    """A third derivative, from which gradients of the spectrum of H are made."""

    def eigenvalue_gradient(
        self,
        eigenpairs: Eigenpairs,
        index: int | Sequence[int] = 0,
        *,
        cluster_tol: float | None = None,
        norm_steps: int = 6,
        seed: int = 0,
    ) -> EigenvalueGradient:
        """Compute the gradient of an eigenvalue of H, ``T[x, x, .]``, or of the mean of a cluster.

        Parameters
        ----------
        eigenpairs
            Of the objective's Hessian, from :func:`hesscope.eigenpairs`. One more than is asked about: the
            gap to the next eigenvalue is what the error is made of.
        index
            Which pair; or all pairs of a cluster, for the gradient of their mean. Eigenvalues that are equal
            have no gradients of their own: they are the eigenvalues of a matrix, of which only the trace is
            smooth.
        cluster_tol
            Eigenvalues count as one cluster if neighbours differ by at most ``cluster_tol |H|``. Default:
            8 times their residuals, or the root of the vectors' rounding times ``|H|``.
        norm_steps
            Steps of power iteration for ``|T[x, ., .]|``, which the error is relative to; 0 for no error.
        seed
            Of its start.

        Returns
        -------
        EigenvalueGradient
            ``error`` bounds ``|value - gradient|`` to first order: ``2 |T[x, ., .]| |r| / gap`` for a
            residual r, as an eigenvector is off by at most ``|r| / gap``; ``inf`` where no gap is known.

        Raises
        ------
        ValueError
            If the index leaves out a part of a cluster, which the message names; if a product with H shows
            that the pairs are another operator's, or of other weights; if an argument has a wrong value; if
            the contraction is not finite.
        TypeError
            If eigenpairs are none.
        CaptureError
            As :meth:`contract`.

        Notes
        -----
        Cost for m members: ``m`` contractions T[x, x, .] summed, ``m norm_steps`` of T[x, v, .], and ``m``
        products with H.

        References
        ----------
        Magnus (1985), Econometric Theory 1, 179-191: simple eigenvalues. Lewis (1996), SIAM J. Optim. 6,
        164-177: sums of eigenvalues. Davis and Kahan (1970): the angle.
        """
        return eigen_gradient.eigenvalue_gradient(
            self, eigenpairs, index, cluster_tol=cluster_tol, norm_steps=norm_steps, seed=seed
        )

    def trace_gradient(
        self, *, num_probes: int = 64, seed: int = 0, progress: bool = False
    ) -> GradientEstimate:
        """Estimate the gradient of ``tr H``, the sum of ``T[e_i, e_i, .]``, from ``T[z, z, .]``.

        Parameters
        ----------
        num_probes
            Random signs z; from 8 on rounded up to a multiple of 8. n of them or more: exact, with units.
        seed
            Of the probes.
        progress
            Show a bar on stderr.

        Returns
        -------
        GradientEstimate
            ``error``: half-widths of t-intervals at 95 %, entry by entry, over 8 groups of probes. The
            variance of an entry is ``2 sum_(i != j) T_ijk^2`` over the number of probes. ``status`` COMPLETE;
            INTERRUPTED or NONFINITE_OPERATOR, with what was sampled before.

        Raises
        ------
        TypeError, ValueError
            If an argument has the wrong type or value, or the first contraction is not finite.
        RuntimeError
            If weights or data change during the run.
        CaptureError
            As :meth:`contract`.

        Notes
        -----
        Cost: 7/3 gradients a probe where the 8th part of them goes through at once, for each group is summed
        before it is propagated; else up to 11/3. Memory: ``num_probes / 8`` vectors, and two in float64.

        References
        ----------
        Hutchinson (1989); Dangel et al. (2025), arXiv:2505.13644: collapsed coefficients.
        """
        return of_trace.trace_gradient(self, num_probes=num_probes, seed=seed, progress=progress)

    def spectral_sum_gradient(
        self,
        f: Callable[[Tensor], Tensor],
        *,
        derivative: Callable[[Tensor], Tensor] | None = None,
        shift: float = 0.0,
        num_probes: int = 32,
        num_steps: int = 40,
        seed: int = 0,
        progress: bool = False,
    ) -> GradientEstimate:
        """Estimate the gradient of ``tr f(H + shift I)``: the mean of ``T[z, f'(H + shift I) z, .]``.

        Parameters
        ----------
        f
            Elementwise on float64 tensors, such as ``torch.exp``; differentiated by autograd.
        derivative
            f' instead, elementwise.
        shift
            Added to every eigenvalue before f is applied.
        num_probes
            Random signs z; from 8 on rounded up to a multiple of 8.
        num_steps
            Products with H for each probe, at most n.
        seed
            Of the probes.
        progress
            Show a bar on stderr.

        Returns
        -------
        GradientEstimate
            ``error`` adds, entry by entry, a t-interval over 8 groups of probes and ``quadrature``: what a
            quarter fewer steps change in the first of them. ``status`` as in :meth:`trace_gradient`.

        Raises
        ------
        ValueError
            If f or f' is not finite on a Ritz value, which is named, or not real.
        TypeError, ValueError, RuntimeError, CaptureError
            As :meth:`trace_gradient`.

        Notes
        -----
        Cost for each probe: ``num_steps`` products with H, and a contraction T[z, w, .] summed; an eighth
        more for the error. Memory: 4 times ``num_steps`` vectors, or what :func:`hesscope.apply_function`
        does without them.

        References
        ----------
        Lewis (1996), SIAM J. Optim. 6, 164-177: d tr f(H) = tr f'(H) dH.
        """
        return spectral_gradient.spectral_sum_gradient(
            self,
            f,
            derivative=derivative,
            shift=shift,
            num_probes=num_probes,
            num_steps=num_steps,
            seed=seed,
            progress=progress,
        )

    def logdet_gradient(
        self,
        *,
        shift: float = 0.0,
        num_probes: int = 32,
        num_steps: int = 40,
        seed: int = 0,
        progress: bool = False,
    ) -> GradientEstimate:
        """Estimate the gradient of ``log det(H + shift I)`` of a positive definite ``H + shift I``.

        Parameters
        ----------
        shift
            Added to every eigenvalue; must exceed the most negative one's modulus. It is held fixed, as the
            ``l2`` of an objective is.
        num_probes, num_steps, seed, progress
            As in :meth:`spectral_sum_gradient`.

        Returns
        -------
        GradientEstimate
            As :meth:`spectral_sum_gradient`.

        Raises
        ------
        ValueError
            If a Ritz value of ``H + shift I`` is negative, or zero to rounding.
        TypeError, ValueError, RuntimeError, CaptureError
            As :meth:`trace_gradient`.

        Notes
        -----
        Cost and memory: as :meth:`spectral_sum_gradient`.
        """
        return spectral_gradient.logdet_gradient(
            self, shift=shift, num_probes=num_probes, num_steps=num_steps, seed=seed, progress=progress
        )
