"""The model while it is evaluated: modes, buffers, randomness, twice differentiable kernels."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.nn.utils import parametrizations
from torch.nn.utils.weight_norm import WeightNorm
from torch.overrides import TorchFunctionMode


class ModelState:
    """Puts a model into the state it is evaluated in, and back as it was.

    Parameters
    ----------
    model
        The model; nothing of it has changed after an evaluation.
    selected
        The parameters that are differentiated; others do not ask for gradients meanwhile, which
        saves the graph of layers that lie before them.
    mode
        "keep", "eval" or "train".
    rng_seed
        If not None, batch i is evaluated with torch's generators seeded with ``rng_seed + i``.
    """

    def __init__(
        self, model: nn.Module, selected: Sequence[Tensor], *, mode: str, rng_seed: int | None
    ) -> None:
        self.modules = list(model.modules())
        self.mode = mode
        self.rng_seed = rng_seed
        self.device = selected[0].device
        chosen = {id(p) for p in selected}
        self._others = [p for p in model.parameters() if id(p) not in chosen]
        self._names = {id(module): name or "the model" for name, module in model.named_modules()}
        self._weight_norm = any(map(_has_weight_norm, self.modules))
        self._recurrent = any(isinstance(module, nn.RNNBase) for module in self.modules)

    def buffers(self) -> list[Tensor]:
        """Return the live buffers; they are looked up anew, for code may replace them."""
        return [b for module in self.modules for b in module._buffers.values() if b is not None]

    def flags(self) -> tuple[bool, ...]:
        """Return which modules are in training mode, where that matters."""
        return tuple(module.training for module in self.modules) if self.mode == "keep" else ()

    def is_training(self, module: nn.Module) -> bool:
        """Tell whether a module is in training mode during an evaluation."""
        return module.training if self.mode == "keep" else self.mode == "train"

    def live_dropout(self) -> list[str]:
        """Return the names of modules that draw random numbers in the mode of evaluation."""
        return [self._names[id(m)] for m in self.modules if self.is_training(m) and _is_random(m)]

    def mixes_samples(self) -> list[str]:
        """Return the names of batch norm layers that use the statistics of the batch."""
        return [
            self._names[id(m)]
            for m in self.modules
            if isinstance(m, nn.modules.batchnorm._BatchNorm)
            and (self.is_training(m) or m.running_mean is None)
        ]

    def require_fixed_dropout(self) -> None:
        """Raise ValueError if dropout is live and no seed fixes it."""
        if self.rng_seed is not None:
            return
        live = self.live_dropout()
        if live:
            where = ", ".join(live[:5])
            msg = (
                f"Objective: dropout must be off or fixed by a seed, got live dropout in {where}; "
                "pass mode='eval', or rng_seed= to differentiate one fixed mask per batch"
            )
            raise ValueError(msg)

    @contextlib.contextmanager
    def evaluating(self, index: int, *, fused: bool = False) -> Iterator[None]:
        """Hold the model ready for batch ``index``; modes, buffers and generators are put back.

        With ``fused``, kernels that have no second derivative are admitted.
        """
        self.require_fixed_dropout()
        with contextlib.ExitStack() as stack:
            stack.enter_context(torch.inference_mode(False))
            stack.enter_context(torch.enable_grad())
            stack.enter_context(self._modes())
            stack.enter_context(self._buffer_copies())
            stack.enter_context(self._others_frozen())
            if not fused:
                stack.enter_context(twice_differentiable(recurrent=self._recurrent))
            if self._weight_norm:
                stack.enter_context(_WeightNormWrittenOut())
            if self.rng_seed is not None:
                devices = [self.device] if self.device.type == "cuda" else []
                stack.enter_context(torch.random.fork_rng(devices=devices))
                torch.manual_seed(self.rng_seed + index)
            yield

    @contextlib.contextmanager
    def _modes(self) -> Iterator[None]:
        before = [module.training for module in self.modules]
        try:
            if self.mode != "keep":
                for module in self.modules:
                    module.training = self.mode == "train"
            yield
        finally:
            for module, training in zip(self.modules, before, strict=True):
                if module.training != training:
                    module.training = training

    @contextlib.contextmanager
    def _buffer_copies(self) -> Iterator[None]:
        """Let the model write on copies.

        Writing old values back instead would advance the version counters of tensors that the kept
        graph has saved, and its next backward would refuse them.
        """
        before = [(module, dict(module._buffers)) for module in self.modules if module._buffers]
        copies: dict[int, Tensor] = {}
        try:
            for module, buffers in before:
                for name, buffer in buffers.items():
                    if buffer is not None:
                        module._buffers[name] = copies.setdefault(id(buffer), buffer.detach().clone())
            yield
        finally:
            for module, buffers in before:
                module._buffers.update(buffers)

    @contextlib.contextmanager
    def _others_frozen(self) -> Iterator[None]:
        frozen = [p for p in self._others if p.requires_grad and p.is_leaf]
        try:
            for p in frozen:
                p.requires_grad_(False)
            yield
        finally:
            for p in frozen:
                p.requires_grad_(True)


def _is_random(module: nn.Module) -> bool:
    if isinstance(module, nn.modules.dropout._DropoutNd):
        return bool(module.p > 0)
    if isinstance(module, nn.MultiheadAttention):
        return bool(module.dropout > 0)
    if isinstance(module, nn.RNNBase):
        return module.dropout > 0 and module.num_layers > 1
    return isinstance(module, nn.RReLU)


def _has_weight_norm(module: nn.Module) -> bool:
    hooks = module._forward_pre_hooks.values()
    return isinstance(module, parametrizations._WeightNorm) or any(isinstance(h, WeightNorm) for h in hooks)


class _WeightNormWrittenOut(TorchFunctionMode):
    """Replaces ``torch._weight_norm``, whose second derivative takes the norms for constants.

    Its double backward is off by a third of its size (torch 2.13) without a word; that of the formula
    g v / |v| (Salimans & Kingma, 2016) is right.
    """

    def __torch_function__(
        self, func: Any, types: Any, args: tuple[Any, ...] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        if func is not torch._weight_norm:
            return func(*args, **(kwargs or {}))
        return _weight_norm(*args, **(kwargs or {}))


def _weight_norm(v: Tensor, g: Tensor, dim: int = 0) -> Tensor:
    others = [d for d in range(v.ndim) if dim == -1 or d != dim % v.ndim]
    return v * (g / (v * v).sum(others, keepdim=True).sqrt())


@contextlib.contextmanager
def twice_differentiable(*, recurrent: bool) -> Iterator[None]:
    """Choose kernels that have a second derivative.

    The fused attention kernels (on a CPU as well), the fast path of ``nn.MultiheadAttention`` and
    cuDNN's recurrent layers have none.
    """
    fast_path = torch.backends.mha.get_fastpath_enabled()
    cudnn = torch.backends.cudnn.enabled
    try:
        torch.backends.mha.set_fastpath_enabled(False)
        if recurrent:
            torch.backends.cudnn.enabled = False
        with sdpa_kernel(SDPBackend.MATH):
            yield
    finally:
        torch.backends.mha.set_fastpath_enabled(fast_path)
        torch.backends.cudnn.enabled = cudnn
