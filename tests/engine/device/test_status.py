"""What CUDA's errors mean: every one that a GPU can be unusable with says what to do."""

from __future__ import annotations

import logging

import pytest

from lineside import DeviceError
from lineside.engine.device.status import POISONED, cuda_error, pycuda_error, released


@pytest.mark.parametrize(
    ("name", "what", "fix"),
    [
        ("cudaErrorNoDevice", "sees no GPU", "CUDA_VISIBLE_DEVICES"),
        ("cudaErrorInsufficientDriver", "older than the CUDA", "update the NVIDIA driver"),
        ("cudaErrorMemoryAllocation", "not enough free memory", "smaller batch"),
        ("cudaErrorDevicesUnavailable", "held by another process", "--compute-mode=DEFAULT"),
        ("cudaErrorInvalidDevice", "no GPU of that number", "nvidia-smi"),
        ("cudaErrorUnknown", "does not answer", "Xid"),
        ("cudaErrorECCUncorrectable", "memory", "start it again"),
        ("cudaErrorIllegalAddress", "must not", "start it again"),
        ("cudaErrorInvalidValue", "error", "lineside doctor"),
    ],
)
def test_an_error_says_what_happened_and_what_to_do(name: str, what: str, fix: str) -> None:
    error = cuda_error(name, "cudaMalloc", detail="64 MiB were asked for")
    assert isinstance(error, DeviceError)
    assert what in error.what
    assert error.why == f"cudaMalloc says {name}; 64 MiB were asked for"
    assert fix in error.fix


@pytest.mark.parametrize(
    ("text", "same_as"),
    [
        ("cuMemAlloc failed: out of memory", "cudaErrorMemoryAllocation"),
        ("cuStreamSynchronize failed: an illegal memory access was encountered", "cudaErrorIllegalAddress"),
        ("cuDevicePrimaryCtxRetain failed: CUDA-capable device(s) is/are busy or unavailable", "cudaErrorDevicesUnavailable"),
        ("cuInit failed: no CUDA-capable device is detected", "cudaErrorNoDevice"),
        ("cuStreamSynchronize failed: unspecified launch failure", "cudaErrorLaunchFailure"),
    ],
)
def test_pycudas_words_mean_the_same_as_the_runtimes_names(text: str, same_as: str) -> None:
    call = text.split(" ")[0]
    assert str(pycuda_error(text)) == str(cuda_error(same_as, call))


def test_words_that_nobody_knows_are_kept() -> None:
    assert "a new one" in pycuda_error("cuNew failed: a new one").why


def test_after_every_poisoning_error_the_process_has_to_start_again() -> None:
    assert all("start it again" in cuda_error(name, "cudaStreamSynchronize").fix for name in POISONED)


def test_giving_back_logs_what_cuda_answers_and_never_raises(caplog: pytest.LogCaptureFixture) -> None:
    with caplog.at_level(logging.WARNING, "lineside"):
        released("cudaSuccess", "cudaFree")
        assert caplog.text == ""
        released("cudaErrorIllegalAddress", "cudaFree")
    assert "cudaFree says cudaErrorIllegalAddress" in caplog.text
