"""From nothing to the first answer, in a process of its own.

In:   a case: a model file and how to run it.
Out:  `ColdStart`: milliseconds of starting Python, importing what runs it, loading, and the first answer; its peak resident memory.
The processor's and the disk's caches are as the machine has them: the file was read before.
"""

from __future__ import annotations

import json
import math
import re
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from time import perf_counter_ns

import typer

from lineside.benchmarks.subjects.cases import Case
from lineside.benchmarks.subjects.subjects import import_runtime, open_subject
from lineside.errors import ModelError

_NS_PER_MS = 1e6
_KIB_PER_MIB = 1024


@dataclass(frozen=True, kw_only=True)
class ColdStart:
    """From nothing to the first answer.

    Attributes:
        startup_ms: Of Python, and of importing what stands around the model.
        import_ms: Of what runs the model, such as ONNX Runtime or PyTorch.
        load_ms: Of the model.
        first_ms: Of its first answer.
        peak_mib: Most resident memory, less what the process held before it loaded the model.
        process_mib: Most resident memory of the whole process.
    """

    startup_ms: float
    import_ms: float
    load_ms: float
    first_ms: float
    peak_mib: float
    process_mib: float

    @property
    def total_ms(self) -> float:
        """From nothing to the first answer."""
        return self.startup_ms + self.import_ms + self.load_ms + self.first_ms


def cold_start(case: Case) -> ColdStart:
    """Load a model in a fresh process and let it answer once.

    Raises:
        ModelError: That process failed.
    """
    code = "from lineside.benchmarks.bench.cold_start import print_cold_start; "
    code += f"print_cold_start({json.dumps(case.to_json())!r}, begin_ns={perf_counter_ns()})"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True)
    if done.returncode:
        raise ModelError(
            f"{case.path}: a process of its own could not run it",
            why=(done.stderr.strip().splitlines() or [f"it ended with {done.returncode}"])[-1],
            fix="leave the cold start out: --no-cold-start",
        )
    return ColdStart(**json.loads(done.stdout.splitlines()[-1]))


def print_cold_start(text: str, *, begin_ns: int) -> None:
    """What the fresh process does, which was started at `begin_ns`: the clock is the machine's (CLOCK_MONOTONIC), not the process's."""
    case = Case.from_json(json.loads(text))
    started = perf_counter_ns()
    import_runtime(case)
    imported, before_mib = perf_counter_ns(), peak_mib()
    with open_subject(case) as subject:
        loaded = perf_counter_ns()
        subject.run(0)
        done = perf_counter_ns()
    times = {"startup_ms": started - begin_ns, "import_ms": imported - started, "load_ms": loaded - imported, "first_ms": done - loaded}
    start = ColdStart(
        **{name: time_ns / _NS_PER_MS for name, time_ns in times.items()}, peak_mib=peak_mib() - before_mib, process_mib=peak_mib()
    )
    typer.echo(json.dumps(asdict(start)))


def peak_mib() -> float:
    """Peak resident memory of this process. Not ru_maxrss: that begins with what the parent held when it forked."""
    found = re.search(r"^VmHWM:\s*(\d+) kB$", Path("/proc/self/status").read_text(), re.MULTILINE)
    return int(found[1]) / _KIB_PER_MIB if found else math.nan
