"""What CUDA's errors mean to the person at the machine.

In:   the name of an error, as cuda-python spells it (PyCUDA's text is translated), and the call that returned it.
Out:  a DeviceError that says what happened and what to do.
Names and meanings are those of the CUDA Runtime API, "cudaError_t".
"""

from __future__ import annotations

import logging

from lineside.errors import DeviceError

log = logging.getLogger("lineside")

_RESTART = "end this process and start it again: nothing on the GPU works in it any more; if it comes back, look into dmesg for Xid"
_OLD_DRIVER = "update the NVIDIA driver, or install the packages of the older CUDA: lineside doctor"

POISONED = {
    "cudaErrorIllegalAddress": "the GPU read or wrote where it must not",
    "cudaErrorLaunchFailure": "the work on the GPU broke off",
    "cudaErrorLaunchTimeout": "the work on the GPU took longer than the system allows",
    "cudaErrorHardwareStackError": "the work on the GPU broke off (hardware stack)",
    "cudaErrorIllegalInstruction": "the work on the GPU broke off (illegal instruction)",
    "cudaErrorMisalignedAddress": "the work on the GPU broke off (misaligned address)",
    "cudaErrorInvalidAddressSpace": "the work on the GPU broke off (address space)",
    "cudaErrorInvalidPc": "the work on the GPU broke off (program counter)",
    "cudaErrorAssert": "the work on the GPU broke off (assert)",
    "cudaErrorECCUncorrectable": "the GPU's memory has an error that it cannot correct",
    "cudaErrorContained": "the GPU reports a hardware error",
    "cudaErrorNvlinkUncorrectable": "the GPU's link reports a hardware error",
    "cudaErrorContextIsDestroyed": "another part of this process has reset the GPU",
    "cudaErrorUnknown": "the GPU does not answer any more",
}
"""Errors after which every call of the process fails: the context is gone, or the GPU is."""

_OTHERS = {
    "cudaErrorMemoryAllocation": (
        "the GPU has not enough free memory",
        "end other programs on it (nvidia-smi lists them), or build the engine for a smaller batch",
    ),
    "cudaErrorInsufficientDriver": ("the NVIDIA driver is older than the CUDA that is installed", _OLD_DRIVER),
    "cudaErrorCallRequiresNewerDriver": ("the NVIDIA driver is older than the CUDA that is installed", _OLD_DRIVER),
    "cudaErrorCompatNotSupportedOnDevice": ("the CUDA that is installed does not run on this GPU with this driver", _OLD_DRIVER),
    "cudaErrorSystemDriverMismatch": ("the NVIDIA driver and its libraries are of different versions", "restart the machine"),
    "cudaErrorSystemNotReady": ("the GPU is not ready yet", "start NVIDIA's fabric manager (servers with NVLink), then try again"),
    "cudaErrorInitializationError": (
        "CUDA cannot start in this process",
        "load engines in the process that uses them: one that was forked from a process with CUDA cannot",
    ),
    "cudaErrorNoDevice": ("the NVIDIA driver sees no GPU", "check nvidia-smi and CUDA_VISIBLE_DEVICES"),
    "cudaErrorInvalidDevice": ("there is no GPU of that number", "leave the device out, or name one that nvidia-smi lists"),
    "cudaErrorDevicesUnavailable": (
        "the GPU is held by another process, or cannot be reached",
        "end the process that holds it (nvidia-smi lists it), or allow several: nvidia-smi --compute-mode=DEFAULT",
    ),
    "cudaErrorDeviceAlreadyInUse": (
        "the GPU is held by another process",
        "end the process that holds it (nvidia-smi lists it), or allow several: nvidia-smi --compute-mode=DEFAULT",
    ),
    "cudaErrorNoKernelImageForDevice": ("the installed libraries hold no code for this GPU", "install a TensorRT that supports it"),
    "cudaErrorStubLibrary": ("the CUDA library that is found is a stub", "take the toolkit's folder `stubs` out of LD_LIBRARY_PATH"),
    "cudaErrorMpsConnectionFailed": ("the MPS server does not answer", "start it, or unset CUDA_MPS_PIPE_DIRECTORY"),
}

_PYCUDA_TEXTS = {
    "out of memory": "cudaErrorMemoryAllocation",
    "initialization error": "cudaErrorInitializationError",
    "no CUDA-capable device is detected": "cudaErrorNoDevice",
    "invalid device ordinal": "cudaErrorInvalidDevice",
    "invalid device context": "cudaErrorDeviceUninitialized",
    "invalid argument": "cudaErrorInvalidValue",
    "CUDA-capable device(s) is/are busy or unavailable": "cudaErrorDevicesUnavailable",
    "exclusive-thread device already in use by a different thread": "cudaErrorDeviceAlreadyInUse",
    "no kernel image is available for execution on the device": "cudaErrorNoKernelImageForDevice",
    "system has unsupported display driver / cuda driver combination": "cudaErrorSystemDriverMismatch",
    "system not yet initialized": "cudaErrorSystemNotReady",
    "uncorrectable ECC error encountered": "cudaErrorECCUncorrectable",
    "uncorrectable NVLink error detected during the execution": "cudaErrorNvlinkUncorrectable",
    "an illegal memory access was encountered": "cudaErrorIllegalAddress",
    "an illegal instruction was encountered": "cudaErrorIllegalInstruction",
    "misaligned address": "cudaErrorMisalignedAddress",
    "operation not supported on global/shared address space": "cudaErrorInvalidAddressSpace",
    "invalid program counter": "cudaErrorInvalidPc",
    "device-side assert triggered": "cudaErrorAssert",
    "hardware stack error": "cudaErrorHardwareStackError",
    "unspecified launch failure": "cudaErrorLaunchFailure",
    "the launch timed out and was terminated": "cudaErrorLaunchTimeout",
    "context is destroyed": "cudaErrorContextIsDestroyed",
    "device not ready": "cudaErrorNotReady",
    "unknown error": "cudaErrorUnknown",
}
"""PyCUDA says "cuMemAlloc failed: out of memory", the words of `cuGetErrorString`; here they are with the runtime's name of the error."""


def cuda_error(name: str, call: str, *, detail: str = "") -> DeviceError:
    """The error to raise when `call` returned `name`.

    Args:
        name: Such as "cudaErrorMemoryAllocation".
        call: The function that returned it. Work that was enqueued earlier may be what failed.
        detail: What else is known, such as the versions.
    """
    if name in POISONED:
        what, fix = POISONED[name], _RESTART
    elif name.startswith("cudaErrorStreamCapture"):
        what, fix = (
            "this work cannot be captured in a CUDA graph",
            "name an ONNX file that inspects meanwhile: --fallback strip.onnx; and report this with the output of lineside doctor",
        )
    else:
        what, fix = _OTHERS.get(name, ("CUDA answers with an error", "check the driver and the packages: lineside doctor"))
    return DeviceError(what, why=f"{call} says {name}" + (f"; {detail}" if detail else ""), fix=fix)


def pycuda_error(text: str) -> DeviceError:
    """The error to raise when PyCUDA raised one with this text."""
    call, _, words = text.partition(" failed: ")
    return cuda_error(_PYCUDA_TEXTS.get(words, words or "an error"), call)


def released(name: str, call: str) -> None:
    """Take note of the status that giving something back has returned.

    It is never raised: CUDA returns errors of earlier work there ("may also return error codes from previous, asynchronous launches"),
    which `synchronize` has raised already, and the caller goes on closing.
    """
    if name != "cudaSuccess":
        log.warning("%s says %s while something on the GPU is given back", call, name)
