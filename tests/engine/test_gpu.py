"""On a GPU, with the real TensorRT: build, load, run. Everywhere else these tests skip and say why.

The models hold no weights: what they answer is what numpy computes, to the rounding of one division.
"""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from lineside import DeviceError, Inspector, LinesideError, ModelError
from lineside.engine.builder.build import BuildOptions, build
from lineside.engine.device import _trt
from lineside.engine.device.choose import open_device
from lineside.engine.device.driver import ask_driver
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.run.backend import LoadOptions
from lineside.engine.run.runner import RunOptions
from lineside.engine.run.tensorrt_backend import TensorRtBackend

pytestmark = pytest.mark.gpu

HeatOf = Callable[[NDArray[Any]], NDArray[np.float32]]
FORMS = ("production", "raw", "raw_float")
ROUNDING = 1e-6
"""A few steps of a float32 below 1: the graph may multiply by 1 / 255 where numpy divides."""
BACKENDS = [name for name, module in (("cuda-python", "cuda"), ("pycuda", "pycuda")) if find_spec(module) is not None]


@pytest.fixture(scope="module")
def engines(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with an engine of every form, of profiles 1 and 2..8, built here."""
    try:
        ask_driver()
    except DeviceError as exc:
        pytest.skip(f"{exc.what}: {exc.why}")
    installed = _trt.installed()
    if installed is None or installed.lean:
        pytest.skip("TensorRT is not installed")
    folder = tmp_path_factory.mktemp("engines")
    options = BuildOptions(batch=BatchProfiles.parse("1,2:8"), optimization_level=1)
    for form in FORMS:
        build(Path(__file__).parent / "models" / f"{form}.onnx", folder / f"{form}.engine", options)
    return folder


@pytest.fixture(params=BACKENDS or ["cuda-python"])
def backend(request: pytest.FixtureRequest, engines: Path) -> Iterator[Any]:
    """The name of each CUDA package that is installed; afterwards the GPU's memory has to be free again."""
    device = open_device(request.param)
    with device.current():
        before, _ = device.memory()
    yield request.param
    with device.current():
        after, _ = device.memory()
    device.close()
    assert before - after < 64 << 20  # what CUDA keeps for itself once it has loaded code


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("debug", [False, True])
def test_every_batch_gives_what_numpy_computes(
    engines: Path, backend: Any, strip: NDArray[np.uint8], heat_of: HeatOf, form: str, debug: bool
) -> None:
    strips = [np.where(strip == 220, 150 + 10 * index, strip).astype(np.uint8) for index in range(9)]
    with Inspector.load(engines / f"{form}.engine", cuda_backend=backend, debug=debug) as inspector:
        for batch in (1, 1, 1, 3, 3, 8, 8, 1):
            for overlap in (False, True):
                results = list(inspector.inspect_many(strips, batch=batch, overlap=overlap))
                assert len(results) == len(strips)
                for one, result in zip(strips, results, strict=True):
                    assert np.abs(result.heatmap - heat_of(one)).max() <= ROUNDING


def test_mapped_buffers_and_ordinary_enqueues_give_the_same(engines: Path, backend: Any, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    for options in (RunOptions(cuda_backend=backend, mapped=True), RunOptions(cuda_backend=backend, graph=False)):
        with Inspector(TensorRtBackend.load(engines / "production.engine", LoadOptions(run=options)), threshold=0.5) as inspector:
            for _ in range(3):
                assert np.abs(inspector.heatmap(strip) - heat_of(strip)).max() <= ROUNDING


def test_clones_run_at_the_same_time(engines: Path, backend: Any, strip: NDArray[np.uint8], heat_of: HeatOf) -> None:
    wrong: list[float] = []

    def work(inspector: Inspector, index: int) -> None:
        mine = np.where(strip == 220, 150 + 20 * index, strip).astype(np.uint8)
        with inspector:
            for _ in range(200):
                difference = float(np.abs(inspector.heatmap(mine) - heat_of(mine)).max())
                if difference > ROUNDING:
                    wrong.append(difference)

    with Inspector.load(engines / "production.engine", cuda_backend=backend) as first:
        workers = [threading.Thread(target=work, args=(first.clone(), index)) for index in range(4)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
    assert wrong == []


def test_stages_take_time_on_the_gpus_clock(engines: Path, backend: Any) -> None:
    loaded = TensorRtBackend.load(engines / "production.engine", LoadOptions(run=RunOptions(cuda_backend=backend, mapped=False)))
    times = loaded.runner.timed(8)
    loaded.close()
    assert min(times.to_device_ms, times.compute_ms, times.to_host_ms) > 0


def test_more_memory_than_there_is_is_a_device_error_and_the_gpu_works_on(engines: Path, backend: Any) -> None:
    device = open_device(backend)
    with device.current():
        with pytest.raises(DeviceError, match="not enough free memory"):
            device.allocate(1 << 50)
        device.allocate(1 << 20).close()
    device.close()


def test_what_is_not_an_engine_is_a_model_error(engines: Path, backend: Any, tmp_path: Path) -> None:
    whole = (engines / "production.engine").read_bytes()
    for damaged in (b"not an engine", whole[: len(whole) // 2]):
        (tmp_path / "strip.engine").write_bytes(damaged)
        with pytest.raises(ModelError):
            Inspector.load(tmp_path / "strip.engine", cuda_backend=backend)
    (tmp_path / "production.engine").write_bytes(whole + b"!")
    (tmp_path / "production.engine.json").write_bytes((engines / "production.engine.json").read_bytes())
    with pytest.raises(LinesideError, match="sidecar"):
        Inspector.load(tmp_path / "production.engine", cuda_backend=backend)
