"""Capturing Jᵀc(f(θ)), whose derivative along θ, with Jᵀ held fixed, is JᵀMJ.

One graph holds the outputs f, the cotangents c(f) whose derivative is M, and the backward pass. If
what the backward pass reads of the forward pass counts as constant, the coefficients that come out for
v are JᵀMJv: so the rules of the Hessian serve for the GGN and the Fisher as well.
"""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from typing import Any

import torch
from torch import Tensor
from torch.fx.experimental.proxy_tensor import make_fx

from hesscope.curvature.jets.capture import Captured, CaptureError, _elementary, _reason, input_tensors
from hesscope.curvature.jets.decompositions import decompositions
from hesscope.curvature.jets.reads import Reads
from hesscope.curvature.jets.rms_norms import fuse_rms_norms
from hesscope.curvature.jets.stops import mark_stops
from hesscope.curvature.jets.trace import Instruction, Listing, Ref, listing, references, stop
from hesscope.curvature.jets.tracing import light
from hesscope.curvature.outputs import ModelOutput, OutputMatrix
from hesscope.objective import Objective
from hesscope.objective.data import Batch


def capture_outputs(
    objective: Objective, matrix: OutputMatrix, batch: Batch, index: int, constants: Sequence[Tensor]
) -> Captured:
    """Record the operators that compute Jᵀc of one batch, with Jᵀ as a constant.

    Costs a gradient, and Python time in proportion to the number of operators.

    Raises
    ------
    CaptureError
        As :func:`hesscope.curvature.jets.capture.capture`.
    """
    start = time.perf_counter()
    parameters = objective.parameter_set.tensors

    reads = Reads(len(parameters))
    count = 0  # of gradients and cotangents

    def pulled(*_: Tensor) -> list[Tensor | None]:
        nonlocal count
        with reads, mark_stops(reads.read):
            output = ModelOutput(objective, batch)
        cut = [leaf.detach().requires_grad_() for leaf in output.leaves]
        with reads, mark_stops(reads.read):
            cotangents = matrix.cotangents(output, cut, constants)
        found = torch.autograd.grad(output.leaves, parameters, cotangents, allow_unused=True)
        count = len(found) + len(cotangents)
        return [*found, *cotangents, *(tensor for tensor, _ in reads.found)]

    with objective.evaluating(index), _elementary(objective):
        inputs = [*input_tensors(objective, batch), *constants]
        try:
            with light():
                traced = make_fx(pulled, decompositions(), tracing_mode="real")(*inputs)
            code = fuse_rms_norms(listing(traced, len(inputs), len(parameters)))
            code.separate_guards(count, [value for _, value in reads.found])
            freeze_backward(code, len(parameters))
        except CaptureError:
            raise
        except Exception as error:
            raise CaptureError(_reason(error)) from error
    return Captured(code, time.perf_counter() - start)


def freeze_backward(code: Listing, selected: int) -> None:
    """Let everything that the backward pass takes from elsewhere count as constant, in place.

    The outputs beyond the first ``selected`` are the cotangents that it begins with; they are no outputs
    afterwards.

    Raises
    ------
    CaptureError
        If the cotangents themselves come from what the backward pass computes.
    """
    cotangents = {i for i in code.outputs[selected:] if i is not None}
    del code.outputs[selected:]
    origins = _origins(code, cotangents)
    backward = set(cotangents)
    stopped: dict[int, Ref] = {}
    result: list[Instruction] = []
    for instruction in code.code:
        read = references(instruction.args) + references(tuple(instruction.kwargs.values()))
        if instruction.index in cotangents or backward.isdisjoint(read):
            result.append(instruction)
            continue
        if instruction.index in origins:
            msg = f"{instruction.target} belongs to the outputs of the model and to the backward pass"
            raise CaptureError(msg)
        backward.add(instruction.index)
        for i in dict.fromkeys(read):
            if i not in backward and i not in stopped:
                stopped[i] = Ref(len(code.shapes))
                code.shapes.append(code.shapes[i])
                result.append(Instruction(stopped[i].index, stop, (Ref(i),), {}, code.shapes[i]))
        instruction.args = _replaced(instruction.args, stopped)
        instruction.kwargs = {key: _replaced(entry, stopped) for key, entry in instruction.kwargs.items()}
        result.append(instruction)
    code.code = result


def _origins(code: Listing, cotangents: set[int]) -> set[int]:
    """Return the results that the cotangents are computed from."""
    found: set[int] = set()
    needed = set(cotangents)
    for instruction in reversed(code.code):
        if instruction.index in needed:
            read = references(instruction.args) + references(tuple(instruction.kwargs.values()))
            needed.update(read)
            found.update(read)
    return found


def _replaced(argument: Any, stopped: dict[int, Ref]) -> Any:
    if isinstance(argument, Ref):
        return stopped.get(argument.index, argument)
    if isinstance(argument, (tuple, list)):
        return type(argument)(_entries(argument, stopped))
    return argument


def _entries(arguments: Sequence[Any], stopped: dict[int, Ref]) -> Iterator[Any]:
    return (_replaced(entry, stopped) for entry in arguments)
