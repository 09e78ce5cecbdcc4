"""The Metal simulator itself: it must refuse what Metal refuses and report what Metal would hang on."""

import sys
from collections.abc import Sequence

import mlx.core as mx
import numpy as np
import pytest
from numpy.typing import NDArray

from tests.support.metal_simulator import MetalSimulator, SimulatedMetalError
from tests.support.metal_simulator.compiler import CompilationError, find_clang
from tests.support.metal_simulator.signature import Call, Kernel, write_kernel

pytestmark = pytest.mark.skipif(sys.platform == "darwin", reason="Macs run the kernels on Metal itself")

COUNTING = mx.array(np.arange(64, dtype=np.float32))
THREAD = "uint t = thread_position_in_threadgroup.x;\n"
BARRIER = "threadgroup_barrier(mem_flags::mem_threadgroup);\n"


def run(
    body: str,
    *,
    given: mx.array = COUNTING,
    threads: int = 64,
    header: str = "",
    dtype: mx.Dtype = mx.float32,
    backwards: bool = False,
) -> NDArray[np.generic]:
    kernel = MetalSimulator(backwards=backwards).metal_kernel(
        "probe", ["given"], ["out"], THREAD + body, header
    )
    (out,) = kernel(
        inputs=[given],
        grid=(threads, 1, 1),
        threadgroup=(threads, 1, 1),
        output_shapes=[(threads,)],
        output_dtypes=[dtype],
    )
    return np.array(out)


def test_threads_exchange_values_through_threadgroup_memory() -> None:
    out = run(f"threadgroup float kept[64]; kept[t] = given[t]; {BARRIER} out[t] = kept[63 - t];")
    assert out.tolist() == list(range(63, -1, -1))


def test_simd_groups_shuffle_and_sum_their_own_lanes() -> None:
    assert run("out[t] = simd_shuffle_xor(given[t], 5);").tolist() == [float(t ^ 5) for t in range(64)]
    assert run("out[t] = simd_sum(given[t]);").tolist() == [496.0] * 32 + [1520.0] * 32


def test_simdgroup_matrix_multiplies_and_accumulates() -> None:
    body = """
        simdgroup_float8x8 a, b;
        simdgroup_load(a, given, 8);
        simdgroup_load(b, given, 8);
        simdgroup_float8x8 c = make_filled_simdgroup_matrix<float, 8, 8>(1.0f);
        simdgroup_multiply_accumulate(c, a, b, c);
        simdgroup_store(c, out, 8);
    """
    matrix = np.arange(64, dtype=np.float32).reshape(8, 8)
    assert np.array_equal(run(body).reshape(8, 8), matrix @ matrix + 1)


def test_the_last_threadgroup_of_a_grid_may_be_smaller() -> None:
    kernel = MetalSimulator().metal_kernel(
        "sizes", ["given"], ["out"], "out[thread_position_in_grid.x] = threads_per_threadgroup.x + given[0];"
    )
    (out,) = kernel(
        inputs=[mx.array(0.0)[None]],
        grid=(70, 1, 1),
        threadgroup=(32, 1, 1),
        output_shapes=[(70,)],
        output_dtypes=[mx.float32],
    )
    assert np.array(out).tolist() == [32.0] * 64 + [6.0] * 6


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param(
            f"if (t < 40) {{ {BARRIER} }}\n out[t] = 0;",
            "deadlock: thread 0 waits in threadgroup_barrier at line 2, 40 of 64",
            id="a barrier some threads never reach",
        ),
        pytest.param(
            f"if (t < 32) {{\n {BARRIER} }} else {{\n {BARRIER} }}\n out[t] = 0;",
            "barriers diverge: thread 32 waits at line 5, others at line 3",
            id="two barriers for one",
        ),
        pytest.param(
            "if (t == 3) { out[t] = simd_sum(1.0f); } else { out[t] = simd_shuffle_xor(1.0f, 1); }",
            "SIMD-group 0 diverges: lane 3 is in simd_sum",
            id="lanes in different operations",
        ),
        pytest.param(
            f"if (t % 32 == 0) {{ {BARRIER} }} else {{ out[t] = simd_sum(1.0f); }}",
            "deadlock",
            id="a lane at a barrier, the others in a SIMD-group operation",
        ),
        pytest.param(
            "out[t] = given[t + 1];", "thread 63 touches byte 256 of buffer 0", id="read past the end"
        ),
        pytest.param(
            "out[t + 1] = given[t];", "thread 63 touches byte 256 of buffer 1", id="write past the end"
        ),
        pytest.param(
            "device float* far = (device float*)given; far[t] = 0;",
            "is a read-only input",
            id="write to an input",
        ),
        pytest.param("out[t] = ((device float*)0)[t];", "touches memory of no buffer", id="wild pointer"),
        pytest.param(
            "threadgroup float kept[8193]; kept[t] = given[t]; out[t] = kept[t];",
            "32772 bytes of threadgroup memory, at most 32768",
            id="too much threadgroup memory",
        ),
    ],
)
def test_a_wrong_kernel_is_reported(body: str, complaint: str) -> None:
    with pytest.raises(SimulatedMetalError, match="probe: .*" + complaint):
        run(body)


