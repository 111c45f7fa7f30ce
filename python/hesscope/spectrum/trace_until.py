"""A trace to a tolerance: looks at growing numbers of samples, and what is sampled after the first look."""

from __future__ import annotations

from dataclasses import dataclass, replace

import torch
from torch import Tensor

from hesscope.krylov.arguments import positive
from hesscope.results import Eigenpairs, Estimate, Status
from hesscope.spectrum.adaptive import FIRST_LOOK, look_counts, look_level
from hesscope.spectrum.balanced import PLAIN, Signs, balanced, single, variances
from hesscope.spectrum.probing import NonFiniteError, Prober
from hesscope.spectrum.sampling import half_width
from hesscope.spectrum.scale import STEPS, NuclearBound
from hesscope.spectrum.sketch import Sketch
from hesscope.spectrum.trace_plans import Plan, beyond, plain, sampled, without

DIRECTIONS = 8  # of the sketch
_GROUPS = 4  # of balanced signs at the first look
# Steps that tr|H| gets anyway; further ones only where a bound so many times as large would be enough.
_SURE, _HOPELESS = 3, 2.0
# Forms still needed, in units of what a sketch costs, from which on one is made: where it holds nothing of H,
# a quarter is wasted. A product counts as two forms, and the first look is not used again.
_WORTH = 4


def tolerance(where: str, tol: float, method: str) -> float:
    """Return a checked tolerance."""
    value = positive(where, "tol", tol)
    if method in ("xtrace", "hutch++"):
        msg = f"{where}: tol must be None for method={method!r}, whose number of products is fixed beforehand"
        raise ValueError(msg)
    return value


def enough_rows(prober: Prober) -> bool:
    """Tell whether the diagonal itself costs no more than a first look and a sketch."""
    return prober.n <= prober.budget // 2 and prober.n <= 2 * DIRECTIONS + STEPS + FIRST_LOOK


def until(prober: Prober, method: str, tol: float, pairs: Eigenpairs | None) -> Estimate:
    """Sample until the half-width is at most ``tol`` times a lower bound of tr|H|.

    The first look is at groups of balanced signs where the operator has layers, at 8 plain signs where not.
    If it is not enough, its variances decide how to go on: with the same signs; or afresh, with plain signs,
    or outside a small sketch. Both courses have their looks, and every look its share of the 5 %.
    """
    needed = STEPS + FIRST_LOOK
    if prober.budget < needed:
        msg = f"{prober.where}: products must be at least {needed} with tol, got {prober.budget}"
        raise ValueError(msg)
    search = _Search(prober, tol, NuclearBound(prober, pairs))
    plan = plain() if pairs is None else without(prober, pairs)
    signs = balanced(prober.operator.layers()) if method == "auto" else PLAIN
    first = FIRST_LOOK if signs.members == 1 else _GROUPS * signs.members
    if prober.budget < STEPS + 2 * first:
        signs, first = PLAIN, FIRST_LOOK
    # What is spent when another course begins.
    again = first + (2 * min(DIRECTIONS, prober.n) if pairs is None else 0)
    course = _Course(plan, signs, _looks(first, prober.budget - STEPS, signs))
    left = prober.budget - STEPS - again
    second = _looks(first, left, signs) if method == "auto" and left >= first else []
    if signs.members == 1 and pairs is not None:
        second = []  # nothing else can be sampled
    search.looks = len(course.counts) + len(second)
    samples = search.sample(course, [first])
    if second and search.open:
        course, samples = _go_on(search, course, samples, second, may_sketch=pairs is None)
    elif search.open:
        samples = search.sample(course, course.counts[1:], samples)
    if prober.status is Status.COMPLETE:
        prober.status = Status.CONVERGED if search.reached else Status.MAX_PRODUCTS
    name = course.plan.method
    if course.signs.members > 1:
        name = f"{name}, signs balanced between layers in groups of {course.signs.members}"
    name = f"{name}, at {100 * search.level:.3g} % for each of {search.looks} looks"
    return sampled(prober, single(samples), course.plan.known, name, level=search.level)


@dataclass(frozen=True)
class _Course:
    """What is sampled with which signs, looking at which numbers of forms."""

    plan: Plan
    signs: Signs
    counts: list[int]


def _looks(first: int, most: int, signs: Signs) -> list[int]:
    return look_counts(first, most - most % signs.members)


def _go_on(
    search: _Search, course: _Course, samples: Tensor, second: list[int], *, may_sketch: bool
) -> tuple[_Course, Tensor]:
    """Decide by the first look, which only the same course uses again."""
    grouped, alone = variances(samples)
    signs = course.signs if grouped <= alone else PLAIN
    needed = 9 * min(grouped, alone) / max(search.target, 1e-300) ** 2
    size = 2 * min(DIRECTIONS, search.prober.n)
    plan = course.plan
    if may_sketch and needed >= _WORTH * (2 * size + samples.numel()):
        try:
            sketch = Sketch(search.prober, size // 2, kind="gaussian")
        except NonFiniteError:
            search.prober.status = Status.NONFINITE_OPERATOR
            return course, samples
        plan = beyond(sketch, "small sketch")
    elif signs is course.signs:
        return course, search.sample(course, course.counts[1:], samples)
    other = replace(course, plan=plan, signs=signs, counts=second)
    try:
        return other, search.sample(other, second)
    except NonFiniteError:
        search.prober.status = Status.NONFINITE_OPERATOR
        return course, samples


class _Search:
    """Samples until the half-width is small enough."""

    def __init__(self, prober: Prober, tol: float, bound: NuclearBound) -> None:
        self.prober, self.looks, self.reached = prober, 1, False
        self._tol, self._bound = tol, bound

    @property
    def level(self) -> float:
        """Of the interval at every look."""
        return look_level(self.looks)

    @property
    def target(self) -> float:
        """The half-width that is enough, as far as is known."""
        return self._tol * self._bound.value

    @property
    def open(self) -> bool:
        """True if more samples are wanted and possible."""
        return not self.reached and self.prober.status is Status.COMPLETE

    def sample(self, course: _Course, counts: list[int], samples: Tensor | None = None) -> Tensor:
        """Add samples ``[G, members]`` up to each of the counts in turn, until they are enough."""
        for count in counts:
            missing = count - (0 if samples is None else samples.numel())
            try:
                fresh = self.prober.forms(missing, course.plan.correct, signs=course.signs)
            except NonFiniteError:
                if samples is None:
                    raise
                self.prober.status = Status.NONFINITE_OPERATOR
                break
            samples = fresh if samples is None else torch.cat([samples, fresh])
            if self.prober.status is not Status.COMPLETE:
                break
            half = float(half_width(single(samples), self.level))
            self.reached = self._enough(course.plan.known + float(samples.mean()), half)
            if not self.open:
                break
        assert samples is not None
        return samples

    def _enough(self, value: float, half: float) -> bool:
        # |tr H| <= tr|H| costs nothing.
        if half <= self._tol * (abs(value) - half):
            return True
        while half > self.target and not self._bound.exhausted:
            if self._bound.steps >= _SURE and half > _HOPELESS * self.target:
                break
            self._bound.step()
        return half <= self.target
