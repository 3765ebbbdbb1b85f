"""The model of a checkpoint against a tile-and-stitch written out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from lineside.errors import StripError
from lineside.spec import StripSpec
from lineside.train import checkpoint_model
from lineside.train.checkpoint_model import CheckpointModel
from lineside.train.unet import UNet

SPEC = StripSpec.of_size(80, 32, tile_px=32)


@pytest.fixture
def network() -> UNet:
    torch.manual_seed(0)
    network = UNet(2)
    for _ in range(20):
        network(torch.rand(2, 3, 32, 32))
    return network.eval()


@pytest.fixture
def strip() -> NDArray[np.uint8]:
    return np.random.default_rng(0).integers(0, 256, (4, 80, 32), dtype=np.uint8)


def heatmap_by_hand(network: UNet, strip: NDArray[np.uint8]) -> NDArray[np.float64]:
    """80 px, tiles of 32 px, 3 of them: at 0, 24, 48; they meet in the middle of the overlaps, at 28 and 52."""
    heat = np.empty((80, 32))
    for start, first, last in ((0, 0, 28), (24, 28, 52), (48, 52, 80)):
        tile = torch.from_numpy(strip[None, :3, start : start + 32].astype(np.float32) / 255)
        with torch.no_grad():
            logits = network(tile)[0].double().numpy()
        probability = 1 / (1 + np.exp(logits[0] - logits[1]))
        heat[first:last] = probability[first - start : last - start]
    return heat


def test_the_heatmap_is_cut_network_softmax_stitch(network: UNet, strip: NDArray[np.uint8]) -> None:
    expected = heatmap_by_hand(network, strip)
    found = CheckpointModel(network, SPEC).heatmap(strip)
    assert found.dtype == np.float32
    np.testing.assert_allclose(found, expected, atol=1e-5)  # float32 against float64
    assert np.ptp(expected) > 0.01


def test_uint8_float32_three_channels_and_any_strides_are_the_same_strip(network: UNet, strip: NDArray[np.uint8]) -> None:
    model = CheckpointModel(network, SPEC)
    expected = model.heatmap(strip)
    strided = np.ascontiguousarray(strip.transpose(1, 2, 0)).transpose(2, 0, 1)
    for same in (strip.astype(np.float32), strip[:3], strided):
        np.testing.assert_array_equal(model.heatmap(same), expected)


def test_groups_of_tiles_do_not_change_the_heatmap(network: UNet, strip: NDArray[np.uint8], monkeypatch: pytest.MonkeyPatch) -> None:
    expected = CheckpointModel(network, SPEC).heatmap(strip)
    monkeypatch.setattr(checkpoint_model, "PIXELS_PER_PASS", 1)
    np.testing.assert_allclose(CheckpointModel(network, SPEC).heatmap(strip), expected, atol=1e-6)


def test_a_strip_of_another_size_is_refused(network: UNet) -> None:
    with pytest.raises(StripError, match="64 x 64"):
        CheckpointModel(network, SPEC).heatmap(np.zeros((3, 64, 64), np.uint8))


def test_threads_are_put_back_however_often_it_is_closed(network: UNet) -> None:
    before = torch.get_num_threads()
    with CheckpointModel(network, SPEC, threads=before + 1) as model:
        assert torch.get_num_threads() == before + 1
    model.close()
    assert torch.get_num_threads() == before
