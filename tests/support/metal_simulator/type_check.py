"""Checks Metal kernels with clang without running them: address spaces as types, and what may be contracted.

All instantiations of a kernel are one translation unit, so that clang reads the source once.
"""

import re
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace

import mlx.core as mx

from .compiler import FLAGS, HERE, find_clang, function_text, instance
from .signature import Call, Kernel, TemplateArgument

SPACES = ("device", "threadgroup", "thread", "constant")
_SPACE = re.compile(r"\b(?:device|threadgroup|thread|constant)\b")
_POINTER = re.compile(r"([^;{}()<,]*?)\b(?:u?int4?|float4?|half|Piece|simdgroup_float8x8)\s*(?:\*|\(&)")


@dataclass
class CallRecorder:
    """Its `metal_kernel` takes the place of `mx.fast.metal_kernel`: notes calls, computes zeros."""

    calls: list[Call] = field(default_factory=list)

    def metal_kernel(
        self,
        name: str,
        input_names: Sequence[str],
        output_names: Sequence[str],
        source: str,
        header: str = "",
        *,
        compile_options: Mapping[str, str],
    ) -> "RecordedKernel":
        assert compile_options == {"math_mode": "safe"}, "comparisons with NaN rely on it"
        kernel = Kernel(name, tuple(input_names), tuple(output_names), source, header, False)
        return RecordedKernel(self, kernel)

    def by_kernel(self) -> dict[str, list[Call]]:
        """The different instantiations of each kernel."""
        found: dict[str, dict[str, Call]] = {}
        for call in self.calls:
            found.setdefault(call.kernel.name, {})[call.function_name] = call
        return {name: list(calls.values()) for name, calls in found.items()}


@dataclass(frozen=True)
class RecordedKernel:
    """A kernel of a CallRecorder."""

    recorder: CallRecorder
    kernel: Kernel

    def __call__(
        self,
        *,
        inputs: Sequence[mx.array],
        output_shapes: Sequence[Sequence[int]],
        output_dtypes: Sequence[mx.Dtype],
        grid: tuple[int, int, int],
        threadgroup: tuple[int, int, int],
        template: Sequence[tuple[str, TemplateArgument]],
    ) -> list[mx.array]:
        described = tuple((array.dtype, tuple(array.shape)) for array in inputs)
        self.recorder.calls.append(Call(self.kernel, described, tuple(output_dtypes), tuple(template)))
        return [
            mx.zeros(tuple(shape), dtype) for shape, dtype in zip(output_shapes, output_dtypes, strict=True)
        ]


def complaints(calls: Sequence[Call]) -> list[str]:
    """What Metal's compiler would say against instantiations of one kernel; empty where it takes them all."""
    done = _run(calls, "-O0", "-S", "-emit-llvm", "-Wno-unused-function", "-o", "-")
    if done.returncode != 0:
        return done.stderr.splitlines()
    # C++ lets a cast change the address space, Metal does not.
    return [*unqualified_pointers(calls[0].kernel), *_lines_of_kernel(done.stdout, "addrspacecast")]


def contractions(calls: Sequence[Call]) -> list[str]:
    """Lines of LLVM code that a compiler may contract into fused multiply-adds, as Apple's does."""
    done = _run(calls, "-O0", "-ffp-contract=on", "-S", "-emit-llvm", "-o", "-")
    assert done.returncode == 0, done.stderr
    return _lines_of_kernel(done.stdout, "llvm.fmuladd")


def _lines_of_kernel(code: str, mark: str) -> list[str]:
    """Lines with a mark in LLVM code, but for functions of the shim and of `_run`."""
    found, is_ours = [], False
    for line in code.splitlines():
        if line.startswith("define "):
            is_ours = not any(other in line for other in ("simdgroup_", "entry", "simulator"))
        elif is_ours and mark in line:
            found.append(line.strip())
    return found


def unqualified_pointers(kernel: Kernel) -> list[str]:
    """Declarations of pointers without an address space, which Metal refuses and C++ takes."""
    found = []
    for line in (kernel.header + kernel.source).splitlines():
        for match in _POINTER.finditer(line):
            if not _SPACE.search(match[1]):
                found.append(line.strip())
    return found


def mutants(call: Call) -> list[tuple[str, Call]]:
    """Each word of an address space in a kernel, left out or exchanged for another."""
    kernel, found = call.kernel, []
    for where in ("header", "source"):
        text: str = getattr(kernel, where)
        for match in _SPACE.finditer(text):
            for other in ("", *SPACES):
                if other == match[0] or text[match.end()] not in " *":
                    continue
                changed = text[: match.start()] + other + text[match.end() :]
                line = text[: match.start()].count("\n") + 1
                label = f"{kernel.name} {where}:{line} {match[0]} -> {other or 'nothing'}"
                is_header = where == "header"
                mutant = replace(kernel, header=changed) if is_header else replace(kernel, source=changed)
                found.append((label, replace(call, kernel=mutant)))
    return found


def _run(calls: Sequence[Call], *options: str) -> "subprocess.CompletedProcess[str]":
    name = calls[0].function_name
    entries = "".join(
        f"void entry{index}(void* const* buffers, const simulator::ThreadPosition& position) "
        f"{{ {instance(call, name=name)}; }}\n"
        for index, call in enumerate(calls)
    )
    flags = [flag for flag in FLAGS if flag not in ("-O2", "-ffp-contract=off", "-fPIC")]
    command = [find_clang(), *flags, f"-I{HERE}", f"-I{HERE / 'include'}", "-x", "c++", "-", *options]
    text = function_text(calls[0]) + entries
    return subprocess.run(command, input=text, capture_output=True, text=True, check=False)
