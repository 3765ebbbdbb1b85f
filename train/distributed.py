"""Several processes train one network: `torchrun --nproc-per-node N`, one GPU or one share of the CPU each.

In:   RANK, WORLD_SIZE and LOCAL_RANK of the environment, as torchrun sets them; without them, one process.
Out:  `Ranks`, and the few things that all processes do together. With one process each of them does nothing.
Gradients are averaged by DistributedDataParallel. `average_buffers` does the same for the running statistics of batch norm,
so that parameters and buffers are the same bits everywhere after every step.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import timedelta

import torch
from torch import Tensor, nn
from torch import distributed as dist

from lineside.errors import ConfigError, DeviceError

from .config import Device

TIMEOUT = timedelta(hours=6)
"""How long processes wait for one another: rank 0 validates while the others wait."""

LET_GO_S = 1.0
"""How long a collective waits at most for the threads below it to let go of its tensor; they need microseconds."""


@dataclass(frozen=True, kw_only=True)
class Ranks:
    """Which of how many processes this is."""

    rank: int = 0
    local_rank: int = 0
    world: int = 1

    @classmethod
    def from_environment(cls) -> Ranks:
        """What torchrun says; one process without it. Raises: ConfigError."""
        if "WORLD_SIZE" not in os.environ:
            return cls()
        try:
            rank, local_rank, world = (int(os.environ[name]) for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE"))
        except (KeyError, ValueError) as exc:
            raise ConfigError(
                f"WORLD_SIZE={os.environ['WORLD_SIZE']}, but {exc} is not a number of this process",
                why="several processes need RANK, LOCAL_RANK and WORLD_SIZE",
                fix="start them with torchrun --nproc-per-node N, or unset WORLD_SIZE",
            ) from exc
        return cls(rank=rank, local_rank=local_rank, world=world)

    @property
    def leads(self) -> bool:
        """Whether this is the process that validates, writes files and reports."""
        return self.rank == 0


def device_of(wanted: Device, ranks: Ranks) -> torch.device:
    """The device of this process.

    Raises:
        DeviceError: CUDA is wanted and there is none, or too few GPUs for the processes of this machine.
    """
    usable = torch.cuda.is_available()
    if wanted == "cpu" or (wanted == "auto" and not usable):
        return torch.device("cpu")
    if not usable:
        raise DeviceError("no usable CUDA device", why="--device cuda was asked for", fix="use --device cpu, or see: lineside doctor")
    if ranks.local_rank >= torch.cuda.device_count():
        raise DeviceError(
            f"process {ranks.local_rank} of this machine has no GPU of its own",
            why=f"there are {torch.cuda.device_count()} GPUs",
            fix=f"start torchrun --nproc-per-node {torch.cuda.device_count()}",
        )
    return torch.device("cuda", ranks.local_rank)


@contextlib.contextmanager
def process_group(ranks: Ranks, device: torch.device) -> Iterator[None]:
    """Join the other processes. One process has none to join, and a group that a caller has made is used as it is."""
    if ranks.world == 1 or dist.is_initialized():
        yield
        return
    if device.type == "cuda":
        torch.cuda.set_device(device)  # collectives of NCCL run on the current device
    dist.init_process_group("nccl" if device.type == "cuda" else "gloo", timeout=TIMEOUT)
    try:
        yield
    finally:
        dist.destroy_process_group()


def _sum(values: Tensor) -> None:
    """Replace `values` by their sum over all processes; when it returns, no other thread holds the tensor.

    A thread of gloo lets go of it some time after `all_reduce` has returned, and needs Python for that. Where Python has begun to
    shut down in the meantime, the process aborts ("terminate called without an active exception", PyTorch 2.13).
    """
    held = sys.getrefcount(values)
    dist.all_reduce(values)
    deadline = time.monotonic() + LET_GO_S
    while sys.getrefcount(values) > held and time.monotonic() < deadline:
        time.sleep(0)


def mean(value: float, ranks: Ranks, device: torch.device) -> float:
    """The mean over all processes: the same number in every one."""
    if ranks.world == 1:
        return value
    total = torch.tensor(value, dtype=torch.float64, device=device)
    _sum(total)
    return float(total) / ranks.world


def average_buffers(network: nn.Module, ranks: Ranks) -> None:
    """Give all processes the mean of their running statistics; counters are the same already."""
    buffers: list[Tensor] = [buffer for buffer in network.buffers() if buffer.is_floating_point()]
    if ranks.world == 1 or not buffers:
        return
    flat = torch.cat([buffer.flatten() for buffer in buffers])
    _sum(flat)
    parts = torch.split(flat / ranks.world, [buffer.numel() for buffer in buffers])
    for buffer, part in zip(buffers, parts, strict=True):
        buffer.copy_(part.view_as(buffer))
