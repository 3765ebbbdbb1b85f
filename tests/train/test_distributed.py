"""Two real processes over gloo, started by torchrun: they see different patches and have the same bits after every step."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch

from lineside.dataset import Dataset
from lineside.errors import ConfigError
from lineside.train.checkpoint import load_checkpoint
from lineside.train.config import TrainOptions
from lineside.train.distributed import Ranks, mean

STEPS = 6

SCRIPT = """
    import hashlib, json, os, sys
    from pathlib import Path
    import torch
    from lineside.dataset import Dataset
    from lineside.spec import StripSpec
    from lineside.train import loop
    from lineside.train.config import TrainOptions
    from lineside.train.data import PatchBatches
    from lineside.train.distributed import Ranks, process_group
    from lineside.train.report import Deaf
    from lineside.train.stepper import Stepper
    from lineside.train.unet import weights_sha256

    root, out, start = Path(sys.argv[1]), Path(sys.argv[2]), sys.argv[3]
    dataset = Dataset.open(root, spec=StripSpec.of_size(72, 64, tile_px=32))
    ranks = Ranks.from_environment()
    options = TrainOptions(epochs=3, steps_per_epoch=20, batch_size=4, base_channels=2, workers=0, device="cpu", gamma=(1.0, 1.0), lr=1e-2)

    class Ears(Deaf):
        steps = 0
        def on_step(self, report):
            self.steps += 1
            if start == "new" and report.step == 30:
                (out / "step30").touch()

    writes = []
    for name in ("save_checkpoint", "write_metrics_csv", "draw_curves", "make_output_folder"):
        def recorded(path, *given, name=name, real=getattr(loop, name), **named):
            writes.append(name)
            return real(path, *given, **named)
        setattr(loop, name, recorded)

    if __name__ == "__main__":
        facts = {"hashes": [], "patches": [], "losses": []}
        ears = Ears()
        with process_group(ranks, torch.device("cpu")):
            source, stepper = PatchBatches(dataset.train, dataset.spec, options, ranks), Stepper(options, torch.device("cpu"), ranks)
            for step in range(6):
                batch = source.batch(step)
                done = stepper.step(batch, step, gamma=1.0, lr=1e-3)
                facts["hashes"].append(weights_sha256(stepper.network.state_dict()))
                facts["patches"].append([hashlib.sha256(image.numpy().tobytes()).hexdigest() for image in batch.images])
                facts["losses"].append(done.loss)
            result = loop.train(dataset, out / "run", options, start=start, listener=ears)
        facts |= {"result": result is not None, "writes": writes, "steps": ears.steps}
        (out / f"{start}{ranks.rank}.json").write_text(json.dumps(facts))
"""


@contextmanager
def torchrun(out: Path, dataset: Dataset, start: str) -> Iterator[subprocess.Popen[str]]:
    """Two processes of the script; whatever the block does, none is left behind."""
    script = out / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command += [str(script), str(dataset.root), str(out), start]
    with subprocess.Popen(command, env=environment, stderr=subprocess.PIPE, text=True) as process:
        try:
            yield process
        finally:
            process.terminate()  # torchrun ends its processes, too


def facts(out: Path, start: str) -> list[dict[str, Any]]:
    return [json.loads((out / f"{start}{rank}.json").read_text()) for rank in (0, 1)]


@pytest.fixture(scope="module")
def together(dataset: Dataset, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What two processes did together."""
    out = tmp_path_factory.mktemp("together")
    with torchrun(out, dataset, "overwrite") as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    assert "Warning" not in said
    return out


@pytest.mark.slow
def test_parameters_and_running_statistics_are_the_same_bits_after_every_step(together: Path) -> None:
    one, two = facts(together, "overwrite")
    assert one["hashes"] == two["hashes"]
    assert len(set(one["hashes"])) == STEPS
    assert one["losses"] == two["losses"]


@pytest.mark.slow
def test_no_patch_is_seen_twice(together: Path) -> None:
    patches = [patch for one in facts(together, "overwrite") for step in one["patches"] for patch in step]
    assert len(set(patches)) == len(patches) == 2 * STEPS * 4


