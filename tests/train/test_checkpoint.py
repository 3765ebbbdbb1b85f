"""Checkpoints: what they keep, and what is refused instead of loaded."""

from __future__ import annotations

import errno
import json
import os
import pickle
import zipfile
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from lineside.errors import CheckpointError, LinesideError, OutputError, TrainingError
from lineside.spec import StripSpec
from lineside.train.checkpoint import Checkpoint, Position, load_checkpoint, save_checkpoint
from lineside.train.config import TrainOptions
from lineside.train.unet import UNet, weights_sha256


@pytest.fixture
def checkpoint() -> Checkpoint:
    torch.manual_seed(0)
    network = UNet(2)
    network(torch.rand(2, 3, 32, 32))  # running statistics that are not the initial ones
    weights = network.state_dict()
    optimizer = torch.optim.Adam(network.parameters())
    network(torch.rand(2, 3, 32, 32)).sum().backward()
    optimizer.step()
    return Checkpoint(
        spec=StripSpec.of_size(72, 64, tile_px=32).with_files(full_scale=4095, layout="hwc"),
        options=TrainOptions(base_channels=2, gamma=(0.5, 2.0)),
        dataset="tiny",
        dataset_fingerprint="f" * 64,
        epoch=2,
        chosen_by="pixel AP",
        metrics={"pixel_ap": 0.5, "image_auroc": None},
        threshold=0.25,
        threshold_rule="by hand",
        history=({"epoch": 1, "loss": 0.5}, {"epoch": 2, "loss": 0.25, "threshold": None}),
        examples=torch.arange(2 * 3 * 72 * 64, dtype=torch.int64).to(torch.uint8).view(2, 3, 72, 64),
        weights=weights,
        weights_sha256=weights_sha256(weights),
        position=Position(step=6, processes=1, epoch_loss=0.5, epoch_seconds=1.5, optimizer=optimizer.state_dict()),
    )


@pytest.fixture
def saved(checkpoint: Checkpoint, tmp_path: Path) -> Path:
    save_checkpoint(tmp_path / "last.pt", checkpoint)
    return tmp_path / "last.pt"


def test_everything_comes_back(checkpoint: Checkpoint, saved: Path) -> None:
    found = load_checkpoint(saved)
    assert found.to_json() == checkpoint.to_json()
    assert (found.spec, found.options, found.history) == (checkpoint.spec, checkpoint.options, checkpoint.history)
    assert torch.equal(found.examples, checkpoint.examples)
    assert all(torch.equal(found.weights[name], tensor) for name, tensor in checkpoint.weights.items())
    assert found.position is not None
    assert checkpoint.position is not None
    assert {**vars(found.position), "optimizer": None} == {**vars(checkpoint.position), "optimizer": None}
    state = found.position.optimizer["state"]
    assert all(torch.equal(state[key]["exp_avg"], value["exp_avg"]) for key, value in checkpoint.position.optimizer["state"].items())
    assert list(saved.parent.iterdir()) == [saved]


def test_what_it_says_of_itself_is_json(checkpoint: Checkpoint) -> None:
    assert json.loads(json.dumps(checkpoint.to_json(), allow_nan=False))["options"]["base_channels"] == 2


def test_the_network_is_the_one_that_was_saved_in_evaluation_mode(checkpoint: Checkpoint, saved: Path) -> None:
    network = UNet(2)
    network.load_state_dict(dict(checkpoint.weights))
    images = torch.rand(1, 3, 64, 32)
    found = load_checkpoint(saved).network()
    assert not found.training
    assert torch.equal(found(images), network.eval()(images))


def test_the_network_can_be_trained_without_touching_the_checkpoint(saved: Path) -> None:
    found = load_checkpoint(saved)
    with torch.no_grad():
        for parameter in found.network().parameters():
            parameter.zero_()
    assert weights_sha256(found.weights) == found.weights_sha256


def damaged(change: Callable[[dict[str, Any]], None]) -> Callable[[Path], None]:
    def damage(path: Path) -> None:
        value = torch.load(path, weights_only=True)
        change(value)
        torch.save(value, path)

    return damage


def cut_off(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1000])


def text(path: Path) -> None:
    path.write_text("weights")


def empty(path: Path) -> None:
    path.write_bytes(b"")


def a_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def another_zip(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("hello.txt", "hello")


def state_dict_of_somebody(path: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 8, 3).state_dict(), path)


def whole_module(path: Path) -> None:
    torch.save(torch.nn.Conv2d(3, 8, 3), path)


def numbers(path: Path) -> None:
    torch.save([1, 2, 3], path)


