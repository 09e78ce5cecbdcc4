"""Writes the kernel function around a Metal source as MLX does. Knows nothing of how it is run.

The rules are those of mlx/backend/common/metal_kernel.cpp: address space by size, scalars by reference,
shapes, strides and ndim where the source names them, Metal attributes found in the source.
"""

from collections.abc import Sequence
from dataclasses import dataclass

import mlx.core as mx

TemplateArgument = bool | int | mx.Dtype

MAX_CONSTANT_ELEMENTS = 8
"""Inputs with fewer elements travel in the constant address space."""

ATTRIBUTES = {
    "dispatch_quadgroups_per_threadgroup": "uint",
    "dispatch_simdgroups_per_threadgroup": "uint",
    "dispatch_threads_per_threadgroup": "uint3",
    "grid_origin": "uint3",
    "grid_size": "uint3",
    "quadgroup_index_in_threadgroup": "uint",
    "quadgroups_per_threadgroup": "uint",
    "simdgroup_index_in_threadgroup": "uint",
    "simdgroups_per_threadgroup": "uint",
    "thread_execution_width": "uint",
    "thread_index_in_quadgroup": "uint",
    "thread_index_in_simdgroup": "uint",
    "thread_index_in_threadgroup": "uint",
    "thread_position_in_grid": "uint3",
    "thread_position_in_threadgroup": "uint3",
    "threadgroup_position_in_grid": "uint3",
    "threadgroups_per_grid": "uint3",
    "threads_per_grid": "uint3",
    "threads_per_simdgroup": "uint",
    "threads_per_threadgroup": "uint3",
}

TYPE_NAMES = {
    mx.bool_: "bool",
    mx.int8: "int8_t",
    mx.int16: "int16_t",
    mx.int32: "int32_t",
    mx.int64: "int64_t",
    mx.uint8: "uint8_t",
    mx.uint16: "uint16_t",
    mx.uint32: "uint32_t",
    mx.uint64: "uint64_t",
    mx.float16: "float16_t",
    mx.bfloat16: "bfloat16_t",
    mx.float32: "float",
    mx.complex64: "complex64_t",
}


@dataclass(frozen=True)
class Kernel:
    """What `mx.fast.metal_kernel` was told."""

    name: str
    input_names: tuple[str, ...]
    output_names: tuple[str, ...]
    source: str
    header: str
    atomic_outputs: bool

    @property
    def attributes(self) -> list[str]:
        return [name for name in ATTRIBUTES if name in self.source]


@dataclass(frozen=True)
class Parameter:
    """One buffer of the kernel function; `origin` says what fills it."""

    type: str
    name: str
    origin: str


@dataclass(frozen=True)
class Call:
    """One instantiation: the types and shapes that the signature depends on."""

    kernel: Kernel
    inputs: tuple[tuple[mx.Dtype, tuple[int, ...]], ...]
    output_dtypes: tuple[mx.Dtype, ...]
    template: tuple[tuple[str, TemplateArgument], ...]

    @property
    def parameters(self) -> list[Parameter]:
        found: list[Parameter] = []
        for name, (dtype, shape) in zip(self.kernel.input_names, self.inputs, strict=True):
            found.extend(_input_parameters(self.kernel.source, name, dtype, shape))
        for name, dtype in zip(self.kernel.output_names, self.output_dtypes, strict=True):
            kind = f"atomic<{TYPE_NAMES[dtype]}>" if self.kernel.atomic_outputs else TYPE_NAMES[dtype]
            found.append(Parameter(f"device {kind}*", name, "output"))
        return found

    @property
    def template_arguments(self) -> str:
        return ", ".join(_argument_text(value) for _, value in self.template)

    @property
    def function_name(self) -> str:
        parts = ["custom_kernel", self.kernel.name]
        if self.template:
            parts.append("_" + self.template_arguments.replace(", ", "_"))
        parts.extend(TYPE_NAMES[dtype] + _passing_suffix(shape) for dtype, shape in self.inputs)
        parts.extend(TYPE_NAMES[dtype] for dtype in self.output_dtypes)
        return "_".join(parts)


def write_kernel(call: Call) -> str:
    """The complete Metal function that MLX would hand to the Metal compiler, header first."""
    buffers = [
        f"  {parameter.type} {parameter.name} [[buffer({index})]]"
        for index, parameter in enumerate(call.parameters)
    ]
    attributes = [f"  {ATTRIBUTES[name]} {name} [[{name}]]" for name in call.kernel.attributes]
    signature = ",\n".join(buffers + attributes)
    return (
        f"{call.kernel.header}{_template_line(call.template)}[[kernel]] void {call.function_name}(\n"
        f"{signature}) {{\n{call.kernel.source}\n}}\n"
    )


def _input_parameters(source: str, name: str, dtype: mx.Dtype, shape: Sequence[int]) -> list[Parameter]:
    space = "constant" if _size(shape) < MAX_CONSTANT_ELEMENTS else "device"
    passing = "*" if shape else "&"
    found = [Parameter(f"const {space} {TYPE_NAMES[dtype]}{passing}", name, "input")]
    if not shape:
        return found
    described = {
        "shape": "const constant int*",
        "strides": "const constant int64_t*",
        "ndim": "const constant int&",
    }
    for what, kind in described.items():
        if f"{name}_{what}" in source:
            found.append(Parameter(kind, f"{name}_{what}", what))
    return found


def _size(shape: Sequence[int]) -> int:
    size = 1
    for extent in shape:
        size *= extent
    return size


def _passing_suffix(shape: Sequence[int]) -> str:
    if not shape:
        return "s"
    return "c" if _size(shape) < MAX_CONSTANT_ELEMENTS else ""


def _argument_text(value: TemplateArgument) -> str:
    # C++ streams print true as 1, and bool is an int to Python.
    return str(int(value)) if isinstance(value, int) else TYPE_NAMES[value]


def _template_line(template: Sequence[tuple[str, TemplateArgument]]) -> str:
    if not template:
        return ""
    return "template <" + ", ".join(f"{_parameter_kind(value)} {name}" for name, value in template) + ">\n"


def _parameter_kind(value: TemplateArgument) -> str:
    if isinstance(value, bool):
        return "bool"
    return "int" if isinstance(value, int) else "typename"
