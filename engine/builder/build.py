"""Build a TensorRT engine from an ONNX file.

In:   a full-image ONNX file of ours, `BuildOptions`, a machine with a GPU and TensorRT.
Out:  the engine, its sidecar (`sidecar`) and, where they were asked for, its golden strips (`golden`): all of them, or none.
Never: imports TensorRT here, leaves half a file, or changes what the file says about precision.

The work is done by a child process (`build_child`), because a builder can be killed for memory, abort() or hang, and the parent has to
live and say so. Ctrl-C, a time limit and every error end the child; nothing of it stays behind. The child ends when its parent does.

Polygraphy, and where it is not used. Its sources (backend/trt/loader.py, config.py, profile.py, util.py of 0.53) were read for this:

- `Profile` and `create_config` are used: they know which attribute each TensorRT has, from 10.3 to 11, and say which is missing. What
  they do not look at is read back afterwards (`add_optimization_profile` answers -1 for a profile it does not take).
- `network_from_onnx_path` and `create_network` are not. They bind a logger of Polygraphy's own to the builder, and that logger is the only
  place where TensorRT says why it built nothing; their parser check prints each error as one line of text and throws the node's name,
  the operator and the code away. STRONGLY_TYPED is set here where the flag exists; EXPLICIT_BATCH, gone in 11, is set nowhere.
- `engine_bytes_from_network` and timing caches of `create_config` are not: `set_timing_cache` answers False for another GPU's cache, and
  Polygraphy does not look.
"""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path
from typing import Any

from lineside.engine.device import driver
from lineside.engine.device.driver import Driver, Gpu
from lineside.engine.files.build_options import BuildOptions
from lineside.engine.files.engine_precision import int8_built, refuse_fallback
from lineside.engine.files.golden import golden_bytes, golden_file, golden_path
from lineside.engine.files.io_forms import CONTRACTS
from lineside.engine.files.sidecar import AMPERE, EngineManifest, LayerPrecision, sidecar_path
from lineside.errors import ConfigError, DeviceError
from lineside.files import file_being_written, json_text, refuse_existing
from lineside.manifest import sha256_of_file

from .build_child import Job
from .build_process import run_child
from .build_progress import SILENT, Listener
from .golden_strips import golden_strips
from .memory import refuse_workspace
from .plan import BuildPlan, plan

__all__ = ["BuildOptions", "build"]


def build(
    onnx: Path, out: Path, options: BuildOptions = BuildOptions(), *, force: bool = False, listener: Listener = SILENT
) -> EngineManifest:
    """Build the ONNX file `onnx` into the engine `out`, with its sidecar beside it.

    Args:
        onnx: An ONNX file of `lineside export` or `lineside quantize --target tensorrt`.
        out: NAME.engine or NAME.plan.
        options: How.
        force: Replace an engine that exists, with its sidecar and golden strips.
        listener: Hears how far it has come.

    Returns:
        What was built: the sidecar.

    Raises:
        ModelError: Not a file that TensorRT can build, or an INT8 file of which too little runs in INT8.
        ConfigError: Options that cannot be, for this file or this GPU.
        DeviceError: No usable GPU, too little memory, the builder was killed, or the time limit was reached.
        MissingPackageError: TensorRT, a CUDA package or Polygraphy is missing; ONNX Runtime for golden strips.
        StripError: A golden strip is none of this model.
        OutputError: `out` exists, or cannot be written.
    """
    for path in (out, sidecar_path(out), golden_path(out)):
        refuse_existing(path, force=force)
    planned = plan(onnx, out, options)
    asked = driver.ask_driver()
    gpu = _gpu(asked, options)
    for text in planned.warnings:
        listener.warning(text)
    golden = _golden(onnx, options, listener)
    with ExitStack() as files:
        partial = files.enter_context(file_being_written(out))
        partial.touch()  # a place that cannot be written says so now, not after the build
        answer = run_child(_job(planned, options, partial), time_limit_s=options.time_limit_s, listener=listener)
        manifest = _manifest(planned, options, answer, gpu=gpu, asked=asked, plan_sha256=sha256_of_file(partial))
        if not options.allow_fallback:
            refuse_fallback(manifest.layers, planned.onnx.int8)
        if golden:
            manifest = replace(manifest, golden=golden_file(out, golden))
            files.enter_context(file_being_written(golden_path(out))).write_bytes(golden)
        files.enter_context(file_being_written(sidecar_path(out))).write_text(json_text(manifest.to_json()))
        with _uninterrupted():
            files.close()  # renames the last one first: the engine appears when what belongs to it is there
            if not golden:
                golden_path(out).unlink(missing_ok=True)  # of the engine that was replaced
    return manifest


