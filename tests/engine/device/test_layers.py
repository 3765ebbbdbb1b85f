"""The device layer: both packages do the same, on a stand-in, whose streams do nothing until they are waited for."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from lineside_standin.install import Standin

from lineside import DeviceError
from lineside.engine.device.choose import open_device
from lineside.engine.device.protocol import Device

MIB = 2**20


@pytest.fixture(params=["cuda-python", "pycuda"])
def device(request: pytest.FixtureRequest, standin: Standin) -> Iterator[Device]:
    opened = open_device(request.param)
    yield opened
    opened.close()
    assert standin.living() == {}


def test_bytes_come_back_as_they_went_and_not_before_somebody_waits(device: Device) -> None:
    with device.current():
        there, back = device.pinned(MIB), device.pinned(MIB)
        memory, stream = device.allocate(MIB), device.stream()
        there.array[:] = np.arange(MIB) % 251
        device.copy_to_device(memory.address, there.array, stream)
        device.copy_to_host(back.array, memory.address, stream)
        assert not back.array.any()  # fresh memory is zeros, and nothing has run
        stream.synchronize()
        assert np.array_equal(back.array, there.array)
        for one in (there, back, memory, stream):
            one.close()
            one.close()
        assert there.array.size == 0


def test_a_part_of_the_memory_is_copied(device: Device) -> None:
    with device.current():
        host, memory, stream = device.pinned(256), device.allocate(256), device.stream()
        device.fill(memory.address, 7, 256, stream)
        device.copy_to_host(host.array[16:32], memory.address + 100, stream)
        stream.synchronize()
        assert host.array.sum() == 7 * 16
        for one in (host, memory, stream):
            one.close()


def test_mapped_memory_has_an_address_on_the_gpu_and_needs_no_copy(device: Device) -> None:
    with device.current():
        plain, mapped, stream = device.pinned(64), device.pinned(64, mapped=True), device.stream()
        assert plain.address == 0
        device.fill(mapped.address, 9, 64, stream)
        stream.synchronize()
        assert (mapped.array == 9).all()
        for one in (plain, mapped, stream):
            one.close()


def test_free_memory_falls_by_what_is_taken(device: Device) -> None:
    with device.current():
        before, total = device.memory()
        memory = device.allocate(64 * MIB)
        after, _ = device.memory()
        memory.close()
    assert before - after == 64 * MIB
    assert after < before <= total


def test_events_measure_the_time_between_two_points(device: Device) -> None:
    with device.current():
        stream, first, second = device.stream(), device.event(), device.event()
        first.record(stream)
        second.record(stream)
        stream.synchronize()
        assert second.milliseconds_since(first) >= 0
        for one in (first, second, stream):
            one.close()


def test_events_that_were_not_reached_have_no_time(device: Device) -> None:
    with device.current():
        stream, first, second = device.stream(), device.event(), device.event()
        first.record(stream)
        second.record(stream)
        with pytest.raises(DeviceError, match="cudaErrorNotReady"):
            second.milliseconds_since(first)
        stream.synchronize()
        for one in (first, second, stream):
            one.close()


def test_more_memory_than_there_is_names_the_amount(device: Device) -> None:
    with device.current(), pytest.raises(DeviceError, match="not enough free memory"):
        device.allocate(1 << 40)


def test_a_graph_does_again_what_was_captured(standin: Standin) -> None:
    device = open_device("cuda-python")
    with device.current():
        host, memory, stream = device.pinned(8), device.allocate(8), device.stream()
        device.fill(memory.address, 1, 8, stream)
        graph = device.capture(stream, lambda: device.copy_to_host(host.array, memory.address, stream))
        stream.synchronize()
        assert not host.array.any()  # capturing runs nothing
        for value in (1, 2):
            device.fill(memory.address, value, 8, stream)
            graph.launch(stream)
            stream.synchronize()
            assert (host.array == value).all()
        for one in (graph, host, memory, stream):
            one.close()
            one.close()
    assert standin.living() == {}


def test_a_capture_that_fails_is_ended_and_the_stream_works_on(standin: Standin) -> None:
    device = open_device("cuda-python")

    def fail() -> None:
        device.fill(memory.address, 1, 8, stream)
        raise KeyboardInterrupt

    with device.current():
        host, memory, stream = device.pinned(8), device.allocate(8), device.stream()
        with pytest.raises(KeyboardInterrupt):
            device.capture(stream, fail)
        device.fill(memory.address, 3, 8, stream)
        device.copy_to_host(host.array, memory.address, stream)
        stream.synchronize()
        assert (host.array == 3).all()
        for one in (host, memory, stream):
            one.close()
    assert standin.living() == {}


def test_pycuda_says_that_it_has_no_graphs(standin: Standin) -> None:
    device = open_device("pycuda")
    assert not device.graphs
    with device.current():
        stream = device.stream()
        with pytest.raises(DeviceError, match="no CUDA graphs"):
            device.capture(stream, lambda: None)
        stream.close()


def test_memory_may_be_given_back_by_another_thread(device: Device, standin: Standin) -> None:
    with device.current():
        memory, host = device.allocate(64), device.pinned(64)

    def give_back() -> None:
        with device.current():
            memory.close()
            host.close()

    with ThreadPoolExecutor(1) as another:
        another.submit(give_back).result()
    assert standin.living() == {}
