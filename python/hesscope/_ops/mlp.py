"""A multilayer perceptron and its loss, differentiated in C++: ``MlpObjective``."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor

from hesscope import _core
from hesscope._ops._call import call

LOSSES = ("cross_entropy", "squared_error")


class MlpObjective:
    """Gradient, products with the Hessian and third-order contractions of a dense network's loss.

    Parameters
    ----------
    weights
        Shape ``[out, in]`` each, float32 or float64, rows contiguous: layers from the input on.
    biases
        Shape ``[out]`` each, or None.
    activations
        One name a layer, see :func:`hesscope._ops.activation_derivatives`.
    inputs
        Shape ``[M, in]``.
    target
        Shape ``[M, out]``. For a cross entropy, weights of the classes: one entry a row for a class index.
    loss
        ``"cross_entropy"``, ``sum_m (sum_c t[m, c]) logsumexp(o[m]) - t[m] o[m]``, or ``"squared_error"``,
        ``sum (o - t)^2``.
    scale
        Factor of the loss.
    backend
        ``"auto"`` follows the device; ``"reference"``, ``"cpu"`` and ``"cuda"`` are for tests.

    Raises
    ------
    ValueError
        If shapes, strides or devices disagree, or a name is not known.
    TypeError
        If the dtype is neither float32 nor float64, or dtypes differ.

    Attributes
    ----------
    n
        Number of parameters.
    loss
        The value.
    activation_bytes
        Of one number for each activation of the batch.

    Notes
    -----
    Directions are ``[K, n]``: weight and bias of each layer in turn. The constructor computes the forward and
    the backward pass; tensors that change afterwards need a new object. See ``csrc/include/hesscope/mlp.h``.
    """

    def __init__(
        self,
        weights: Sequence[Tensor],
        biases: Sequence[Tensor | None],
        activations: Sequence[str],
        inputs: Tensor,
        target: Tensor,
        *,
        loss: str,
        scale: float = 1.0,
        backend: str = "auto",
    ) -> None:
        if loss not in LOSSES:
            msg = f"MlpObjective: loss must be 'cross_entropy' or 'squared_error', got {loss!r}"
            raise ValueError(msg)
        if not len(weights) == len(biases) == len(activations):
            counts = f"{len(weights)}, {len(biases)} and {len(activations)}"
            msg = f"MlpObjective: weights, biases and activations must be one per layer, got {counts}"
            raise ValueError(msg)
        # The core borrows them.
        self._weights = [w.detach() for w in weights]
        self._biases = [None if b is None else b.detach() for b in biases]
        self._input, self._target = inputs.detach(), target.detach()
        self._backend = backend
        self._core = _core.MlpObjective(
            weights=self._weights,
            biases=self._biases,
            activations=list(activations),
            input=self._input,
            target=self._target,
            loss=loss,
            scale=scale,
            call=self._call(),
        )
        self.n = self._core.size
        self.loss = self._core.loss
        widths = sum(w.shape[0] for w in self._weights)
        self.activation_bytes = max(1, self._input.shape[0] * widths * self._input.element_size())

    def _call(self) -> _core.Call:
        return call(self._input.device, self._backend)

    def gradient(self) -> Tensor:
        """Return the gradient, ``[n]``."""
        out = self._input.new_empty(1, self.n)
        self._core.gradient(out=out, call=self._call())
        return out[0]

    def products(self, v: Tensor, *, out: Tensor | None = None) -> Tensor:
        """Return ``H v`` for the rows of ``v [K, n]``: ``[K, n]``; about 2 gradients a row."""
        out = torch.empty_like(v, memory_format=torch.contiguous_format) if out is None else out
        self._core.products(v, out=out, call=self._call())
        return out

    def quadratic(self, v: Tensor) -> Tensor:
        """Return ``v' H v`` for the rows of ``v``: ``[K]``, float64; forward passes alone."""
        out = v.new_empty(v.shape[0], 1, dtype=torch.float64)
        self._core.quadratic(v, out=out, call=self._call())
        return out[:, 0]

    def contract(self, u: Tensor, v: Tensor) -> Tensor:
        """Return ``T[u, v, .]`` for the rows of ``u`` and ``v [K, n]``: ``[K, n]``; cheaper if u is v."""
        out = torch.empty_like(v, memory_format=torch.contiguous_format)
        self._core.contract(u, v, out=out, call=self._call())
        return out

    def cubic(self, v: Tensor) -> Tensor:
        """Return ``T[v, v, v]`` for the rows of ``v``: ``[K]``, float64; forward passes alone."""
        out = v.new_empty(v.shape[0], 1, dtype=torch.float64)
        self._core.cubic(v, out=out, call=self._call())
        return out[:, 0]
