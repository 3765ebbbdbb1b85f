"""What SAM 2's parts take, without the batch.

In:   the side of the picture in pixels.
Out:  name of an input -> its shape, in the order of each part's `forward` (`sam2`).
"""

from __future__ import annotations

from collections.abc import Mapping

from lineside.benchmarks.subjects.cases import Shape
from lineside.spec import CHANNELS

PICTURE_PX = 1024
"""The side that it was published with."""
STRIDE_PX = 16
"""Of the embeddings; the fine features have a half and a quarter of it."""
STEP_PX = 32
"""Its four stages halve a picture of patches of 4 px three times."""
LEAST_PX = 64
EMBEDDED, FINE, FINEST, REMEMBERED = 256, 64, 32, 64
"""Channels."""
PROMPTS = 2
"""Embeddings of a click: the point, and the padding that stands for no box."""
MEMORY_FRAMES, POINTERS = 1, 1
"""What is remembered in the second frame of a video: the least. A full memory is of 7 frames and 16 pointers."""
POINTER_TOKENS = POINTERS * EMBEDDED // REMEMBERED
"""A pointer is cut into tokens as long as those of a frame."""


def memory_tokens(side_px: int) -> int:
    """Of what is remembered."""
    return MEMORY_FRAMES * (side_px // STRIDE_PX) ** 2 + POINTER_TOKENS


def image_encoder(side_px: int) -> Mapping[str, Shape]:
    """The picture, normalised."""
    return {"pixels": (len(CHANNELS), side_px, side_px)}


def mask_decoder(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and a click."""
    fine, finest = side_px // (STRIDE_PX // 2), side_px // (STRIDE_PX // 4)
    return {**_embeddings(side_px), "finest": (FINEST, finest, finest), "fine": (FINE, fine, fine), "prompts": (PROMPTS, EMBEDDED)}


def memory_attention(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and what is remembered."""
    memory = (memory_tokens(side_px), REMEMBERED)
    return {**_embeddings(side_px), "memory": memory, "memory_positions": memory}


def memory_encoder(side_px: int) -> Mapping[str, Shape]:
    """What the image encoder gave, and logits of the mask that was found, as large as the picture."""
    return {**_embeddings(side_px), "masks": (1, side_px, side_px)}


def _embeddings(side_px: int) -> Mapping[str, Shape]:
    return {"embeddings": (EMBEDDED, side_px // STRIDE_PX, side_px // STRIDE_PX)}
