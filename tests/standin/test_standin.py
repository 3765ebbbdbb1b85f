"""The stand-in itself: it keeps the rules that lineside must keep with the real TensorRT and the real CUDA."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from lineside_standin.gpu import DEVICE_BASE, RUBBISH
from lineside_standin.install import Standin
from numpy.typing import NDArray

MODELS = Path(__file__).parents[1] / "engine" / "models"
SHAPE = (3, 64, 96)


class Told:
    """An engine and all that it needs to run, made as TensorRT's documentation says."""

    def __init__(self, standin: Standin, profiles: tuple[tuple[int, int, int], ...] = ((1, 2, 4),)) -> None:
        import tensorrt as trt
        from cuda.bindings import runtime as cudart

        self.trt, self.cudart = trt, cudart
        self.messages: list[str] = []

        class Logger(trt.ILogger):  # type: ignore[misc]
            def __init__(self, messages: list[str]) -> None:
                trt.ILogger.__init__(self)
                self.messages = messages

            def log(self, severity: Any, msg: str) -> None:
                self.messages.append(msg)

        self.logger = Logger(self.messages)
        self.profiles = profiles
        self.flags = 1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED)

    def memory(self, model: str = "production") -> Any:
        """A serialised engine, or None."""
        trt = self.trt
        builder = trt.Builder(self.logger)
        network = builder.create_network(self.flags)
        parser = trt.OnnxParser(network, self.logger)
        assert parser.parse_from_file(str(MODELS / f"{model}.onnx"))
        config = builder.create_builder_config()
        for low, best, high in self.profiles:
            profile = builder.create_optimization_profile()
            profile.set_shape("input", (low, *SHAPE), (best, *SHAPE), (high, *SHAPE))
            assert config.add_optimization_profile(profile) >= 0
        return builder.build_serialized_network(network, config)

    def engine(self, memory: Any = None) -> Any:
        return self.trt.Runtime(self.logger).deserialize_cuda_engine(self.memory() if memory is None else memory)

    def call(self, name: str, *arguments: Any) -> Any:
        """A function of CUDA's that succeeds."""
        status, *values = getattr(self.cudart, name)(*arguments)
        assert status == self.cudart.cudaError_t.cudaSuccess, (name, status)
        return values[0] if len(values) == 1 else values

    def status(self, name: str, *arguments: Any) -> str:
        return str(getattr(self.cudart, name)(*arguments)[0].name)


class Running(Told):
    """A context with its buffers, for batches up to 4."""

    def __init__(self, standin: Standin, **options: Any) -> None:
        super().__init__(standin, **options)
        self.context = self.engine().create_execution_context()
        self.nbytes = 4 * int(np.prod(SHAPE)) * 4
        self.stream = self.call("cudaStreamCreateWithFlags", self.cudart.cudaStreamNonBlocking)
        self.into, self.out = (self.call("cudaMalloc", self.nbytes) for _ in range(2))
        self.host = self.call("cudaHostAlloc", 2 * self.nbytes, self.cudart.cudaHostAllocDefault)
        from lineside_standin.gpu import GPUS

        data = GPUS.host[self.host].data
        self.sent, self.got = (half.view(np.float32).reshape(4, *SHAPE) for half in (data[: self.nbytes], data[self.nbytes :]))
        self.sent[:] = np.random.default_rng(0).random(self.sent.shape)

    def addresses(self) -> None:
        assert self.context.set_tensor_address("input", self.into)
        assert self.context.set_tensor_address("output", self.out)

    def enqueue(self) -> bool:
        kinds = self.cudart.cudaMemcpyKind
        self.call("cudaMemcpyAsync", self.into, self.host, self.nbytes, kinds.cudaMemcpyHostToDevice, self.stream)
        ran = bool(self.context.execute_async_v3(int(self.stream)))
        self.call("cudaMemcpyAsync", self.host + self.nbytes, self.out, self.nbytes, kinds.cudaMemcpyDeviceToHost, self.stream)
        return ran

    def wanted(self) -> NDArray[np.float32]:
        return np.maximum(self.sent[:, 0] - np.maximum(self.sent[:, 1], self.sent[:, 2]), 0)


def test_an_engine_answers_what_its_onnx_file_says_and_not_before_somebody_waits(standin: Standin) -> None:
    run = Running(standin)
    run.addresses()
    assert run.context.set_input_shape("input", (4, *SHAPE))
    assert run.enqueue()
    assert (run.got.view(np.uint8) == RUBBISH).all()
    run.call("cudaStreamSynchronize", run.stream)
    np.testing.assert_allclose(run.got[:, 0], run.wanted(), atol=1e-6)


def test_nothing_runs_without_shapes_or_addresses(standin: Standin) -> None:
    run = Running(standin)
    run.addresses()
    assert not run.context.execute_async_v3(int(run.stream))
    assert "shapes of input" in run.messages[-1]
    assert run.context.infer_shapes() == ["input"]
    fresh = run.engine().create_execution_context()
    assert fresh.set_input_shape("input", (1, *SHAPE))
    assert not fresh.execute_async_v3(int(run.stream))
    assert "output" in run.messages[-1]


def test_shapes_are_those_of_the_profile_and_go_with_it(standin: Standin) -> None:
    run = Running(standin, profiles=((1, 1, 1), (2, 2, 4)))
    context = run.context
    assert not context.set_input_shape("input", (2, *SHAPE))
    assert context.set_optimization_profile_async(1, int(run.stream))
    assert context.set_input_shape("input", (2, *SHAPE))
    assert not context.set_input_shape("input", (1, *SHAPE))
    assert not context.set_input_shape("input", (2, 3, 64, 97))
    assert not context.set_input_shape("output", (2, *SHAPE))
    assert context.set_optimization_profile_async(0, int(run.stream))
    assert context.infer_shapes() == ["input"]
    assert not context.set_optimization_profile_async(2, int(run.stream))


