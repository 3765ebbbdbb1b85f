"""Whether the machine held itself back: heat, power caps, or a container's share of the processor.

In:   the counters of the kernel, of the control groups and of NVIDIA's driver.
Out:  `ThrottleWatch`, which says why since it was asked last. A machine that tells nothing is never said to be held back.
Small files that are kept open: asking takes microseconds, and is done between two calls.
"""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType

from lineside.engine.machine import ROOT

from .nvml import NvmlSession

HEAT, QUOTA = "the processor is too hot", "the container's share of the processor is used up"
_LONGEST = 4096


class ThrottleWatch:
    """Ask after every call. Owns the files; `close()` is idempotent; not thread-safe."""

    def __init__(self, root: Path = ROOT) -> None:
        self._stack = ExitStack()
        self._counters: list[tuple[str, int, str]] = []
        for why, path, field in _counters(root):
            descriptor = os.open(path, os.O_RDONLY)
            self._stack.callback(os.close, descriptor)
            self._counters.append((why, descriptor, field))
        self._nvml = self._stack.enter_context(NvmlSession())
        self._before = self._read()

    @property
    def tells(self) -> tuple[str, ...]:
        """What this machine would say."""
        gpus = ("the GPU's throttle reasons",) if self._nvml.gpus else ()
        return (*dict.fromkeys(why for why, _, _ in self._counters), *gpus)

    def why(self) -> str:
        """Why the machine held itself back since the last call of this; empty when it did not."""
        now = self._read()
        risen = [why for (why, _, _), old, new in zip(self._counters, self._before, now, strict=True) if new > old]
        self._before = now
        return ", ".join(dict.fromkeys([*risen, *self._nvml.throttle_reasons()]))

    def close(self) -> None:
        """Let go of the files."""
        self._stack.close()
        self._counters, self._before = [], []

    def __enter__(self) -> ThrottleWatch:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        self.close()

    def _read(self) -> list[int]:
        return [_number(os.pread(descriptor, _LONGEST, 0).decode(), field) for _, descriptor, field in self._counters]


def _counters(root: Path) -> Iterator[tuple[str, Path, str]]:
    """Files with a counter: why it rises, where it is, and the name of its line (empty: the file is the number)."""
    for cpu in sorted(os.sched_getaffinity(0)):
        for name in ("core_throttle_count", "package_throttle_count"):  # Intel's; other processors do not have them
            path = root / f"sys/devices/system/cpu/cpu{cpu}/thermal_throttle/{name}"
            if path.is_file():
                yield HEAT, path, ""
    top = root / "sys/fs/cgroup"
    groups = root / "proc/self/cgroup"
    for line in groups.read_text().splitlines() if groups.is_file() else ():
        if line.startswith("0::/"):
            path = top / line.removeprefix("0::/") / "cpu.stat"
            if path.is_file():
                yield QUOTA, path, "nr_throttled"


def _number(text: str, field: str) -> int:
    """The counter in a file; 0 where the kernel does not count it, as in a group without a quota."""
    if not field:
        return int(text)
    return next((int(line.split()[1]) for line in text.splitlines() if line.split()[0] == field), 0)