@pytest.mark.slow
def test_one_process_writes_and_reports(together: Path) -> None:
    leader, other = facts(together, "overwrite")
    assert (leader["result"], leader["steps"]) == (True, 60)
    assert {"save_checkpoint", "write_metrics_csv", "draw_curves", "make_output_folder"} == set(leader["writes"])
    assert other == {**other, "result": False, "steps": 0, "writes": []}
    position = load_checkpoint(together / "run" / "last.pt").position
    assert position is not None
    assert (position.step, position.processes) == (60, 2)


@pytest.mark.slow
def test_the_loss_falls_as_with_one_process_and_the_whole_batch(together: Path, dataset: Dataset, tmp_path: Path) -> None:
    from lineside.train.loop import train

    options = TrainOptions(epochs=3, steps_per_epoch=20, batch_size=8, base_channels=2, workers=0, device="cpu", gamma=(1.0, 1.0), lr=1e-2)
    alone = train(dataset, tmp_path / "run", options)
    assert alone is not None
    losses = [
        [row["loss"] or 0.0 for row in history] for history in (load_checkpoint(together / "run" / "last.pt").history, alone.best.history)
    ]
    assert losses[0][-1] < 0.8 * losses[0][0]
    # Other patches, and batch norm over half of them: an epoch of 20 small batches repeats its loss within a factor of two.
    assert 0.5 < losses[0][-1] / losses[1][-1] < 2


@pytest.mark.slow
def test_ctrl_c_stops_both_after_the_same_step_and_the_run_goes_on_to_the_same_bits(
    together: Path, dataset: Dataset, tmp_path: Path
) -> None:
    with torchrun(tmp_path, dataset, "new") as process:
        while not (tmp_path / "step30").exists():
            assert process.poll() is None, process.communicate()
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)  # torchrun passes it on
        process.communicate()
    assert process.returncode != 0
    position = load_checkpoint(tmp_path / "run" / "last.pt").position
    assert position is not None
    assert 30 <= position.step <= 60
    with torchrun(tmp_path, dataset, "resume") as process:
        _, said = process.communicate()
    assert process.returncode == 0, said
    whole, resumed = (load_checkpoint(folder / "run" / "last.pt") for folder in (together, tmp_path))
    assert resumed.weights_sha256 == whole.weights_sha256


def test_a_sum_ends_when_no_other_thread_holds_the_tensor(monkeypatch: pytest.MonkeyPatch) -> None:
    """A thread that frees it while Python shuts down aborts the process."""
    done = threading.Event()

    def hold(values: torch.Tensor) -> None:
        time.sleep(0.05)
        done.set()

    monkeypatch.setattr(torch.distributed, "all_reduce", lambda values: threading.Thread(target=hold, args=(values,)).start())
    assert mean(3.0, Ranks(world=2), torch.device("cpu")) == 1.5
    assert done.is_set()


def test_what_torchrun_says_is_believed(monkeypatch: pytest.MonkeyPatch) -> None:
    assert Ranks.from_environment() == Ranks(rank=0, local_rank=0, world=1)
    for name, value in (("RANK", "5"), ("LOCAL_RANK", "1"), ("WORLD_SIZE", "8")):
        monkeypatch.setenv(name, value)
    assert Ranks.from_environment() == Ranks(rank=5, local_rank=1, world=8)
    assert not Ranks.from_environment().leads
    monkeypatch.delenv("LOCAL_RANK")
    with pytest.raises(ConfigError, match="LOCAL_RANK"):
        Ranks.from_environment()


def test_one_process_averages_nothing() -> None:
    from lineside.train.distributed import average_buffers, mean

    norm = torch.nn.BatchNorm2d(3)
    norm(torch.rand(4, 3, 2, 2))
    before = norm.running_mean.clone() if norm.running_mean is not None else None
    average_buffers(norm, Ranks())
    assert before is not None
    assert norm.running_mean is not None
    assert torch.equal(norm.running_mean, before)
    assert mean(0.3, Ranks(), torch.device("cpu")) == 0.3
