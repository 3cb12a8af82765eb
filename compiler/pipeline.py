"""The passes of a compile, in order."""

from __future__ import annotations

from compiler.passes.additive_mask import AdditiveMask
from compiler.passes.base import Pass
from compiler.passes.canonicalize_linear import CanonicalizeLinear
from compiler.passes.cls_only_last_layer import ClsOnlyLastLayer
from compiler.passes.fold_attention_scale import FoldAttentionScale
from compiler.passes.fold_constants import FoldConstants
from compiler.passes.fuse_attention import FuseAttention
from compiler.passes.fuse_gelu import FuseGelu
from compiler.passes.fuse_layer_norm import FuseLayerNorm
from compiler.passes.fuse_qkv import FuseQkv


def encoder_passes() -> tuple[Pass, ...]:
    """From a traced graph to one Attention, one Gelu and one LayerNormalization per place."""
    return (
        FoldConstants(),
        CanonicalizeLinear(),
        FuseLayerNorm(),
        FuseGelu(),
        FuseAttention(),
        AdditiveMask(),
        FoldAttentionScale(),
        ClsOnlyLastLayer(),
        FuseQkv(),
        FoldConstants(),
    )
