"""The zoo writes files that answer like the network in PyTorch, and says what it cannot write."""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from lineside.benchmarks.subjects.cases import Axes, Case, Shape, cases_of
from lineside.benchmarks.subjects.subjects import possible_of
from lineside.benchmarks.zoo.__main__ import ZooOptions
from lineside.benchmarks.zoo.deployment_table import able_runners, told
from lineside.benchmarks.zoo.difference import differences
from lineside.benchmarks.zoo.files import VARIANTS, files_of, write_files
from lineside.benchmarks.zoo.networks import NETWORKS, Network, above_zero, largest_of
from lineside.errors import ConfigError, ModelError

SAM2 = ["sam2_image_encoder", "sam2_mask_decoder", "sam2_memory_attention", "sam2_memory_encoder"]
SIDE_PX = 64
"""The least that SAM 2 takes."""


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("net.onnx", ("dynamic", "fp32")),
        ("net.int8.onnx", ("dynamic", "int8")),
        ("net.fp16.onnx", ("dynamic", "fp16")),
        ("net.static.onnx", ("static", "fp32")),
        ("net.simplified.onnx", ("simplified", "fp32")),
        ("net.pt2", ("-", "fp32")),
    ],
)
def test_the_name_of_a_file_tells_graph_and_precision(name: str, expected: tuple[str, str]) -> None:
    assert told(Case(model=name, path=Path(name), runner="onnxruntime")) == expected


@pytest.mark.parametrize(
    "options",
    [
        {"names": ("vgg",)},
        {"names": ()},
        {"names": ("resnet18",), "size_px": 8},
        {"names": ("resnet18",), "size_px": 4096},
        {"names": ("unet",), "size_px": 100},
        {"names": ("resnet18", "sam2_mask_decoder"), "size_px": 1000},
    ],
)
def test_networks_and_sizes_that_there_are_not_are_refused(options: dict[str, Any]) -> None:
    with pytest.raises(ConfigError):
        ZooOptions(**options)


def test_every_network_has_a_size_of_its_own_until_one_is_said() -> None:
    own = {name: ZooOptions().side_px(name) for name in NETWORKS}
    assert (own["resnet18"], own["unet"], own["sam2_image_encoder"]) == (224, 128, 1024)
    assert {ZooOptions(size_px=256).side_px(name) for name in NETWORKS} == {256}


def test_decisions_are_of_a_picture_or_of_each_pixel() -> None:
    logits = np.array([[0.1, 0.9, -1.0], [3.0, 1.0, 2.0]])
    assert largest_of(3)(logits).ravel().tolist() == [1, 0]
    pixels = np.array([[1.0, 0.0, 0.0, 2.0]])  # two classes of two pixels
    assert largest_of(2)(pixels).tolist() == [[0, 1]]
    assert above_zero(pixels).tolist() == [[True, False, False, True]]


def two_inputs(side_px: int) -> Mapping[str, Shape]:
    return {"picture": (3, side_px, side_px), "point": (4,)}