def flipped_bit(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


DAMAGE: list[tuple[Callable[[Path], None], str]] = [
    (Path.unlink, "no such file"),
    (a_folder, "no such file"),
    (empty, "not a whole checkpoint"),
    (text, "not a whole checkpoint"),
    (cut_off, "a part of it is missing"),
    (another_zip, "damaged checkpoint"),
    (flipped_bit, "the checksum of"),
    (state_dict_of_somebody, "it holds weight, bias"),
    (numbers, "it holds a list"),
    (whole_module, "more than values and tensors"),
    (damaged(lambda value: value.update(schema=2)), "schema 2"),
    (damaged(lambda value: value.pop("schema")), "schema None"),
    (damaged(lambda value: value.pop("history")), "damaged checkpoint"),
    (damaged(lambda value: value["spec"].update(tile_px=100)), "damaged checkpoint"),
    (damaged(lambda value: value["options"].pop("lr")), "damaged checkpoint"),
    (damaged(lambda value: value["options"].update(lr="fast")), "damaged checkpoint"),
    (damaged(lambda value: value.update(options=None)), "damaged checkpoint"),
    (damaged(lambda value: value.update(threshold=1.5)), "damaged checkpoint"),
    (damaged(lambda value: value.update(threshold="high")), "damaged checkpoint"),
    (damaged(lambda value: value.update(weights=[1, 2])), "damaged checkpoint"),
    (damaged(lambda value: value["weights"].update({"logits.bias": 1.0})), "damaged checkpoint"),
    (damaged(lambda value: value.update(examples=torch.zeros(1, 3, 8, 8, dtype=torch.uint8))), "damaged checkpoint"),
    (damaged(lambda value: value["position"].pop("step")), "damaged checkpoint"),
    (damaged(lambda value: value["options"].update(base_channels=4)), "4 base channels"),
    (damaged(lambda value: value["weights"].pop("logits.bias")), "logits.bias has the shape nothing"),
    (damaged(lambda value: value["weights"].update(more=torch.zeros(3))), "more has the shape 3"),
    (damaged(lambda value: value["weights"]["logits.bias"].fill_(float("nan"))), "logits.bias is not a number"),
    (damaged(lambda value: value["weights"]["logits.bias"].add_(1)), "sha256"),
]


@pytest.mark.parametrize(("damage", "message"), DAMAGE, ids=[message.replace(" ", "-") + str(i) for i, (_, message) in enumerate(DAMAGE)])
def test_what_is_no_whole_checkpoint_of_ours_is_refused(saved: Path, damage: Callable[[Path], None], message: str) -> None:
    damage(saved)
    with pytest.raises(CheckpointError) as caught:
        load_checkpoint(saved)
    assert message in str(caught.value)
    assert str(saved) in caught.value.what
    assert caught.value.fix


class Malicious:
    """Runs a command when it is unpickled."""

    def __init__(self, evidence: Path) -> None:
        self.evidence = evidence

    def __reduce__(self) -> tuple[Any, ...]:
        return os.system, (f"touch {self.evidence}",)


@pytest.mark.parametrize("legacy", [False, True])
def test_a_pickle_with_code_is_refused_and_does_not_run(tmp_path: Path, legacy: bool) -> None:
    evidence, file = tmp_path / "evidence", tmp_path / "best.pt"
    torch.save({"kind": "lineside checkpoint", "weights": Malicious(evidence)}, file, _use_new_zipfile_serialization=not legacy)
    with pytest.raises(CheckpointError):
        load_checkpoint(file)
    assert not evidence.exists()
    if not legacy:  # the file is a weapon indeed
        torch.load(file, weights_only=False)
        assert evidence.exists()


def test_a_plain_pickle_is_refused(tmp_path: Path) -> None:
    (tmp_path / "best.pt").write_bytes(pickle.dumps(Malicious(tmp_path / "evidence")))
    with pytest.raises(CheckpointError, match="not a whole checkpoint"):
        load_checkpoint(tmp_path / "best.pt")
    assert not (tmp_path / "evidence").exists()


def test_a_flipped_bit_anywhere_is_refused_or_harmless(checkpoint: Checkpoint, saved: Path) -> None:
    data, rng = saved.read_bytes(), np.random.default_rng(0)
    for place in rng.integers(0, len(data), 100):
        broken = bytearray(data)
        broken[place] ^= 1 << rng.integers(8)
        saved.write_bytes(broken)
        try:
            found = load_checkpoint(saved)
        except LinesideError:
            continue
        assert found.weights_sha256 == checkpoint.weights_sha256


def test_weights_that_are_not_numbers_are_not_saved_and_what_was_there_stays(checkpoint: Checkpoint, saved: Path) -> None:
    before = saved.read_bytes()
    weights = {**checkpoint.weights, "logits.bias": torch.tensor([0.0, float("inf")])}
    with pytest.raises(TrainingError, match=r"logits\.bias"):
        save_checkpoint(saved, replace(checkpoint, weights=weights))
    assert saved.read_bytes() == before


def test_a_full_disk_is_an_output_error_and_what_was_there_stays(
    checkpoint: Checkpoint, saved: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    before = saved.read_bytes()
    with monkeypatch.context() as patch:
        patch.setattr(Path, "write_bytes", full)
        with pytest.raises(OutputError, match="no space left"):
            save_checkpoint(saved, checkpoint)
    assert saved.read_bytes() == before
    assert list(saved.parent.iterdir()) == [saved]
