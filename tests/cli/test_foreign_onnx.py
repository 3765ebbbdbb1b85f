"""ONNX files that nobody can load or run: every command that takes one answers with one message and exit code 2."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile

from lineside.cli.main import main
from lineside.errors import USER_ERROR

onnx = pytest.importorskip("onnx", reason="the files are made with it")
pytest.importorskip("onnxruntime", reason="it refuses them")

SIZE = (100, 70)


def conv(source: str, output: str) -> Any:
    return onnx.helper.make_node("Conv", [source, "w"], [output], pads=[1, 1, 1, 1])


def graph(*nodes: Any, opset: int = 18, size: tuple[Any, Any] = SIZE, more: tuple[Any, ...] = (), domain: str = "") -> bytes:
    value = onnx.helper.make_tensor_value_info
    weights = onnx.numpy_helper.from_array(np.full((3, 3, 3, 3), 0.1, np.float32), "w")
    made = onnx.helper.make_graph(list(nodes), "g", [value("image", 1, ["N", 3, *size])], [value("out", 1, None)], [weights, *more])
    opsets = [onnx.helper.make_opsetid("", opset), *([onnx.helper.make_opsetid(domain, 1)] if domain else [])]
    return onnx.helper.make_model(made, opset_imports=opsets, ir_version=9).SerializeToString()  # type: ignore[no-any-return]


def number(value: Any, name: str) -> Any:
    return onnx.numpy_helper.from_array(np.array(value, np.int64), name)


def without_its_weights() -> bytes:
    """As a file whose weights lie beside it, where they are not."""
    model = onnx.load_from_string(graph(conv("image", "out")))
    onnx.external_data_helper.set_external_data(model.graph.initializer[0], location="gone.bin")
    model.graph.initializer[0].ClearField("raw_data")
    return model.SerializeToString()  # type: ignore[no-any-return]


def node(*parts: Any, **more: Any) -> Any:
    return onnx.helper.make_node(*parts, **more)


FILES: dict[str, Callable[[], bytes]] = {
    "empty file": bytes,
    "text": lambda: b"this is no ONNX file\n" * 20,
    "half a file": lambda: graph(conv("image", "a"), conv("a", "out"))[:150],
    "no nodes": graph,
    "unknown operator": lambda: graph(node("Frobnicate", ["image"], ["a"]), conv("a", "out")),
    "unknown domain": lambda: graph(node("Frob", ["image"], ["a"], domain="acme"), conv("a", "out"), domain="acme"),
    "opset of the future": lambda: graph(conv("image", "out"), opset=99),
    "reads what nobody makes": lambda: graph(conv("nothing", "out")),
    "weights are elsewhere": without_its_weights,
    "no pixels": lambda: graph(conv("image", "out"), size=(0, 0)),
    "fails when it runs": lambda: graph(
        conv("image", "a"), node("Gather", ["a", "nine"], ["b"], axis=1), conv("b", "out"), more=(number([9, 9, 9], "nine"),)
    ),
}
COMMANDS = {
    "calibrate": ["calibrate", "MODEL", "DATA", "--size", "100x70", "--tile", "64", "--patches", "4", "--out", "OUT.ranges.json"],
    "bench": ["bench", "MODEL", "--seconds", "1", "--shape", "image=1x3x100x70"],
    "infer": ["infer", "MODEL", "DATA/test", "--out", "OUT"],
    "evaluate": ["evaluate", "MODEL", "DATA"],
    "qualify": ["qualify", "MODEL", "--reference", "MODEL", "--dataset", "DATA", "--report", "OUT"],
    "build": ["build", "MODEL", "--out", "OUT.engine", "--plan-only"],
}


@pytest.fixture(scope="module")
def data(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("data")
    strip = np.random.default_rng(0).integers(0, 255, (3, *SIZE)).astype(np.uint8)
    for folder in ("train/good", "test/good"):
        (root / folder).mkdir(parents=True)
        tifffile.imwrite(root / folder / "0.tif", strip, photometric="minisblack")
    return root


@pytest.mark.parametrize("command", COMMANDS)
@pytest.mark.parametrize("kind", FILES)
def test_a_graph_that_cannot_be_used_is_one_message(
    kind: str, command: str, data: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    model = tmp_path / "strange.onnx"
    model.write_bytes(FILES[kind]())
    words = {"MODEL": str(model), "DATA": str(data), "OUT": str(tmp_path / "out")}
    arguments = [
        part.replace("DATA", words["DATA"]).replace("OUT", words["OUT"]).replace("MODEL", words["MODEL"]) for part in COMMANDS[command]
    ]
    assert main(arguments) == USER_ERROR
    said = capsys.readouterr().err
    assert "strange.onnx" in said
    assert "why: " in said
    assert "fix: " in said
    assert not (tmp_path / "out.ranges.json").exists()


@pytest.mark.parametrize("kind", ["empty file", "text", "half a file"])
def test_show_says_what_is_wrong_with_a_file_that_is_no_onnx(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    model = tmp_path / "strange.onnx"
    model.write_bytes(FILES[kind]())
    assert main(["show", str(model)]) == USER_ERROR
    assert "strange.onnx" in capsys.readouterr().err
