"""No backend sees an input twice."""

from __future__ import annotations

import numpy as np
import pytest

from lineside.benchmarks.measure.inputs import ARRAYS, Rotation, strips, tensors
from lineside.spec import PRESETS


def test_no_two_of_a_thousand_inputs_are_alike() -> None:
    rotation = tensors((1, 3, 16, 16), "float32")
    seen = {rotation.take(index).tobytes() for index in range(1000)}
    assert len(seen) == 1000


def test_an_array_that_comes_round_again_holds_something_new() -> None:
    rotation = tensors((2, 4), "float32")
    before = rotation.take(0)
    held = before.copy()
    again = rotation.take(ARRAYS)
    assert again is before
    assert not np.array_equal(again, held)


def test_the_same_number_is_the_same_input_for_every_backend_of_a_round() -> None:
    rotation = strips(PRESETS["square"])
    for index in (0, 3, ARRAYS, 5 * ARRAYS + 1):
        held = rotation.take(index).copy()
        assert np.array_equal(rotation.take(index), held)


@pytest.mark.parametrize("dtype", ["float32", "uint8"])
def test_strips_are_what_a_camera_gives(dtype: str) -> None:
    strip = strips(PRESETS["strip"], dtype=dtype).take(0)
    assert (strip.shape, strip.dtype, strip.min(), strip.max()) == ((4, 976, 176), dtype, 0, 255)


@pytest.mark.parametrize(("dtype", "low", "high"), [("int64", 0, 1), ("bool", 0, 1), ("uint8", 0, 255), ("int8", -128, 127)])
def test_whole_numbers_are_in_the_range_that_a_graph_can_take(dtype: str, low: int, high: int) -> None:
    found = tensors((1, 64, 64), dtype).take(0)
    assert (found.dtype, int(found.min()), int(found.max())) == (dtype, low, high)


@pytest.mark.parametrize("shape", [(), (1,), (3,), (1, 1)])
def test_inputs_may_be_as_small_as_a_number(shape: tuple[int, ...]) -> None:
    rotation = tensors(shape, "float32")
    assert all(rotation.take(index).shape == shape for index in range(30))


def test_large_inputs_are_fewer() -> None:
    made = []

    def make(rng: np.random.Generator, shape: tuple[int, ...]) -> np.ndarray:
        made.append(shape)
        return np.zeros(shape, np.float32)

    Rotation((1, 8192, 8192), make)  # 256 MiB
    assert made.count((1, 8192, 8192)) == 2
