"""The networks of the zoo, by name: how one is made, what it takes, and how decisions are read from its answers.

In:   nothing.
Out:  `NETWORKS`. Architectures are those of torchvision, transformers and `lineside.train`; making one may raise MissingPackageError.
Our UNet is here as the bare network on patches, whose batch and size are free as those of its neighbours in the table; 18 patches are one
strip. The whole strip, with its tiling, is what `lineside export` writes, and `benchmarks.studies` measures.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lineside._optional import require
from lineside.benchmarks.subjects.cases import Shape
from lineside.errors import ConfigError
from lineside.spec import CHANNELS, POOLINGS

Array = NDArray[Any]
Decide = Callable[[Array], Array]
"""Flat answers (N, values) -> (N, decisions): what a caller would do with each."""
MOST_PX = 2048
IMAGENET_CLASSES = 1000

SAM2_PICTURE_PX = 1024
"""The side that it was published with."""
SAM2_STRIDE_PX = 16
"""Of the embeddings; the fine features have a half and a quarter of it."""
SAM2_STEP_PX = 32
"""Its four stages halve a picture of patches of 4 px three times."""
SAM2_LEAST_PX = 64
EMBEDDED, FINE, FINEST, REMEMBERED = 256, 64, 32, 64
"""Channels."""
PROMPTS = 2
"""Embeddings of a click: the point, and the padding that stands for no box."""
MEMORY_FRAMES, POINTERS = 1, 1
"""What is remembered in the second frame of a video: the least. A full memory is of 7 frames and 16 pointers."""
POINTER_TOKENS = POINTERS * EMBEDDED // REMEMBERED
"""A pointer is cut into tokens as long as those of a frame."""


@dataclass(frozen=True, kw_only=True)
class Network:
    """A network of the zoo. Its inputs are float32, batch first; the batch is the only open axis.

    Attributes:
        make: Side in pixels -> an nn.Module with random weights from PyTorch's generator, in training mode or not.
        inputs: Side in pixels -> name of an input -> its shape without the batch, in the order of `forward`.
        size_px: The side that it is known for: of the picture, or of the patch.
        step_px: Sides are multiples of it, and not below `least_px`.
        least_px: The smallest side.
        decide: Of its first output; None where nobody decides by it.
        samples: Random inputs that norms are adjusted on and INT8 is calibrated on.
        compared_on: Random inputs that files are compared on.
    """

    make: Callable[[int], Any]
    inputs: Callable[[int], Mapping[str, Shape]]
    size_px: int
    step_px: int = 1
    least_px: int = 32
    decide: Decide | None = None
    samples: int = 16
    compared_on: int = 32

    def side_px(self, wanted_px: int | None) -> int:
        """The side to make it with; None: its own. Raises: ConfigError, for one that it does not take."""
        side_px = self.size_px if wanted_px is None else wanted_px
        if not self.least_px <= side_px <= MOST_PX or side_px % self.step_px:
            steps = f" in steps of {self.step_px}" if self.step_px > 1 else ""
            raise ConfigError(
                f"inputs of {side_px} px", why=f"it takes {self.least_px} to {MOST_PX} px{steps}", fix=f"say --size {self.size_px}"
            )
        return side_px

    def random_inputs(self, count: int, side_px: int, seed: int) -> dict[str, Array]:
        """Name of an input -> (count, ...) float32, standard normal: about what a network gets after a normalisation."""
        rng = np.random.default_rng(seed)
        return {name: rng.standard_normal((count, *shape), np.float32) for name, shape in self.inputs(side_px).items()}


def largest_of(classes: int) -> Decide:
    """The class with the largest logit, of one picture or of each pixel: answers are (classes, ...)."""
    return lambda answers: np.asarray(answers.reshape(len(answers), classes, -1).argmax(axis=1))


def above_zero(answers: Array) -> Array:
    """Whether each logit says yes."""
    return np.asarray(answers > 0)


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
    from . import sam2

    return getattr(sam2, part)(side_px)


def _picture(side_px: int) -> Mapping[str, Shape]:
    return {"input": (len(CHANNELS), side_px, side_px)}


def _of_classifier(name: str) -> Network:
    return Network(make=partial(_classifier, name), inputs=_picture, size_px=224, decide=largest_of(IMAGENET_CLASSES))


def _of_sam2(part: str, inputs: Callable[[int], Mapping[str, Shape]], decide: Decide | None = None) -> Network:
    """Few samples: an answer has as many numbers as those of a thousand pictures of a classifier, and takes seconds."""
    return Network(
        make=partial(_sam2, part),
        inputs=inputs,
        size_px=SAM2_PICTURE_PX,
        step_px=SAM2_STEP_PX,
        least_px=SAM2_LEAST_PX,
        decide=decide,
        samples=2,
        compared_on=2,
    )


def _sam2_memory_tokens(side_px: int) -> int:
    """Of what is remembered."""
    return MEMORY_FRAMES * (side_px // SAM2_STRIDE_PX) ** 2 + POINTER_TOKENS


def _sam2_image_encoder(side_px: int) -> Mapping[str, Shape]:
    """The picture, normalised."""
    return {"pixels": (len(CHANNELS), side_px, side_px)}


def _sam2_mask_decoder(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and a click."""
    fine, finest = side_px // (SAM2_STRIDE_PX // 2), side_px // (SAM2_STRIDE_PX // 4)
    return {**_sam2_embeddings(side_px), "finest": (FINEST, finest, finest), "fine": (FINE, fine, fine), "prompts": (PROMPTS, EMBEDDED)}


def _sam2_memory_attention(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and what is remembered."""
    memory = (_sam2_memory_tokens(side_px), REMEMBERED)
    return {**_sam2_embeddings(side_px), "memory": memory, "memory_positions": memory}


def _sam2_memory_encoder(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and logits of the mask that was found, as large as the picture."""
    return {**_sam2_embeddings(side_px), "masks": (1, side_px, side_px)}


def _sam2_embeddings(side_px: int) -> Mapping[str, Shape]:
    return {"embeddings": (EMBEDDED, side_px // SAM2_STRIDE_PX, side_px // SAM2_STRIDE_PX)}


NETWORKS: Mapping[str, Network] = {
    "resnet18": _of_classifier("resnet18"),
    "mobilenet_v3_small": _of_classifier("mobilenet_v3_small"),
    "mobilenet_v3_large": _of_classifier("mobilenet_v3_large"),
    "unet": Network(make=_unet, inputs=_picture, size_px=128, step_px=2**POOLINGS, decide=largest_of(2), compared_on=4),
    "sam2_image_encoder": _of_sam2("ImageEncoder", _sam2_image_encoder),
    "sam2_mask_decoder": _of_sam2("MaskDecoder", _sam2_mask_decoder, above_zero),
    "sam2_memory_attention": _of_sam2("MemoryAttention", _sam2_memory_attention),
    "sam2_memory_encoder": _of_sam2("MemoryEncoder", _sam2_memory_encoder),
}