def test_an_address_is_one_of_the_gpu_and_aligned(standin: Standin) -> None:
    run = Running(standin)
    assert run.into >= DEVICE_BASE
    assert not run.context.set_tensor_address("input", run.into + 4)
    assert not run.context.set_tensor_address("image", run.into)
    run.addresses()
    assert run.context.set_tensor_address("output", run.host)  # the host's, which the GPU does not reach
    assert run.context.set_input_shape("input", (4, *SHAPE))
    assert run.context.execute_async_v3(int(run.stream))
    assert run.status("cudaStreamSynchronize", run.stream) == "cudaErrorIllegalAddress"
    assert run.status("cudaMalloc", 1) == "cudaErrorIllegalAddress"  # it stays


def test_work_that_leaves_its_buffer_poisons_the_process(standin: Standin) -> None:
    run = Running(standin)
    run.call("cudaMemsetAsync", run.into, 0, run.nbytes + 1, run.stream)
    assert run.status("cudaStreamSynchronize", run.stream) == "cudaErrorIllegalAddress"


def test_pageable_memory_is_not_copied_in_a_stream(standin: Standin) -> None:
    run = Running(standin)
    pageable = np.zeros(16, np.uint8)
    kind = run.cudart.cudaMemcpyKind.cudaMemcpyHostToDevice
    assert run.status("cudaMemcpyAsync", run.into, pageable.ctypes.data, 16, kind, run.stream) == "cudaErrorInvalidValue"


def test_a_graph_runs_what_was_captured_as_often_as_it_is_launched(standin: Standin) -> None:
    run = Running(standin)
    run.addresses()
    assert run.context.set_input_shape("input", (4, *SHAPE))
    run.enqueue()
    run.call("cudaStreamSynchronize", run.stream)
    mode = run.cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    run.call("cudaStreamBeginCapture", run.stream, mode)
    run.got[:] = -1
    assert run.enqueue()
    graph = run.call("cudaStreamEndCapture", run.stream)
    run.call("cudaStreamSynchronize", run.stream)
    assert (run.got == -1).all()
    launchable = run.call("cudaGraphInstantiate", graph, 0)
    for seed in (1, 2):
        run.sent[:] = np.random.default_rng(seed).random(run.sent.shape)
        run.call("cudaGraphLaunch", launchable, run.stream)
        run.call("cudaStreamSynchronize", run.stream)
        np.testing.assert_allclose(run.got[:, 0], run.wanted(), atol=1e-6)


def test_a_capture_needs_a_warm_context_and_nobody_who_waits(standin: Standin) -> None:
    run = Running(standin)
    run.addresses()
    assert run.context.set_input_shape("input", (4, *SHAPE))
    mode = run.cudart.cudaStreamCaptureMode.cudaStreamCaptureModeThreadLocal
    run.call("cudaStreamBeginCapture", run.stream, mode)
    assert not run.enqueue()
    assert run.status("cudaStreamEndCapture", run.stream) == "cudaErrorStreamCaptureInvalidated"
    assert run.enqueue()
    run.call("cudaStreamSynchronize", run.stream)
    run.call("cudaStreamBeginCapture", run.stream, mode)
    assert run.status("cudaStreamSynchronize", run.stream) == "cudaErrorStreamCaptureUnsupported"
    assert run.status("cudaStreamEndCapture", run.stream) == "cudaErrorStreamCaptureInvalidated"


def test_an_engine_of_another_version_gpu_or_file_is_none(standin: Standin) -> None:
    from lineside_standin.world import Gpu

    told = Told(standin)
    memory = told.memory()
    assert told.engine(memory) is not None
    assert told.engine(bytes(memory)[:-1]) is None
    assert told.engine(b"rubbish") is None
    standin.world(tensorrt="10.7.0")
    assert told.engine(memory) is None
    assert "10.7.0" in told.messages[-1]
    standin.world(tensorrt="10.3.0", gpus=(Gpu(compute_capability=(9, 0)),))
    assert told.engine(memory) is None


def test_an_open_batch_needs_a_profile(standin: Standin) -> None:
    told = Told(standin, profiles=())
    assert told.memory() is None
    assert "no optimization profile" in told.messages[-1]


def test_memory_is_bounded_and_what_is_not_given_back_is_counted(standin: Standin) -> None:
    told = Told(standin)
    _, total = told.call("cudaMemGetInfo")
    assert told.status("cudaMalloc", total) == "cudaErrorMemoryAllocation"
    address = told.call("cudaMalloc", 256)
    assert standin.living() == {"device memory": 1}
    told.call("cudaFree", address)
    assert told.status("cudaFree", address) == "cudaErrorInvalidValue"
    assert not standin.living()


def test_faults_come_when_and_as_often_as_a_test_wants(standin: Standin) -> None:
    told = Told(standin)
    standin.fault("cudaMalloc", "cudaErrorMemoryAllocation", after=1, times=1)
    assert [told.status("cudaMalloc", 1) for _ in range(3)] == ["cudaSuccess", "cudaErrorMemoryAllocation", "cudaSuccess"]


def test_touching_tensorrt_without_a_gpu_is_noticed(standin: Standin) -> None:
    told = Told(standin)
    standin.world(gpus=())
    with pytest.raises(AssertionError, match="without a GPU"):
        told.trt.Builder(told.logger)
