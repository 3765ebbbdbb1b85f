"""Build one engine in a process of its own: `python -m lineside.engine.builder.build_child`.

In:   a job as one line of JSON on stdin, which then stays open: when it closes, the parent is gone and so is this process.
Out:  one line of JSON per event on what was stdout when it started (`build_progress`), the last one `built` or `error`; the engine under
      the temporary name that the job gives. Whatever else writes to stdout, such as a library, lands on stderr.
Exits with 0 after `built`, 2 after `error`, 1 with a traceback for a bug of ours; TensorRT may end it in other ways.
"""

from __future__ import annotations

import json
import os
import sys
import threading
import time
from dataclasses import asdict, dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

from lineside._optional import require
from lineside.engine.device._trt import deserialized, new_runtime, tensorrt
from lineside.engine.device._trt import logger as new_logger
from lineside.engine.device.choose import open_device
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.machine import available_ram
from lineside.engine.run.engine_layers import layers_of
from lineside.errors import DeviceError, LinesideError, ModelError
from lineside.files import writing

from . import timing_cache as cache_file
from .memory import Estimate, workspace_bytes
from .parser_hints import refuse_parser_errors


@dataclass(frozen=True, kw_only=True)
class Job:
    """What to build. `profiles` is None for a batch that the file fixes; `shape` is that of one strip, without the batch."""

    onnx: str
    partial: str
    input: str
    shape: tuple[int, ...]
    profiles: str | None
    convolutions: tuple[str, ...]
    needs: Estimate
    workspace_mib: int | None
    timing_cache: str | None
    optimization_level: int
    version_compatible: bool
    hardware_compatible: bool
    device: int

    def to_line(self) -> str:
        """One line of JSON."""
        return json.dumps({**self.__dict__, "needs": asdict(self.needs)}) + "\n"

    @classmethod
    def from_line(cls, line: str) -> Job:
        """The job that `to_line` wrote."""
        value = json.loads(line)
        tuples = {name: tuple(value[name]) for name in ("shape", "convolutions")}
        return cls(**{**value, **tuples, "needs": Estimate(**value["needs"])})


class Say:
    """Writes events to the parent, from any thread."""

    def __init__(self, descriptor: int) -> None:
        self._pipe = os.fdopen(descriptor, "w", encoding="utf-8")
        self._lock = threading.Lock()

    def __call__(self, event: str, **values: Any) -> None:
        """Write one event."""
        line = json.dumps({"event": event, **values}) + "\n"
        with self._lock:
            self._pipe.write(line)
            self._pipe.flush()


def main() -> int:
    """Do the job on stdin and return the exit code."""
    descriptor = os.dup(sys.stdout.fileno())
    os.dup2(sys.stderr.fileno(), sys.stdout.fileno())
    say = Say(descriptor)
    job = Job.from_line(sys.stdin.readline())
    threading.Thread(target=_end_with_the_parent, daemon=True).start()
    try:
        say("built", **_build(job, say))
    except LinesideError as exc:
        say("error", kind=type(exc).__name__, what=exc.what, why=exc.why, fix=exc.fix)
        return 2
    return 0


def _end_with_the_parent() -> None:
    sys.stdin.read()
    os._exit(1)


def _build(job: Job, say: Say) -> dict[str, Any]:
    """Build, write and look at the engine. Raises: LinesideError."""
    say("stage", what="asking the driver, loading TensorRT")
    trt = tensorrt()
    device = open_device(ordinal=job.device)
    with device.current():
        gpu = device.gpu
        free, _ = device.memory()
        workspace = workspace_bytes(job.needs, job.workspace_mib, free=free, ram=available_ram(), integrated=gpu.integrated)
        logger = new_logger(trt, lambda severity, text: say("warning", text=text) if severity == "warning" else None)
        who = cache_file.identity(tensorrt=trt.__version__, gpu=gpu.name, compute_capability=gpu.compute_capability)
        started = time.monotonic()
        memory = _serialized(trt, job, logger, say, workspace=workspace, who=who)
        seconds = time.monotonic() - started
        say("stage", what="writing the engine")
        partial = Path(job.partial)
        with writing(partial):
            partial.write_bytes(memory)
        say("stage", what="asking the engine inspector")
        facts = _inspected(trt, memory, job, logger)
    device.close()
    return {**facts, "tensorrt": trt.__version__, "workspace_bytes": workspace, "build_seconds": seconds}


def _serialized(trt: ModuleType, job: Job, logger: Any, say: Say, *, workspace: int, who: dict[str, Any]) -> Any:
    """The engine's bytes, an IHostMemory. Raises: LinesideError."""
    say("stage", what="parsing")
    try:
        builder = trt.Builder(logger)
    except (TypeError, RuntimeError) as exc:  # what pybind11 makes of a constructor that returned nothing
        raise _refused("no builder", logger, exc) from exc
    flags = 0
    if hasattr(trt.NetworkDefinitionCreationFlag, "STRONGLY_TYPED"):
        flags |= 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)
    network = builder.create_network(flags)
    if network is None:
        raise _refused("no network", logger)
    parser = trt.OnnxParser(network, logger)  # lives until the engine is built: it owns the weights
    parsed = parser.parse_from_file(job.onnx)
    refuse_parser_errors(parser, parsed=bool(parsed), path=job.onnx, tensorrt=trt.__version__)
    monitor = _monitor(trt, say)
    config = _config(trt, builder, network, job, monitor, logger, workspace=workspace)
    if job.timing_cache is not None:
        cache_file.attach(trt, config, Path(job.timing_cache), who)
    say("stage", what="building")
    memory = builder.build_serialized_network(network, config)
    if memory is None:
        raise _build_failed(logger, workspace)
    if job.timing_cache is not None and not cache_file.save(config, Path(job.timing_cache), who):
        say("warning", text=f"{job.timing_cache} was replaced, not merged: what another build wrote there does not fit")
    return memory


