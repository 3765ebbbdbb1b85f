"""The step `device layer`: copies, graphs and events alone, without an engine.

Times are the GPU's, by events, but for what the host waits for a launch to return.
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import ExitStack
from time import perf_counter_ns
from typing import Any

import numpy as np

from lineside.benchmarks.measure.stats import Percentiles
from lineside.engine.device.choose import open_device
from lineside.engine.device.protocol import Device, Stream

from .steps import Bench, check

ROUNDS = 50
WARM_UP = 5
LAUNCHES = 100
REPLAY_US = 20.0
"""Overhead of a graph's replay that is aimed at."""
_US_PER_NS, _US_PER_MS = 1e-3, 1e3


def device_layer(bench: Bench) -> dict[str, Any]:
    """Rates of pinned copies by size, the resolution of events, and the overhead of a graph."""
    strip = bench.bundle.strips()[0]
    sizes = {"raw strip, uint8": strip.nbytes, "production strip, float32": 3 * 4 * strip[0].size, "64 MiB": 64 << 20}
    device = open_device()
    found: dict[str, Any] = {"package": device.name, "gpu": device.gpu.name, "copies": {}, "checks": []}
    with device.current(), ExitStack() as owned:
        stream = device.stream()
        owned.callback(stream.close)
        found["events"] = _between(device, stream, lambda: None).__dict__
        for name, nbytes in sizes.items():
            found["copies"][name] = _copies(device, stream, nbytes)
            bench.write(found)
        if device.graphs:
            found["graph"] = _graph(device, stream)
            launch_us = found["graph"]["launch_us"]["p50"]
            found["checks"].append(check("replay overhead of a graph, us", launch_us, launch_us <= REPLAY_US, f"at most {REPLAY_US:g}"))
    device.close()
    return found


def _copies(device: Device, stream: Stream, nbytes: int) -> dict[str, Any]:
    """Both directions, and whether what comes back is what went."""
    with ExitStack() as owned:
        host, back, memory = device.pinned(nbytes), device.pinned(nbytes), device.allocate(nbytes)
        for one in (host, back, memory):
            owned.callback(one.close)
        host.array[:] = np.random.default_rng(0).integers(0, 256, nbytes, np.uint8)
        to_device = _between(device, stream, lambda: device.copy_to_device(memory.address, host.array, stream))
        to_host = _between(device, stream, lambda: device.copy_to_host(back.array, memory.address, stream))
        same = bool(np.array_equal(host.array, back.array))
    rates = {f"{name}_gb_per_s": nbytes / (times.p50 * 1e-6) / 1e9 for name, times in (("to_device", to_device), ("to_host", to_host))}
    return {"bytes": nbytes, "to_device_us": to_device.__dict__, "to_host_us": to_host.__dict__, **rates, "same_bytes": same}


def _graph(device: Device, stream: Stream) -> dict[str, Any]:
    """What launching a graph of one tiny piece of work costs the host, and how close launches follow each other on the GPU."""
    with ExitStack() as owned:
        memory = device.allocate(4)
        owned.callback(memory.close)

        def work() -> None:
            device.fill(memory.address, 0, 4, stream)

        work()
        stream.synchronize()
        graph = device.capture(stream, work)
        owned.callback(graph.close)
        launches_ns = []
        for _ in range(ROUNDS + WARM_UP):
            begin = perf_counter_ns()
            graph.launch(stream)
            launches_ns.append(perf_counter_ns() - begin)
            stream.synchronize()

        def launch_many() -> None:
            for _ in range(LAUNCHES):
                graph.launch(stream)

        many = _between(device, stream, launch_many)
    launches_us = [time_ns * _US_PER_NS for time_ns in launches_ns[WARM_UP:]]
    return {"launch_us": Percentiles.of(launches_us).__dict__, "replay_to_replay_us": many.p50 / LAUNCHES}


def _between(device: Device, stream: Stream, work: Callable[[], object]) -> Percentiles:
    """Microseconds of the GPU's between events around the work."""
    with ExitStack() as owned:
        before, after = device.event(), device.event()
        owned.callback(before.close)
        owned.callback(after.close)
        times = []
        for _ in range(ROUNDS + WARM_UP):
            before.record(stream)
            work()
            after.record(stream)
            stream.synchronize()
            times.append(after.milliseconds_since(before) * _US_PER_MS)
    return Percentiles.of(times[WARM_UP:])
