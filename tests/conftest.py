"""What every test stands on."""

from __future__ import annotations

import signal
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import tifffile
from lineside_standin.install import Standin

# A shell that starts the tests in the background hands SIGINT down as ignored, to them and to every program that they start:
# the tests of Ctrl-C need it as a terminal gives it.
signal.signal(signal.SIGINT, signal.default_int_handler)


@pytest.fixture
def standin(monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory) -> Standin:
    """TensorRT, cuda-python and PyCUDA are stand-ins, and the machine has a stand-in's GPU: for this test and the processes it starts."""
    return Standin(monkeypatch, tmp_path_factory.mktemp("standin"))


@pytest.fixture(scope="session")
def detector() -> Any:
    """A UNet of 2 base channels set by hand to find what is in Target and not in Ref1: its deeper layers work and are not listened to."""
    torch = pytest.importorskip("torch", reason="PyTorch makes the network")
    from lineside.train.unet import UNet

    torch.manual_seed(0)
    network = UNet(2).eval()
    first, second = network.encoder[0].convs
    merge = network.decoder[4].merge
    for conv in (first.conv, second.conv, merge[0].conv, merge[1].conv, network.logits):
        conv.weight.data.zero_()
    for channel, sign in enumerate((1, -1)):  # brighter, and darker
        first.conv.weight.data[channel, :2, 1, 1] = torch.tensor([sign, -sign])
        for unit in (second, merge[0], merge[1]):
            unit.conv.weight.data[channel, channel, 1, 1] = 1
        network.logits.weight.data[1, channel, 1, 1] = 60
    network.logits.bias.data = torch.tensor([0.0, -6.0])  # half heat at a difference of 0.1, 25 grey levels
    return network


@pytest.fixture(scope="session")
def labelled(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data set for the detector: good strips, and in test/ two kinds of defects with their ground truth; not to be changed."""
    image = pytest.importorskip("PIL.Image")
    root = tmp_path_factory.mktemp("labelled")
    rng = np.random.default_rng(1)
    for folder, count in (("train/good", 4), ("test/good", 3), ("test/bright", 3), ("test/dark", 2)):
        kind = Path(folder).name
        (root / folder).mkdir(parents=True)
        (root / "ground_truth" / kind).mkdir(parents=True, exist_ok=True)
        for index in range(count):
            strip = np.tile(rng.integers(90, 160, (1, 100, 70)), (3, 1, 1)).astype(np.uint8)
            mask = np.zeros((100, 70), np.uint8)
            if kind != "good":
                row, column = rng.integers(10, 60, 2)
                mask[row : row + 3, column : column + 3] = 255
                strip[0, mask > 0] += np.uint8(60 if kind == "bright" else 256 - 60)
                image.fromarray(mask).save(root / "ground_truth" / kind / f"{index}.png")
            tifffile.imwrite(root / folder / f"{index}.tif", strip, photometric="minisblack")
    return root
