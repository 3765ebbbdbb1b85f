"""SAM 2's parts as a tracker calls them, one module each: what is exported is what runs once per frame.

In:   the side of the picture in pixels, a multiple of 32; PyTorch's generator gives the weights.
Out:  modules with batch first everywhere. s is the side over 16; every input and output is float32.

    ImageEncoder      pixels (B, 3, 16 s, 16 s) -> embeddings (B, 256, s, s), fine features (B, 32, 4 s, 4 s) and (B, 64, 2 s, 2 s)
    MaskDecoder       embeddings, fine features, prompts (B, 2, 256) -> mask logits (B, 3, 4 s, 4 s), their predicted IoU (B, 3)
    MemoryAttention   embeddings, memory and its positions (B, tokens, 64) -> embeddings (B, 256, s, s)
    MemoryEncoder     embeddings, mask logits (B, 1, 16 s, 16 s) -> memory of one frame (B, 64, s, s)

The sizes are those of the smallest published model, with transformers' classes. What depends on the size of the picture alone is a
constant. Parameters that a fresh model has as zeros get small random values: otherwise whole branches would do nothing.
"""

from __future__ import annotations

from typing import Any, cast

import torch
from torch import Tensor, nn

from lineside._optional import require

from .networks import POINTER_TOKENS, SAM2_STRIDE_PX

_SPREAD = 0.02
"""Standard deviation of every other weight of a fresh model."""


def sam2(side_px: int) -> Any:
    """The whole model for pictures of this size. Raises: MissingPackageError."""
    transformers = require("transformers", extra="zoo")
    side = side_px // SAM2_STRIDE_PX
    vision = {
        "backbone_config": {"model_type": "sam2_hiera_det_model", "image_size": [side_px, side_px]},
        "backbone_feature_sizes": [[side * scale, side * scale] for scale in (4, 2, 1)],
    }
    prompts = {"image_size": side_px}
    config = transformers.Sam2VideoConfig(
        vision_config=vision, prompt_encoder_config=prompts, image_size=side_px, memory_attention_rope_feat_sizes=[side, side]
    )
    model = transformers.Sam2VideoModel(config).eval()
    with torch.no_grad():
        for parameter in model.parameters():
            if not parameter.any():
                parameter.normal_(std=_SPREAD)
    return model


class ImageEncoder(nn.Module):
    """Once per picture."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        model = sam2(side_px)
        self.encoder, self.fine, self.finer = model.vision_encoder, model.mask_decoder.conv_s1, model.mask_decoder.conv_s0

    def forward(self, pixels: Tensor) -> tuple[Tensor, Tensor, Tensor]:
        finest, fine, embeddings = self.encoder(pixels).fpn_hidden_states
        return embeddings, self.finer(finest), self.fine(fine)


class MaskDecoder(nn.Module):
    """Once per object and frame; prompts are the embeddings of a click and of its padding."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        model = sam2(side_px)
        self.decoder = model.mask_decoder
        self.register_buffer("positions", model.get_image_wide_positional_embeddings().detach())
        self.register_buffer("no_mask", model.prompt_encoder.no_mask_embed.weight.detach().reshape(1, -1, 1, 1))

    def forward(self, embeddings: Tensor, finest: Tensor, fine: Tensor, prompts: Tensor) -> tuple[Tensor, Tensor]:
        masks, overlaps, *_ = self.decoder(
            image_embeddings=embeddings,
            image_positional_embeddings=cast(Tensor, self.positions).expand(embeddings.shape[0], -1, -1, -1),
            sparse_prompt_embeddings=prompts[:, None],
            dense_prompt_embeddings=self.no_mask,
            multimask_output=True,
            high_resolution_features=[finest, fine],
        )
        return masks[:, 0], overlaps[:, 0]


class MemoryAttention(nn.Module):
    """Once per object and frame, from the second on."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        model = sam2(side_px)
        self.attention = model.memory_attention
        self.side = side_px // SAM2_STRIDE_PX
        shape = torch.Size((1, model.config.vision_config.fpn_hidden_size, self.side, self.side))
        positions = model.vision_encoder.neck.position_encoding(shape, torch.device("cpu"), torch.float32)
        self.register_buffer("positions", positions.flatten(2).permute(2, 0, 1).contiguous())

    def forward(self, embeddings: Tensor, memory: Tensor, memory_positions: Tensor) -> Tensor:
        found = self.attention(
            current_vision_features=embeddings.flatten(2).permute(2, 0, 1),
            current_vision_position_embeddings=self.positions,
            memory=memory.transpose(0, 1),
            memory_posision_embeddings=memory_positions.transpose(0, 1),  # their spelling
            num_object_pointer_tokens=POINTER_TOKENS,
        )
        return cast(Tensor, found.squeeze(0).transpose(1, 2).unflatten(2, (self.side, self.side)))


class MemoryEncoder(nn.Module):
    """Once per object and frame."""

    def __init__(self, side_px: int) -> None:
        super().__init__()
        model = sam2(side_px)
        self.encoder = model.memory_encoder
        self.scale, self.bias = model.config.sigmoid_scale_for_mem_enc, model.config.sigmoid_bias_for_mem_enc

    def forward(self, embeddings: Tensor, masks: Tensor) -> Tensor:
        features, _ = self.encoder(embeddings, torch.sigmoid(masks) * self.scale + self.bias)
        return cast(Tensor, features)
