"""What every CUDA kernel costs a multiprocessor: registers, shared memory, spills, occupancy.

    python tests/cuda/resources.py --markdown table.md --require-wide 'dot' csrc/backends/cuda/*.cu

compiles each source for each architecture and reads what ``ptxas -v`` says. Fails (exit code 1) if a
kernel, or a function that a kernel calls, spills registers or has a stack frame in local memory. With
``--require-wide REGEX`` it disassembles too and fails unless every kernel whose name matches has a
16-byte load from global memory (``LDG.E.128``); nvdisasm comes with the toolkit or with the package
nvidia-cuda-nvdisasm. No GPU is needed.
"""

import argparse
import re
import shutil
import subprocess
import sys
import sysconfig
import tempfile
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

CSRC = Path(__file__).resolve().parents[2] / "csrc"
FLAGS = ["-std=c++20", "-O3", "-Xptxas", "-v", "-Werror", "all-warnings"]
WIDE_LOAD = re.compile(r"\bLDG\.E[.\w]*\.128\b")

# CUDA C++ Programming Guide, technical specifications per compute capability; all three have 64 warps,
# 32 blocks and 65536 registers per multiprocessor, in four partitions.
SHARED_PER_SM = {80: 164 << 10, 90: 228 << 10, 100: 228 << 10}
WARPS_PER_SM, BLOCKS_PER_SM, REGISTERS_PER_SM, PARTITIONS = 64, 32, 1 << 16, 4
RESERVED_SHARED, SHARED_UNIT, REGISTER_UNIT = 1 << 10, 128, 256


@dataclass(frozen=True)
class Usage:
    """One kernel on one architecture."""

    symbol: str
    arch: int
    registers: int
    shared: int  # static, bytes
    stack: int  # bytes of local memory a thread, of the kernel and of what it calls
    spills: int  # bytes stored and loaded a thread, likewise
    threads: int | None  # a block, from __launch_bounds__
    wide: bool | None  # has a 16-byte load; None if nobody looked


class ToolError(RuntimeError):
    """A program that this one needs failed or is missing."""


def say(text: str) -> None:
    sys.stdout.write(text + "\n")


