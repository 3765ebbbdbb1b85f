"""Does it stay as it is? Minutes of measuring, looked at minute by minute.

In:   subjects that have been measured already, and for how long.
Out:  a `Minute` after each: latency of every subject, resident memory, what the GPUs say.
Interleaved as always: a machine that grows hot slows all; a subject that leaks slows alone.
"""

from __future__ import annotations

import math
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from lineside.benchmarks.measure.latency import LatencyOptions, measure, nothing_known
from lineside.benchmarks.measure.nvml import read_gpus
from lineside.benchmarks.measure.stats import Percentiles
from lineside.benchmarks.subjects.subjects import Subject
from lineside.progress import Progress, silent

MINUTE_S = 60.0
_MIB = 2**20


@dataclass(frozen=True, kw_only=True)
class Minute:
    """What a minute was like.

    Attributes:
        total_ms: Latency by the name of the case.
        throttled: Calls in which the machine held itself back, by the name of the case.
        rss_mib: Resident memory of this process, with all models, at its end.
        gpus: What NVML says at its end.
    """

    total_ms: Mapping[str, Percentiles]
    throttled: Mapping[str, int]
    rss_mib: float
    gpus: Sequence[Mapping[str, Any]]

    def to_json(self) -> dict[str, Any]:
        """A dict of JSON values."""
        return asdict(self)


def soak(
    subjects: Sequence[Subject],
    minutes: float,
    options: LatencyOptions,
    *,
    watch: Callable[[], str] = nothing_known,
    first_index: int = 0,
    progress: Progress = silent,
) -> tuple[Minute, ...]:
    """Measure for `minutes`, in windows of a minute or a little less.

    Args:
        subjects: Warm from an earlier measurement.
        minutes: Above 0.
        options: Period and seed of every window.
        watch: As `measure` takes it.
        first_index: Of the first input.
        progress: Told of the windows.
    """
    windows = math.ceil(minutes)
    seconds = minutes * MINUTE_S / windows
    found = []
    for window in progress(range(windows), total=windows, what="soak"):
        one = LatencyOptions(seconds=seconds, warm_up_seconds=0, period_ms=options.period_ms, seed=options.seed + 1 + window)
        rows = measure(subjects, one, watch=watch, first_index=first_index)
        first_index += rows[0].total_ms.n
        found.append(
            Minute(
                total_ms={row.name: row.total_ms for row in rows},
                throttled={row.name: len(row.throttled) for row in rows},
                rss_mib=rss_mib(),
                gpus=read_gpus(),
            )
        )
    return tuple(found)


def rss_mib() -> float:
    """Resident memory of this process (proc(5), statm)."""
    pages = int(Path("/proc/self/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / _MIB