def _config(trt: ModuleType, builder: Any, network: Any, job: Job, monitor: Any, logger: Any, *, workspace: int) -> Any:
    """The builder's configuration, made by Polygraphy and looked at again. Raises: DeviceError."""
    polygraphy = require("polygraphy.backend.trt", extra="engine")
    failure = require("polygraphy.exception", extra="engine").PolygraphyException
    wanted = BatchProfiles.parse(job.profiles).profiles if job.profiles else ()
    profiles = [
        polygraphy.Profile().add(job.input, min=(one.min, *job.shape), opt=(one.opt, *job.shape), max=(one.max, *job.shape))
        for one in wanted
    ]
    try:
        config = polygraphy.create_config(
            builder,
            network,
            tf32=True,  # TensorRT's own default, which Polygraphy turns off
            profiles=profiles or None,
            memory_pool_limits={trt.MemoryPoolType.WORKSPACE: workspace},
            builder_optimization_level=job.optimization_level,
            version_compatible=job.version_compatible,
            hardware_compatibility_level=trt.HardwareCompatibilityLevel.AMPERE_PLUS if job.hardware_compatible else None,
            progress_monitor=monitor,
            profiling_verbosity=trt.ProfilingVerbosity.DETAILED,  # the inspector names no types without it
        )
    except (failure, ValueError, AttributeError) as exc:  # the last one: Polygraphy works on where TensorRT answered None
        raise DeviceError(
            f"TensorRT {trt.__version__} does not take these options",
            why=logger.errors() or str(exc).split("\n")[0],
            fix="leave options out, one by one",
        ) from exc
    checks = {
        "profiles": config.num_optimization_profiles == max(len(profiles), 1),
        "optimization level": config.builder_optimization_level == job.optimization_level,
        "version compatibility": config.get_flag(trt.BuilderFlag.VERSION_COMPATIBLE) == job.version_compatible,
    }
    ignored = [name for name, taken in checks.items() if not taken]
    if ignored:
        raise DeviceError(
            f"TensorRT {trt.__version__} did not take the {', '.join(ignored)}",
            why="it ignores what it cannot do instead of saying so",
            fix="leave these options out, or use another TensorRT",
        )
    return config


def _monitor(trt: ModuleType, say: Say) -> Any:
    """An IProgressMonitor that says what goes on. TensorRT calls it from threads of its own."""

    class _Monitor(trt.IProgressMonitor):  # type: ignore[misc, name-defined]  # the class exists only where TensorRT does
        def __init__(self) -> None:
            trt.IProgressMonitor.__init__(self)  # the bindings want the base called by name

        def phase_start(self, phase_name: str, parent_phase: str | None, num_steps: int) -> None:
            say("phase", name=phase_name, parent=parent_phase, steps=num_steps)

        def step_complete(self, phase_name: str, step: int) -> bool:
            say("step", name=phase_name, done=step + 1)
            return True  # False would cancel; the parent ends the whole process instead

        def phase_finish(self, phase_name: str) -> None:
            say("end", name=phase_name)

    return _Monitor()


def _inspected(trt: ModuleType, memory: Any, job: Job, logger: Any) -> dict[str, Any]:
    """What the engine says of itself. Raises: ModelError."""
    runtime = new_runtime(trt, logger, trusted=job.version_compatible)  # the plan carries its lean runtime, and we have just made it
    engine = deserialized(runtime, memory)
    if engine is None:
        raise ModelError(
            "the engine was built and cannot be loaded", why=logger.errors() or "TensorRT says nothing", fix="build it again with --force"
        )
    layers = layers_of(trt, engine, frozenset(job.convolutions), said=logger.errors, again="build it again with --force")
    return {
        "layers": [asdict(layer) for layer in layers],
        "device_memory_bytes": int(engine.device_memory_size_v2),
    }


def _refused(what: str, logger: Any, exc: Exception | None = None) -> DeviceError:
    return DeviceError(
        f"TensorRT gives {what}",
        why=logger.errors() or (str(exc).split("\n")[0] if exc else "") or "it says nothing",
        fix="check that driver, CUDA and TensorRT fit together: lineside doctor",
    )


_MEMORY_WORDS = ("memory", "could not find any implementation", "insufficient workspace", "no implementation")


def _build_failed(logger: Any, workspace: int) -> ModelError:
    """What TensorRT said when it gave no engine."""
    said = logger.errors()
    is_memory = any(word in said.lower() for word in _MEMORY_WORDS)
    fix = (
        f"free device memory, or change --workspace-mib (it was {workspace // 2**20}), or build for a smaller --batch"
        if is_memory
        else "export the file again with --opset 18, or quantise it again with --target tensorrt; --plan-only checks its graph"
    )
    return ModelError("TensorRT built no engine", why=said or "it says nothing", fix=fix)


if __name__ == "__main__":
    code = main()
    sys.stderr.flush()
    os._exit(code)  # the driver cleans up behind a process; destructors in an order that nobody tests may only crash
