"""How much memory a build needs, and whether it is there.

In:   an ONNX file, its batches, and what is free.
Out:  an `Estimate` for the table and for the error; the workspace in bytes that TensorRT may use.
The estimate is made from the network's shape and is rough on purpose: it is there to say no before TensorRT is killed for memory, and to
say what to lower. On an integrated GPU (Jetson) GPU and CPU share the RAM, so both needs have to fit into what the kernel can give.
"""

from __future__ import annotations

from dataclasses import dataclass

from lineside.engine.files.io_forms import CONTRACTS
from lineside.engine.files.onnx_file import OnnxFile
from lineside.engine.files.profiles import BatchProfiles
from lineside.engine.machine import MIB
from lineside.errors import ConfigError, DeviceError

CONTEXT_BYTES = 512 * MIB
"""CUDA's context with TensorRT's kernels ("How TensorRT Uses Memory" of NVIDIA's manual names hundreds of MB); not measured here."""
WEIGHT_COPIES = 2
"""On either side: the network's own and those in the engine ("at least two copies of the weights", same page)."""
CHANNELS_PER_PIXEL = 5.0
"""Channels that are alive at once per pixel of a tile and per base channel: the skip connections of a UNet whose widths go 1, 2, 4, 8, 8
times the base are 1 + 2/4 + 4/16 + 8/64 + 8/256 = 1.9; the last double convolution reads 2 and writes 1."""
WORKSPACE_SHARE = 0.75
"""Of the free device memory, when the user names no limit."""
BYTES = {"fp32": 4, "fp16": 2, "int8": 2}
"""Of an activation. What is not quantised of an INT8 network is FP16."""


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """What a build needs, in bytes.

    Attributes:
        activations: Of the network at the largest batch.
        io: Inputs and outputs at the largest batch.
        device: All on the GPU, without the workspace.
        host: All in the build process.
    """

    activations: int
    io: int
    device: int
    host: int


def estimate(onnx: OnnxFile, profiles: BatchProfiles) -> Estimate:
    """What building `onnx` for `profiles` needs."""
    manifest, spec = onnx.manifest, onnx.manifest.spec
    strip_px = spec.height_px * spec.width_px
    tiles_px = strip_px if manifest.tiling == "full" else len(spec.grid) * spec.tile_px**2
    if manifest.tiling == "unrolled":  # one copy after another
        tiles_px = spec.tile_px**2
    rows = profiles.largest
    contract = CONTRACTS[manifest.io]
    channels = {"uint8": 1, "float32": 4}[onnx.input_dtype] * contract.input_channels + 4 * contract.heatmap_channels
    activations = int(rows * tiles_px * manifest.base_channels * CHANNELS_PER_PIXEL * BYTES[manifest.precision])
    io = rows * strip_px * channels
    weights = WEIGHT_COPIES * onnx.size_bytes
    return Estimate(activations=activations, io=io, device=weights + activations + io + CONTEXT_BYTES, host=weights + CONTEXT_BYTES)


def refuse_workspace(workspace_mib: int | None, total_bytes: int, *, gpu: str) -> None:
    """Refuse a workspace that the GPU cannot have. Raises: ConfigError."""
    if workspace_mib is not None and workspace_mib * MIB > total_bytes:
        raise ConfigError(
            f"workspace of {workspace_mib} MiB",
            why=f"the {gpu} has {total_bytes // MIB} MiB in all",
            fix="leave --workspace-mib out: three quarters of what is free are used",
        )


def workspace_bytes(needs: Estimate, workspace_mib: int | None, *, free: int, ram: int, integrated: bool) -> int:
    """The workspace that TensorRT gets.

    Args:
        needs: Of the build.
        workspace_mib: What the user wants; None: three quarters of what is left.
        free: Bytes of free device memory, as CUDA says.
        ram: Bytes of RAM that are available.
        integrated: GPU and CPU share that RAM: then it decides, since CUDA does not count what the kernel's caches would give back
            ("cudaMemGetInfo" in NVIDIA's "CUDA for Tegra").

    Raises:
        DeviceError: Too little is free for the build, or for the workspace that was asked for.
    """
    have = ram if integrated else free
    where = "RAM, which this GPU shares with the CPU," if integrated else "device memory"
    need = needs.device + needs.host if integrated else needs.device
    swap = "; on a Jetson stop the desktop and add swap: docs/jetson.md" if integrated else ""
    if have < need:
        raise DeviceError(
            f"{have // MIB} MiB of {where} are free",
            why=f"this build needs about {need // MIB} MiB, {needs.activations // MIB} of them for the largest batch",
            fix=f"stop what else uses it (nvidia-smi, tegrastats), or build for a smaller --batch{swap}",
        )
    if not integrated and ram < needs.host:
        raise DeviceError(
            f"{ram // MIB} MiB of RAM are free",
            why=f"the builder needs about {needs.host // MIB} MiB",
            fix="stop other programs, or add swap",
        )
    if workspace_mib is None:
        return int((have - need) * WORKSPACE_SHARE) or MIB
    if workspace_mib * MIB > have - need:
        raise DeviceError(
            f"a workspace of {workspace_mib} MiB beside about {need // MIB} MiB for the build",
            why=f"{have // MIB} MiB of {where} are free",
            fix=f"use --workspace-mib {max((have - need) // MIB, 1)} or less, or leave it out",
        )
    return workspace_mib * MIB
