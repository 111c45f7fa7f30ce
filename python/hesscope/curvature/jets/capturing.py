"""Capturing the gradient of an objective's batches, checking it, and computing the values of a batch."""

from __future__ import annotations

import contextlib
import functools
from collections.abc import Hashable, Iterator
from dataclasses import replace

import torch
from torch import Tensor

from hesscope.curvature.allocations import Allocations
from hesscope.curvature.custom_functions import require_second_derivatives
from hesscope.curvature.graph import build_graph
from hesscope.curvature.jets.capture import CaptureError, capture, input_tensors, signature
from hesscope.curvature.jets.footprint import Footprint
from hesscope.curvature.jets.program import Prepared, Program
from hesscope.curvature.jets.reads import holds
from hesscope.curvature.jets.verify import (
    MakeGraph,
    check_difference,
    check_gradient,
    check_product,
    double_backward,
    require_finite,
    trial_vector,
)
from hesscope.curvature.plan import Group
from hesscope.curvature.planned import PlannedHessian
from hesscope.objective import Objective
from hesscope.objective.data import Batch


@contextlib.contextmanager
def _naming_operators() -> Iterator[None]:
    """Turn what fails on the values of a first batch, where autograd does not, into a refusal."""
    try:
        yield
    except (CaptureError, MemoryError, torch.OutOfMemoryError):
        raise
    except Exception as error:
        where = " ".join(getattr(error, "__notes__", []))
        msg = f"{type(error).__name__} {where}: {' '.join(str(error).split())[:300]}"
        raise CaptureError(msg) from error


