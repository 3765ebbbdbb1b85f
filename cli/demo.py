"""`lineside demo`: the whole main job on a small data set made from a real photograph.

It runs the very commands that it prints, the ones of the README, one after another.
"""

from __future__ import annotations

import json as json_module
import shlex
from pathlib import Path
from typing import Annotated, Any

import typer
from PIL import Image
from rich.table import Table

from lineside._optional import require
from lineside.files import file_being_written, make_output_folder, write_json

from ._console import ForceOption, JsonOption, check_json, emit, err, facts

PHOTOGRAPH = "brick"
"""Of scikit-image: a wall of bricks, 512 x 512 px, gray (CC0)."""

TRAIN_SETTINGS = (
    *("--base-channels", "16", "--batch-size", "8", "--epochs", "11", "--steps-per-epoch", "50"),
    *("--lr", "2e-3", "--defects", "8:16"),
)
"""What the README recommends for a CPU, for a shorter time."""
VALID = 24
"""Strips of valid/good and of valid/spot: the threshold is chosen on them, and eight were too few for it to hold on test/good."""


def demo(
    context: typer.Context,
    out: Annotated[Path, typer.Option(help="Folder for everything that the demo makes.")] = Path("lineside-demo"),
    json: JsonOption = None,
    force: ForceOption = False,
) -> None:
    """Run the whole main job on a small data set.

    The data set is made from a real photograph; it takes a few minutes on two CPU cores.

    Example: lineside demo --out demo
    """
    check_json(json, force=force)
    for package in ("torch", "onnx", "onnxruntime", "matplotlib"):  # now, and not after minutes of training
        require(package, extra="demo")
    pixels = getattr(require("skimage.data", extra="demo"), PHOTOGRAPH)()
    make_output_folder(out, force=force)
    photograph = out / f"{PHOTOGRAPH}.png"
    with file_being_written(photograph) as temporary:
        Image.fromarray(pixels).save(temporary)
    commands = _commands(out, photograph)
    for number, command in enumerate(commands, start=1):
        err.print(f"\n[bold]{number}/{len(commands)}[/bold] lineside {shlex.join(command)}", highlight=False, soft_wrap=True)
        context.find_root().command.main(args=[*command, "--force"], prog_name="lineside", standalone_mode=False)
    result = _result(out)
    write_json(out / "demo.json", result)
    emit(result, _table(result), json=json)


def _commands(out: Path, photograph: Path) -> list[list[str]]:
    """The main job, as a user would type it."""
    data, run, model = str(out / "data"), str(out / "run"), str(out / "strip.onnx")
    ranges, int8 = str(out / "strip.ranges.json"), str(out / "strip.int8.onnx")
    return [
        ["synth", data, "--texture", str(photograph), "--valid", str(VALID)],
        ["train", data, "--out", run, *TRAIN_SETTINGS],
        ["evaluate", str(out / "run" / "best.pt"), data, "--out", str(out / "evaluation")],
        ["export", str(out / "run" / "best.pt"), "--out", model],
        ["show", model],
        ["infer", model, str(out / "data" / "test"), "--out", str(out / "results")],
        ["calibrate", model, data, "--out", ranges],
        ["quantize", model, ranges, "--target", "onnxruntime", "--out", int8],
        ["qualify", int8, "--reference", model, "--dataset", data, "--report", str(out / "qualification")],
        ["bench", model, int8, "--seconds", "15", "--report", str(out / "bench")],
    ]


def _result(out: Path) -> dict[str, Any]:
    """What the demo found, and where everything lies."""
    metrics = json_module.loads((out / "evaluation" / "metrics.json").read_text())
    spot = metrics["kinds"]["spot"]
    qualification = json_module.loads((out / "qualification" / "report.json").read_text())
    return {
        "spot_image_auroc": spot["image_auroc"],
        "spot_recall": spot["verdict_recall"],
        "spot_pixel_ap": spot["pixel_ap"],
        "false_alarms_on_good": metrics["kinds"]["good"]["ng"],
        "good_strips": metrics["kinds"]["good"]["strips"],
        "threshold": metrics["threshold"],
        "model": str(out / "strip.onnx"),
        "pictures": str(out / "results" / "pictures"),
        "verdicts": str(out / "results" / "results.csv"),
        "worst_strips": str(out / "evaluation" / "worst.png"),
        "curves": str(out / "evaluation" / "curves.png"),
        "metrics": str(out / "evaluation" / "metrics.json"),
        "int8": qualification["answer"],
        "qualification": str(out / "qualification" / "report.html"),
        "bench": str(out / "bench" / "bench.html"),
    }


def _table(result: dict[str, Any]) -> Table:
    model = result["model"]
    return facts(
        "The demo",
        [
            ("image AUROC on spots", f"{result['spot_image_auroc']:.4f}"),
            ("recall on spots", f"{result['spot_recall']:.4f}"),
            ("pixel AP on spots", f"{result['spot_pixel_ap']:.4f}"),
            ("false alarms", f"{result['false_alarms_on_good']} of {result['good_strips']} good strips"),
            ("pictures", result["pictures"]),
            ("verdicts", result["verdicts"]),
            ("worst strips", result["worst_strips"]),
            ("curves", result["curves"]),
            ("metrics", result["metrics"]),
            ("model", model),
            ("INT8 in its place", result["int8"]),
            ("why, on a page", result["qualification"]),
            ("how fast, on a page", result["bench"]),
            ("next", f"lineside infer {model} YOUR_STRIPS --out results"),
        ],
    )