@pytest.mark.parametrize(
    ("body", "complaint"),
    [
        pytest.param("out[t] = sinh(given[t]);", "sinh", id="a C function that is not simulated"),
        pytest.param(
            "out[t] = metal::erf_of_metal(given[t]);", "erf_of_metal", id="an unknown Metal function"
        ),
        pytest.param("double x = 1; out[t] = x;", "double", id="double"),
        pytest.param(
            "thread float* p = out; p[t] = 0;", "cannot initialize", id="pointers of two address spaces"
        ),
        pytest.param("bfloat16_t x = 0; out[t] = x;", "bfloat16_t", id="a type that is not simulated"),
    ],
)
def test_what_metal_or_the_shim_lacks_does_not_compile(body: str, complaint: str) -> None:
    with pytest.raises(SimulatedMetalError, match=f"clang refuses the kernel:(.|\n)*{complaint}"):
        run(body)


def test_a_missing_clang_is_named_with_what_to_install(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    with pytest.raises(CompilationError, match="needs clang 14 or newer(.|\n)*apt-get install clang"):
        find_clang.__wrapped__()


def test_a_threadgroup_above_1024_threads_is_refused() -> None:
    with pytest.raises(SimulatedMetalError, match="has 1025 threads, at most 1024"):
        run("out[t] = 0;", threads=1025)


def test_an_empty_grid_is_refused() -> None:
    with pytest.raises(SimulatedMetalError, match="empty grid"):
        run("out[t] = 0;", threads=0)


def test_small_inputs_are_constant_as_in_mlx() -> None:
    body = "const device float* p = given; out[t] = p[0];"
    assert run(body, given=mx.zeros((8,))).tolist() == [0.0] * 64
    with pytest.raises(SimulatedMetalError, match="constant"):
        run(body, given=mx.zeros((7,)))


def test_outputs_and_threadgroup_memory_are_poisoned() -> None:
    assert np.isnan(run("if (t == 1) out[t] = 0;")[[0, 2, 63]]).all()
    assert set(run("if (t == 1) out[t] = 0;", dtype=mx.uint32)[2:].tolist()) == {0xDEAD}
    assert np.isnan(run("threadgroup float kept[64]; if (t == 1) kept[t] = 0; out[t] = kept[t];")[2:]).all()


def test_init_value_fills_the_outputs() -> None:
    kernel = MetalSimulator().metal_kernel("fill", ["given"], ["out"], "if (given[0] > 1) out[0] = 0;")
    (out,) = kernel(
        inputs=[mx.array([1.0])],
        grid=(1, 1, 1),
        threadgroup=(1, 1, 1),
        output_shapes=[(3,)],
        output_dtypes=[mx.float32],
        init_value=7,
    )
    assert np.array(out).tolist() == [7.0] * 3


def test_the_two_orders_of_threads_unmask_a_missing_barrier() -> None:
    racing = "threadgroup float kept[64]; kept[t] = given[t]; out[t] = kept[63 - t];"
    assert not np.array_equal(run(racing), run(racing, backwards=True), equal_nan=True)
    fenced = racing.replace("; out", f"; {BARRIER} out")
    assert np.array_equal(run(fenced), run(fenced, backwards=True))


def test_shape_strides_and_ndim_are_passed_where_the_source_names_them() -> None:
    body = "out[t] = given_shape[0] * 1000 + given_strides[0] * 10 + given_ndim;"
    assert run(body, given=mx.zeros((4, 16))).tolist() == [4162.0] * 64


def written(source: str, inputs: Sequence[tuple[mx.Dtype, tuple[int, ...]]]) -> str:
    names = tuple(f"in{index}" for index in range(len(inputs)))
    kernel = Kernel("k", names, ("out",), source, "header;\n", False)
    return write_kernel(
        Call(kernel, tuple(inputs), (mx.float16,), (("N", 3), ("FLAG", True), ("T", mx.uint32)))
    )


def test_the_signature_is_written_as_mlx_writes_it() -> None:
    source = "uint i = thread_position_in_grid.x + in1_shape[0]; out[i] = in0;"
    assert written(source, [(mx.float32, ()), (mx.int32, (2, 3)), (mx.uint32, (8,))]) == (
        "header;\ntemplate <int N, bool FLAG, typename T>\n"
        "[[kernel]] void custom_kernel_k__3_1_uint32_t_floats_int32_tc_uint32_t_float16_t(\n"
        "  const constant float& in0 [[buffer(0)]],\n"
        "  const constant int32_t* in1 [[buffer(1)]],\n"
        "  const constant int* in1_shape [[buffer(2)]],\n"
        "  const device uint32_t* in2 [[buffer(3)]],\n"
        "  device float16_t* out [[buffer(4)]],\n"
        "  uint3 thread_position_in_grid [[thread_position_in_grid]]) {\n"
        f"{source}\n}}\n"
    )


def test_a_scalar_has_no_shape() -> None:
    assert "in0_shape [[" not in written("out[0] = in0 + in0_shape[0];", [(mx.float32, ())])