class Capturing(PlannedHessian):
    """An operator whose batches are evaluated by captured programs, one for each signature and path.

    Parameters
    ----------
    objective
        What is differentiated.
    memory_budget
        See :class:`hesscope.curvature.planned.PlannedHessian`.

    Attributes
    ----------
    capture_seconds
        What all captures together took.
    """

    captures = "gradient"  # for messages
    differentiates = True  # the captured gradient, whose differences are products

    def __init__(self, objective: Objective, *, memory_budget: int | None = None) -> None:
        super().__init__(objective, memory_budget=memory_budget)
        self._programs: dict[Hashable, Program] = {}
        self._verified: set[int] = set()  # batches whose gradient was checked since the last change
        self._trusted: set[Hashable] = set()  # signatures of those
        self.capture_seconds = 0.0

    def release(self) -> None:
        """Free what is kept; what was captured stays, but is checked anew."""
        super().release()
        self._verified.clear()
        self._trusted.clear()

    def verified(self, number: int, group: Group, batch: Batch) -> Program:
        """Return the captured gradient of a batch of the plan, checked against autograd."""
        key = self._variant(signature(self.objective, batch), batch, group.entries[0].index)
        if number not in self._verified or key not in self._programs:
            self._prepare(number, group, batch, whole=True)
        return self._programs[key]

    def _prepare(self, number: int, group: Group, batch: Batch, *, whole: bool = False) -> Prepared:
        """Compute the values of a batch; the first time, check them against autograd.

        ``whole``: it is not to be cut.
        """
        index = group.entries[0].index
        key = self._variant(signature(self.objective, batch), batch, index)
        if number in self._verified:
            return self._evaluate(self._programs[key], batch, index, None)
        counter = Allocations() if key not in self._programs and not whole else None
        with counter or contextlib.nullcontext():
            expected = self._gradient(batch, index)
        if counter is not None:  # the gradient itself and where it is added do not grow with the batch
            self._foresee(number, batch, max(counter.peak - 2 * counter.now, 0))
        require_finite(self.objective, expected, index)
        prepared = self._recall(key, batch, index, expected)
        if prepared is None:
            prepared = self._captured(batch, index, expected)
            self._programs[key] = prepared.program
        self._trusted.add(key)
        self._verified.add(number)
        return prepared

    def _foresee(self, number: int, batch: Batch, gradient: int) -> None:
        """Act on what the gradient of a batch of a new signature needed, before it is captured."""

    def _captured(self, batch: Batch, index: int, gradient: Tensor) -> Prepared:
        """Capture, and check a product with the batch's values, counting the memory of both."""
        vector = trial_vector(self.objective, index)
        expected, custom = double_backward(self._graph(batch, index), vector)  # freed before there are values
        if custom:  # what a backward hides may be hidden from both
            require_second_derivatives(self.objective, batch, index)
        program = self._capture(batch, index)
        got = torch.empty_like(vector)
        with _naming_operators():
            prepared = self._evaluate(program, batch, index, gradient)
            probe = Allocations()
            with probe:
                prepared.add_products(vector, got, scale=1.0, overwrite=True)
        assert program.footprint is not None
        program.footprint = replace(program.footprint, probe=probe.peak, product_flops=probe.flops)
        if self.memory + program.footprint.peak(1, kept=False) > self.memory_budget > 0:
            prepared = self._evaluate(program, batch, index, None)  # what counts is less without a gradient
        if expected is not None:
            check_product(self.objective, got, expected, index, gradient)
        elif self.differentiates:
            check_difference(self.objective, got, vector, batch, index)
        return prepared

    def _variant(self, base: Hashable, batch: Batch, index: int) -> Hashable:
        """Return the key of the captured path that a batch takes; of a new one if it takes no known path."""
        number = 0
        while (program := self._programs.get((base, number))) is not None:
            if not program.listing.guards:
                break
            constants = self._constants(batch, index)
            with self.objective.evaluating(index):
                if holds(program.listing, [*input_tensors(self.objective, batch), *constants]):
                    break
            number += 1
        return (base, number)

    def _gradient(self, batch: Batch, index: int) -> Tensor:
        """Return by autograd what is captured, for one batch."""
        expected = torch.zeros(self.objective.n, dtype=self.dtype, device=self.device)
        self.objective.add_gradient(expected, batch, index, 1.0)
        return expected

    def _graph(self, batch: Batch, index: int) -> MakeGraph:
        """Return a function that makes the graph of a batch, to check products with."""
        return functools.partial(build_graph, self.objective, batch, index)

    def _constants(self, batch: Batch, index: int) -> list[Tensor]:  # noqa: ARG002
        """Return further inputs of what is captured."""
        return []

    def _recall(self, key: Hashable, batch: Batch, index: int, expected: Tensor) -> Prepared | None:
        """Use what was captured for a signature; None if there is nothing, or if it is out of date.

        Out of date is what was right before a change: the model may have numbers of its own (a
        temperature) that are part of the captured gradient.
        """
        program = self._programs.get(key)
        if program is None:
            return None
        try:
            return self._evaluate(program, batch, index, expected)
        except CaptureError:
            if key in self._trusted:
                raise
            return None

    def _capture(self, batch: Batch, index: int) -> Program:
        captured = capture(self.objective, batch, index)
        self.capture_seconds += captured.seconds
        return Program(captured.code, self.objective.parameter_set.numels)

    def _evaluate(self, program: Program, batch: Batch, index: int, expected: Tensor | None) -> Prepared:
        constants = self._constants(batch, index)
        known = program.footprint
        primal = None if known is not None and (known.exact or expected is not None) else Allocations()
        with self.objective.evaluating(index), torch.no_grad():
            inputs = [*input_tensors(self.objective, batch), *constants]
            prepared, gradient = program.prepare(inputs, gradient=expected is not None, counter=primal)
        if primal is not None and known is None:
            program.footprint = Footprint(prepared.size, primal.peak, 0, primal.flops, 0)
        elif primal is not None and known is not None:
            program.footprint = replace(known, primal=primal.peak, exact=True)
        if expected is not None and gradient is not None:
            check_gradient(self.objective, gradient, expected, index)
        return prepared
