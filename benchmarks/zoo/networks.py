"""The networks of the zoo, by name.

In:   nothing.
Out:  `NETWORKS`. Architectures are those of torchvision, transformers and `lineside.train`; making one may raise MissingPackageError.
Our UNet is here as the bare network on patches, whose batch and size are free as those of its neighbours in the table; 18 patches are one
strip. The whole strip, with its tiling, is what `lineside export` writes, and `benchmarks.studies` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from lineside._optional import require
from lineside.benchmarks.subjects.cases import Shape
from lineside.spec import CHANNELS, POOLINGS

from . import sam2_inputs as sam2
from .network import Decide, Network, above_zero, largest_of

IMAGENET_CLASSES = 1000


def _classifier(name: str, side_px: int) -> Any:
    del side_px  # it takes any
    return require("torchvision.models", extra="zoo").get_model(name, weights=None)


def _unet(side_px: int) -> Any:
    del side_px
    require("torch", extra="zoo")
    from lineside.train.unet import UNet

    return UNet()


def _sam2(part: str, side_px: int) -> Any:
    require("torch", extra="zoo")
    from . import sam2 as zoo_sam2

    return getattr(zoo_sam2, part)(side_px)


def _picture(side_px: int) -> Mapping[str, Shape]:
    return {"input": (len(CHANNELS), side_px, side_px)}


def _of_classifier(name: str) -> Network:
    return Network(make=partial(_classifier, name), inputs=_picture, size_px=224, decide=largest_of(IMAGENET_CLASSES))


def _of_sam2(part: str, inputs: Callable[[int], Mapping[str, Shape]], decide: Decide | None = None) -> Network:
    """Few samples: an answer has as many numbers as those of a thousand pictures of a classifier, and takes seconds."""
    return Network(
        make=partial(_sam2, part),
        inputs=inputs,
        size_px=sam2.PICTURE_PX,
        step_px=sam2.STEP_PX,
        least_px=sam2.LEAST_PX,
        decide=decide,
        samples=2,
        compared_on=2,
    )


NETWORKS: Mapping[str, Network] = {
    "resnet18": _of_classifier("resnet18"),
    "mobilenet_v3_small": _of_classifier("mobilenet_v3_small"),
    "mobilenet_v3_large": _of_classifier("mobilenet_v3_large"),
    "unet": Network(make=_unet, inputs=_picture, size_px=128, step_px=2**POOLINGS, decide=largest_of(2), compared_on=4),
    "sam2_image_encoder": _of_sam2("ImageEncoder", sam2.image_encoder),
    "sam2_mask_decoder": _of_sam2("MaskDecoder", sam2.mask_decoder, above_zero),
    "sam2_memory_attention": _of_sam2("MemoryAttention", sam2.memory_attention),
    "sam2_memory_encoder": _of_sam2("MemoryEncoder", sam2.memory_encoder),
}