def small_network() -> Network:
    """A convolution with a batch norm, shifted by a layer of the second input and made larger twice."""
    torch = pytest.importorskip("torch", reason="it makes the network")

    class Small(torch.nn.Module):  # type: ignore[misc, name-defined]
        def __init__(self) -> None:
            super().__init__()
            self.conv, self.norm, self.linear = torch.nn.Conv2d(3, 8, 3), torch.nn.BatchNorm2d(8), torch.nn.Linear(4, 8)

        def forward(self, picture: Any, point: Any) -> Any:
            shifted = (self.norm(self.conv(picture)) + self.linear(point)[:, :, None, None]).relu()
            larger = torch.nn.functional.interpolate
            return larger(larger(shifted, scale_factor=2.0, mode="bilinear"), scale_factor=2.0, mode="bilinear").mean((2, 3))

    return Network(make=lambda _: Small(), inputs=two_inputs, size_px=32, decide=largest_of(8), samples=4)


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The files of the small network."""
    for package in ("onnx", "onnxscript", "onnxruntime"):
        pytest.importorskip(package, reason="it writes the files (extra [zoo])")
    folder = tmp_path_factory.mktemp("zoo")
    write_files(folder, "small", small_network(), 16, seed=0)
    return folder


def case_of(path: Path, runner: str, batch: int) -> Case:
    axes = Axes.parse(batch=str(batch), runners=runner)
    (case,) = cases_of([possible_of(path, axes)], axes)[0]
    return case


@pytest.mark.parametrize("variant", VARIANTS)
@pytest.mark.parametrize("batch", [1, 3])
def test_a_file_of_two_inputs_answers_like_pytorch(variant: str, batch: int, written: Path) -> None:
    if batch > 1 and VARIANTS[variant].graph != "dynamic":
        with pytest.raises(ConfigError, match="batch of 3"):
            case_of(written / f"small{variant}", "onnxruntime", batch)
        return
    reference, one = case_of(written / "small.pt2", "pytorch", batch), case_of(written / f"small{variant}", "onnxruntime", batch)
    (found,) = differences(reference, [one], inputs=6, decide=largest_of(8))
    assert found.inputs == 6
    assert found.top1 is not None
    # float32 sums in another order; FP16 has 11 bits; INT8 has steps of 1/255 of the largest value
    assert 0 < found.max <= {"fp16": 0.01, "int8": 0.3, "fp32": 1e-5}[VARIANTS[variant].precision] * found.scale


def test_a_runner_that_cannot_run_every_file_is_left_out_and_said(written: Path, tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="it is the other runner")
    onnx = pytest.importorskip("onnx", reason="it changes a file")
    model = onnx.load(written / "small.onnx")
    # ONNX Runtime has this operator of its own, OpenVINO has not
    model.graph.node.append(onnx.helper.make_node("Inverse", ["square"], ["inverse"], domain="com.microsoft"))
    model.graph.initializer.append(onnx.numpy_helper.from_array(np.eye(2, dtype=np.float32), "square"))
    model.graph.output.append(onnx.helper.make_tensor_value_info("inverse", onnx.TensorProto.FLOAT, [2, 2]))
    model.opset_import.append(onnx.helper.make_opsetid("com.microsoft", 1))
    onnx.save(model, tmp_path / "special.onnx")
    files = [written / "small.pt2", tmp_path / "special.onnx"]
    able, left_out = able_runners(files, Axes.parse(runners="pytorch,onnxruntime,openvino"))
    assert able.runners == ("pytorch", "onnxruntime")
    assert len(left_out) == 1
    assert "special.onnx" in left_out[0]
    assert "openvino" in left_out[0]
    with pytest.raises(ModelError, match=r"special\.onnx"):
        able_runners(files[1:], Axes.parse(runners="openvino"))


def test_precision_lies_in_the_graph(written: Path) -> None:
    onnx = pytest.importorskip("onnx", reason="it reads the files")
    kinds = {
        variant: [weight.data_type for weight in onnx.load(written / f"small{variant}").graph.initializer if len(weight.dims) == 4]
        for variant in (".onnx", ".fp16.onnx", ".int8.onnx")
    }
    kind = onnx.TensorProto
    assert kinds == {".onnx": [kind.FLOAT], ".fp16.onnx": [kind.FLOAT16], ".int8.onnx": [kind.INT8]}


def test_norms_fit_what_the_network_sees(written: Path) -> None:
    """With the norms of a fresh network every channel would be scaled by its own weights alone."""
    torch = pytest.importorskip("torch")
    program = torch.export.load(written / "small.pt2")
    inside = program.state_dict | dict(program.named_buffers())
    picture = torch.from_numpy(small_network().random_inputs(64, 16, 9)["picture"])
    conv = torch.nn.functional.conv2d(picture, inside["conv.weight"], inside["conv.bias"])
    np.testing.assert_allclose(inside["norm.running_var"], conv.var((0, 2, 3)).detach(), rtol=0.2)  # 4 pictures against 64


def module_of(name: str, seed: int = 0) -> Any:
    """A network of the zoo, for small pictures."""
    torch = pytest.importorskip("torch", reason="it makes the network")
    if name.startswith("sam2"):
        pytest.importorskip("transformers", reason="it has the architecture (extra [zoo])")
    elif name != "unet":
        pytest.importorskip("torchvision", reason="it has the architecture (extra [zoo])")
    torch.manual_seed(seed)
    return NETWORKS[name].make(SIDE_PX).eval()


def answers_of(module: Any, inputs: Mapping[str, Any]) -> list[Any]:
    import torch

    with torch.no_grad():
        found = module(*map(torch.from_numpy, inputs.values()))
    return [one.numpy() for one in (found if isinstance(found, tuple) else (found,))]


@pytest.mark.parametrize(
    ("name", "shapes"),
    [
        ("resnet18", [(1000,)]),
        ("unet", [(2, 64, 64)]),
        ("sam2_image_encoder", [(256, 4, 4), (32, 16, 16), (64, 8, 8)]),
        ("sam2_mask_decoder", [(3, 16, 16), (3,)]),
        ("sam2_memory_attention", [(256, 4, 4)]),
        ("sam2_memory_encoder", [(64, 4, 4)]),
    ],
)
def test_a_network_answers_every_row_of_a_batch_for_itself(name: str, shapes: list[Shape]) -> None:
    module, inputs = module_of(name), NETWORKS[name].random_inputs(2, SIDE_PX, seed=1)
    both = answers_of(module, inputs)
    assert [answer.shape[1:] for answer in both] == shapes
    second = answers_of(module, {key: values[1:] for key, values in inputs.items()})
    for alone, together in zip(second, both, strict=True):
        np.testing.assert_allclose(alone[0], together[1], atol=1e-4 * together.std() + 1e-6)
    assert not np.allclose(both[0][0], both[0][1], atol=0.1 * both[0].std())


@pytest.mark.parametrize("name", SAM2)
def test_every_weight_of_sam2_is_random_and_comes_from_the_seed(name: str) -> None:
    one, same, other = (dict(module_of(name, seed).named_parameters()) for seed in (0, 0, 1))
    weight = next(key for key, value in one.items() if value.ndim > 1)
    assert one[weight].equal(same[weight])
    assert not one[weight].equal(other[weight])
    assert all(value.any() for value in one.values())


@pytest.mark.parametrize("name", SAM2)
def test_sam2_takes_its_inputs_in_the_order_of_their_names(name: str) -> None:
    parameters = inspect.signature(module_of(name).forward).parameters
    assert list(parameters) == list(NETWORKS[name].inputs(SIDE_PX))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["mobilenet_v3_small", *SAM2])
def test_the_files_of_a_network_answer_like_pytorch(name: str, tmp_path: Path) -> None:
    module_of(name)  # or skip
    pytest.importorskip("onnxscript", reason="it writes the files (extra [zoo])")
    network = NETWORKS[name]
    exported, *paths = files_of(tmp_path, name)
    write_files(tmp_path, name, network, SIDE_PX, seed=0)
    cases = [case_of(path, "onnxruntime", 1) for path in paths]
    found = differences(case_of(exported, "pytorch", 1), cases, inputs=4, decide=network.decide)
    for path, apart in zip(paths, found, strict=True):
        limit = {"fp16": 0.02, "int8": 0.6, "fp32": 1e-4}[VARIANTS[path.name.removeprefix(name)].precision]
        assert apart.mean <= limit * apart.scale, path.name
