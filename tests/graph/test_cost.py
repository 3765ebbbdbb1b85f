"""Multiply-adds, against what PyTorch's convolutions do."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from lineside.graph.cost import multiply_adds
from lineside.graph.float_model import FloatModel


@pytest.mark.parametrize(("tiling", "size"), [("batched", (64, 64)), ("unrolled", (64, 64)), ("full", (128, 96))])
def test_multiply_adds_are_counted_as_pytorchs_layers_do_them(
    write_model: Callable[..., Path], lively_network: Any, tmp_path: Path, tiling: str, size: tuple[int, int]
) -> None:
    torch = pytest.importorskip("torch")
    counted: dict[str, int] = {}

    def count(name: str) -> Callable[..., None]:
        def hook(module: Any, given: Any, answer: Any) -> None:
            counted[name] = answer[0].numel() * given[0].shape[1] * 9

        return hook

    handles = [module.register_forward_hook(count(name)) for name, module in lively_network.named_modules() if hasattr(module, "stride")]
    try:
        lively_network(torch.rand(1, 3, *size))
    finally:
        for handle in handles:
            handle.remove()
    found = multiply_adds(FloatModel.read(write_model(tmp_path / "model.onnx", tiling=tiling)).network)
    assert len(found) == 28
    assert list(found.values()) == list(counted.values())
