"""Time contractions of the third derivative against nested autograd, in gradients per vector.

The cases of jets_products.py. A unit is a plain gradient of the same batch. T[u, u, .] by the jets engine is
compared with reverse mode three times (one vector after the other on one graph of the gradient) and with
forward mode twice over the gradient; norms are elementary in all of them, for PyTorch's own derivatives of
third order are wrong. The forms of the loss alone and the sums over vectors are timed beside. Everything is
verified before it is timed. The memory of T[u, u, .] with one vector and with all, kept values included, is
that of new processes, beside reverse mode three times.

    python benchmarks/python/third_order.py [--tables times memory] [--case mlp] [--vectors 8] [--repeats 5]
        [--clock processor] [--json FILE]
"""

import functools
import statistics
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.func import functional_call, grad, jvp
from torch.nn.attention import SDPBackend, sdpa_kernel

import hesscope as hs
import process_memory
from harness import CLOCKS, arguments, environment, interleaved, median_ratio, record
from hesscope.third_order.elementary_norms import ElementaryNorms
from jets_products import CASES, problem
from peers import gradient


def forward_twice(model: nn.Module, batch: tuple[Tensor, Tensor], probes: Tensor) -> Tensor:
    """jvp of jvp of grad, one vector after the other."""
    names = [name for name, _ in model.named_parameters()]
    values = tuple(p.detach() for p in model.parameters())

    def loss(*parameters: Tensor) -> Tensor:
        named = dict(zip(names, parameters, strict=True))
        named |= {name: buffer.clone() for name, buffer in model.named_buffers()}
        return F.cross_entropy(functional_call(model, named, batch[0]), batch[1])

    slope = grad(loss, argnums=tuple(range(len(values))))
    found = []
    with sdpa_kernel(SDPBackend.MATH), ElementaryNorms():
        for probe in probes:
            pieces = probe.split([p.numel() for p in values])
            along = tuple(s.view(p.shape) for s, p in zip(pieces, values, strict=True))

            def product(*parameters: Tensor, along: tuple[Tensor, ...] = along) -> tuple[Tensor, ...]:
                return jvp(slope, parameters, along)[1]

            found.append(torch.cat([t.reshape(-1) for t in jvp(product, values, along)[1]]))
    return torch.stack(found)


def measure(case: str, count: int, repeats: int, clock: str) -> list[dict[str, object]]:
    model, batch = problem(case)
    objective = hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)
    jets = hs.third_order(objective, engine="jets")
    nested = hs.third_order(objective, engine="autograd")
    probes = torch.randn(count, objective.n, generator=torch.Generator().manual_seed(count))
    others = torch.randn(count, objective.n, generator=torch.Generator().manual_seed(count + 1))
    jobs = {
        "T[u,u,.]": functools.partial(jets.contract, probes, probes),
        "sum T[u,u,.]": functools.partial(jets.contract, probes, probes, reduction="sum"),
        "T[u,v,.]": functools.partial(jets.contract, probes, others),
        "T[d,v,.], one d": functools.partial(jets.contract, probes[0], others),
        "u'Hu": functools.partial(jets.quadratic_form, probes),
        "sum u'Hu": functools.partial(jets.quadratic_form, probes, reduction="sum"),
        "T[u,u,u]": functools.partial(jets.cubic_form, probes),
        "reverse, reverse, reverse": functools.partial(nested.contract, probes, probes),
        "jvp, jvp, grad": functools.partial(forward_twice, model, batch, probes),
    }
    verify(case, jobs, probes, nested.quadratic_form(probes))
    seconds = interleaved(
        {"gradient": functools.partial(gradient, model, [batch])} | jobs, repeats, clock=clock
    )
    unit = seconds.pop("gradient")
    rows: list[dict[str, object]] = []
    for name, spent in seconds.items():
        each = median_ratio(spent, unit) / count
        rows.append({"case": case, "n": objective.n, "K": count, "what": name, "gradients": each})
        print(f"{case:6} K={count} {name:26} {each:6.2f} gradients a vector", flush=True)
    print(f"{case:6} gradient {1000 * statistics.median(unit):.1f} ms", flush=True)
    return rows


def verify(case: str, jobs: dict[str, functools.partial[Tensor]], probes: Tensor, forms: Tensor) -> None:
    """Stop unless all ways agree, to what two float32 evaluations of a deep model may differ by."""
    results = {name: job() for name, job in jobs.items()}
    expected = results["reverse, reverse, reverse"]
    checks = {
        "T[u,u,.]": (results["T[u,u,.]"], expected),
        "jvp, jvp, grad": (results["jvp, jvp, grad"], expected),
        "sum T[u,u,.]": (results["sum T[u,u,.]"], expected.sum(0)),
        "T[u,u,u]": (results["T[u,u,u]"], (expected * probes).sum(1)),
        "u'Hu": (results["u'Hu"], forms),
        "sum u'Hu": (results["sum u'Hu"], forms.sum()),
    }
    for name, (got, wanted) in checks.items():
        error = float((got - wanted).norm() / wanted.norm())
        if not error <= 2**14 * torch.finfo(torch.float32).eps:
            msg = f"{case}: {name} is off by {error:.1e}"
            raise SystemExit(msg)


ENGINES = {"jets": "jets", "reverse, reverse, reverse": "autograd"}


def contraction(case: str, engine: str, count: int) -> Callable[[], Callable[[], Tensor]]:
    """Return what makes an operator, and from it T[u, u, .] of so many vectors."""
    model, batch = problem(case)
    gradient(model, [batch])
    objective = hs.Objective(model, lambda m, b: F.cross_entropy(m(b[0]), b[1]), batch)
    probes = torch.randn(count, objective.n)
    return lambda: functools.partial(hs.third_order(objective, engine=engine).contract, probes, probes)


def peak(case: str, engine: str, count: int) -> int:
    """Return the bytes at the peak of a second contraction, over the process before its operator."""
    torch.set_num_threads(1)
    contraction("small", engine, 1)()()  # imports and caches are not the contraction's
    return process_memory.peak(contraction(case, engine, count))


def measure_memory(case: str, count: int, repeats: int, clock: str) -> list[dict[str, object]]:
    del clock
    rows: list[dict[str, object]] = []
    for k in (1, count):
        sizes = {
            name: process_memory.in_processes(peak, case, engine, k, repeats=repeats)
            for name, engine in ENGINES.items()
        }
        share = sizes["jets"] / sizes["reverse, reverse, reverse"]
        rows.append({"case": case, "K": k, "MiB": sizes, "share": share})
        text = ", ".join(f"{name} {size:.1f}" for name, size in sizes.items())
        print(f"{case:6} K={k} MiB: {text}; {100 * share:.0f} %", flush=True)
    return rows


def main() -> None:
    parser = arguments(__doc__.splitlines()[0])
    parser.add_argument("--case", nargs="*", default=CASES)
    parser.add_argument("--vectors", type=int, default=8)
    parser.add_argument("--tables", nargs="*", default=["times", "memory"], choices=["times", "memory"])
    parser.add_argument("--clock", choices=CLOCKS, default="wall", help="what is timed: see harness.py")
    options = parser.parse_args()
    torch.set_num_threads(options.threads)
    print(environment())
    measures = {"times": measure, "memory": measure_memory}
    found = {
        table: [
            row
            for case in options.case
            for row in measures[table](case, options.vectors, options.repeats, options.clock)
        ]
        for table in options.tables
    }
    record(
        options.json,
        {"clock": options.clock, "rows": found.get("times", []), "memory": found.get("memory", [])},
    )


if __name__ == "__main__":
    main()