def _gpu(asked: Driver, options: BuildOptions) -> Gpu:
    """The GPU to build on. Raises: DeviceError, ConfigError."""
    if options.device >= len(asked.gpus):
        raise DeviceError(
            f"no GPU {options.device}",
            why=f"the driver has {len(asked.gpus)}: {', '.join(f'{index} {gpu.name}' for index, gpu in enumerate(asked.gpus))}",
            fix="leave --device out, or name one of these",
        )
    gpu = asked.gpus[options.device]
    refuse_workspace(options.workspace_mib, gpu.memory_bytes, gpu=gpu.name)
    if options.hardware_compatible and (gpu.integrated or gpu.compute_capability < AMPERE):
        raise ConfigError(
            f"--hardware-compatibility on {gpu.name}",
            why="TensorRT has it for discrete GPUs from Ampere on, and not on a Jetson",
            fix="leave it out, and build on every kind of machine that runs the engine",
        )
    return gpu


def _golden(onnx: Path, options: BuildOptions, listener: Listener) -> bytes:
    """The golden strips as a file's bytes; none when none are wanted."""
    if not options.golden:
        return b""
    listener.stage("running the golden strips")
    return golden_bytes(golden_strips(onnx, options.golden))


def _job(planned: BuildPlan, options: BuildOptions, partial: Path) -> Job:
    onnx, spec = planned.onnx, planned.onnx.manifest.spec
    return Job(
        onnx=str(onnx.path),
        partial=str(partial),
        input=onnx.input,
        shape=(CONTRACTS[onnx.manifest.io].input_channels, spec.height_px, spec.width_px),
        profiles=str(planned.profiles) if onnx.batch is None else None,
        convolutions=onnx.convolutions,
        needs=planned.memory,
        workspace_mib=options.workspace_mib,
        timing_cache=None if options.timing_cache is None else str(options.timing_cache),
        optimization_level=options.optimization_level,
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        device=options.device,
    )


def _manifest(
    planned: BuildPlan, options: BuildOptions, answer: Mapping[str, Any], *, gpu: Gpu, asked: Driver, plan_sha256: str
) -> EngineManifest:
    onnx = planned.onnx
    layers = tuple(LayerPrecision(**{**layer, "onnx": tuple(layer["onnx"])}) for layer in answer["layers"])
    return EngineManifest(
        plan_sha256=plan_sha256,
        onnx=onnx.path.name,
        onnx_sha256=onnx.sha256,
        model=onnx.manifest,
        input_dtype=onnx.input_dtype,
        batch=onnx.batch,
        profiles=planned.profiles,
        tensorrt=answer["tensorrt"],
        gpu=gpu.name,
        compute_capability=gpu.compute_capability,
        driver_cuda=asked.cuda_version,
        options={**options.to_json(), "workspace_bytes": answer["workspace_bytes"]},
        build_seconds=answer["build_seconds"],
        built_at=datetime.now(timezone.utc).isoformat(timespec="seconds"),
        version_compatible=options.version_compatible,
        hardware_compatible=options.hardware_compatible,
        device_memory_bytes=answer["device_memory_bytes"],
        layers=layers,
        int8_planned=len(onnx.int8),
        int8_built=int8_built(layers, onnx.int8),
    )


@contextmanager
def _uninterrupted() -> Iterator[None]:
    """Let Ctrl-C wait for the end of the block, which takes as long as flushing the files.

    By a handler, not by a mask: a signal that this thread masks goes to another one (numpy's), and then interrupts this one all the same.
    """
    if threading.current_thread() is not threading.main_thread() or signal.getsignal(signal.SIGINT) is None:
        yield  # Python handles signals in the main thread alone, and gives back no handler that is not Python's
        return
    pressed: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, frame: pressed.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
        if pressed:
            signal.raise_signal(signal.SIGINT)