def run(*command: str | Path) -> str:
    """Return what a program printed, stdout and stderr together."""
    words = [str(word) for word in command]
    done = subprocess.run(words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
    if done.returncode != 0:
        msg = f"{' '.join(words)}\n{done.stdout}"
        raise ToolError(msg)
    return done.stdout


def round_up(value: int, unit: int) -> int:
    return -(-value // unit) * unit


def occupancy(arch: int, registers: int, shared: int, threads: int) -> float:
    """Fraction of a multiprocessor's warps that can be resident, as cuda_occupancy.h computes it."""
    warps = round_up(threads, 32) // 32
    per_warp = round_up(max(registers, 1) * 32, REGISTER_UNIT)
    if per_warp * round_up(warps, PARTITIONS) > REGISTERS_PER_SM:
        return 0.0
    warps_by_registers = REGISTERS_PER_SM // PARTITIONS // per_warp * PARTITIONS
    per_block = round_up(shared + RESERVED_SHARED, SHARED_UNIT)
    blocks = min(
        BLOCKS_PER_SM, WARPS_PER_SM // warps, warps_by_registers // warps, SHARED_PER_SM[arch] // per_block
    )
    return blocks * warps / WARPS_PER_SM


def parse_ptxas(text: str, arch: int) -> Iterator[Usage]:
    """Read ``ptxas -v``. A function that was not inlined counts for the kernel it is listed under."""
    for part in re.split(r"Compiling entry function '", text)[1:]:
        symbol = part[: part.index("'")]
        used = re.search(r"Used (\d+) registers", part)
        if used is None:
            msg = f"ptxas did not say how many registers {symbol} uses:\n{part}"
            raise ToolError(msg)
        frames = re.findall(
            r"(\d+) bytes stack frame, (\d+) bytes spill stores, (\d+) bytes spill loads", part
        )
        shared = re.search(r"(\d+) bytes smem", part)
        yield Usage(
            symbol=symbol,
            arch=arch,
            registers=int(used[1]),
            shared=int(shared[1]) if shared else 0,
            stack=sum(int(stack) for stack, _, _ in frames),
            spills=sum(int(stores) + int(loads) for _, stores, loads in frames),
            threads=None,
            wide=None,
        )


def parse_launch_bounds(ptx: str) -> dict[str, int]:
    """Map the symbol of each kernel with ``__launch_bounds__`` to its threads a block."""
    bounds = {}
    for entry in re.finditer(r"\.entry\s+(\w+)\s*\(.*?\)(.*?)\{", ptx, re.DOTALL):
        if limit := re.search(r"\.maxntid\s+(\d+)(?:\s*,\s*(\d+))?(?:\s*,\s*(\d+))?", entry[2]):
            x, y, z = (int(size or 1) for size in limit.groups())
            bounds[entry[1]] = x * y * z
    return bounds


def parse_sass(text: str) -> dict[str, str]:
    """Split ``nvdisasm -c`` by kernel."""
    parts = re.split(r"^\.text\.(\w+):", text, flags=re.MULTILINE)
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def find_nvdisasm(nvcc: str) -> str | None:
    """Look beside nvcc, on the path and in the wheel of nvidia-cuda-nvdisasm."""
    beside = Path(shutil.which(nvcc) or nvcc).resolve().parent / "nvdisasm"
    wheels = sorted((Path(sysconfig.get_path("purelib")) / "nvidia").glob("*/bin/nvdisasm"))
    candidates = [str(beside), shutil.which("nvdisasm"), *map(str, wheels)]
    return next((path for path in candidates if path and Path(path).exists()), None)


def measure(source: Path, arch: int, nvcc: str, includes: list[Path], nvdisasm: str | None) -> list[Usage]:
    """Compile one source for one architecture and read off what its kernels use."""
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        cubin = folder / "kernels.cubin"
        keep = ["--keep", "--keep-dir", name]
        flags = [*FLAGS, f"-arch=sm_{arch}", *(f"-I{path}" for path in includes), *keep]
        text = run(nvcc, *flags, "-cubin", source, "-o", cubin)
        bounds: dict[str, int] = {}
        for ptx in folder.glob("*.ptx"):
            bounds |= parse_launch_bounds(ptx.read_text())
        sass = parse_sass(run(nvdisasm, "-c", cubin)) if nvdisasm else {}
    return [
        Usage(
            **vars(usage)
            | {
                "threads": bounds.get(usage.symbol),
                "wide": bool(WIDE_LOAD.search(sass[usage.symbol])) if sass else None,
            }
        )
        for usage in parse_ptxas(text, arch)
    ]


def readable(symbols: list[str]) -> dict[str, str]:
    """Map mangled names to short ones: ``multi_dot_partial_kernel<float, double>``."""
    if shutil.which("c++filt") is None or not symbols:
        return {symbol: symbol for symbol in symbols}
    lines = run("c++filt", *symbols).splitlines()
    return {symbol: shorten(line) for symbol, line in zip(symbols, lines, strict=True)}


def shorten(name: str) -> str:
    """Drop return type, namespaces and parameters of a demangled kernel."""
    name = name.replace("(anonymous namespace)::", "")
    name = re.sub(r"\b(\w+::)+", "", name)
    depth = 0
    for end, letter in enumerate(name):
        depth += {"<": 1, ">": -1}.get(letter, 0)
        if letter == "(" and depth == 0:
            name = name[:end]
            break
    return re.sub(r"^(void|__global__)\s+", "", name)


def table(usages: list[Usage], names: dict[str, str], threads: int) -> str:
    """Return the markdown table; occupancy counts static shared memory only."""
    lines = [
        f"Occupancy: resident warps of 64, with static shared memory, at the kernel's `__launch_bounds__` "
        f"or, marked *, at {threads} threads a block. A bound from compile-time facts, not a measurement.",
        "",
        "| kernel | arch | registers | static shared | spills | stack | 16-byte loads | occupancy |",
        "|---|---|---:|---:|---:|---:|---|---:|",
    ]
    for u in sorted(usages, key=lambda usage: (names[usage.symbol], usage.arch)):
        share = f"{occupancy(u.arch, u.registers, u.shared, u.threads or threads):.0%}"
        wide = {None: "?", True: "yes", False: "no"}[u.wide]
        star = "" if u.threads else "*"
        lines.append(
            f"| `{names[u.symbol]}` | sm_{u.arch} | {u.registers} | {u.shared} | {u.spills} | {u.stack} "
            f"| {wide} | {share}{star} |"
        )
    return "\n".join(lines) + "\n"


def complaints(usages: list[Usage], names: dict[str, str], require_wide: str | None) -> list[str]:
    """Return a sentence for each kernel that breaks a rule."""
    found = [
        f"{names[u.symbol]} on sm_{u.arch}: {u.spills} bytes of spills and a stack frame of {u.stack} bytes; "
        "a kernel must have neither"
        for u in usages
        if u.spills or u.stack
    ]
    if require_wide is None:
        return found
    watched = [u for u in usages if re.search(require_wide, names[u.symbol])]
    if not watched:
        found.append(f"--require-wide {require_wide!r} matches no kernel")
    found += [
        f"{names[u.symbol]} on sm_{u.arch}: no 16-byte load (LDG.E.128) in its SASS"
        for u in watched
        if u.wide is False
    ]
    return found


def parse_arguments(arguments: list[str] | None) -> argparse.Namespace:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("sources", nargs="+", type=Path, metavar="FILE.cu")
    parser.add_argument("--nvcc", default="nvcc", help="the compiler")
    parser.add_argument(
        "--include", type=Path, action="append", default=[CSRC, CSRC / "include"], help="folders beside csrc"
    )
    parser.add_argument(
        "--arch", type=int, action="append", choices=sorted(SHARED_PER_SM), help="default: all"
    )
    parser.add_argument("--threads", type=int, default=256, help="a block, without __launch_bounds__")
    parser.add_argument("--markdown", type=Path, help="write the table to this file")
    parser.add_argument("--require-wide", metavar="REGEX", help="kernels that must have 16-byte loads")
    return parser.parse_args(arguments)


def main(arguments: list[str] | None = None) -> int:
    options = parse_arguments(arguments)
    nvdisasm = find_nvdisasm(options.nvcc)
    if nvdisasm is None:
        say("SASS not checked: no nvdisasm in the toolkit, and nvidia-cuda-nvdisasm is not installed")
    jobs = [(source, arch) for source in options.sources for arch in options.arch or SHARED_PER_SM]
    try:
        with ThreadPoolExecutor(2) as pool:
            parts = pool.map(
                lambda job: measure(job[0], job[1], options.nvcc, options.include, nvdisasm), jobs
            )
            usages = [usage for part in parts for usage in part]
    except (ToolError, FileNotFoundError) as error:
        say(str(error))
        return 2
    names = readable([usage.symbol for usage in usages])
    text = table(usages, names, options.threads)
    say(text)
    if options.markdown:
        options.markdown.write_text(text)
    wrong = complaints(usages, names, options.require_wide)
    say("\n".join(wrong) if wrong else f"{len(usages)} kernels: no spills, no stack frames")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
