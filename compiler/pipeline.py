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


def encoder_passes(*, fuse_qkv: bool = True) -> tuple[Pass, ...]:
    """From a traced graph to one Attention, one Gelu and one LayerNormalization per place.

    Args:
        fuse_qkv: whether queries, keys and values become one product. Where activations are quantized on
            each run, that is done once and not three times. Static INT8 is faster without: what the
            three read is quantized once anyway, OpenVINO's products then write the INT8 that its
            attention reads, and neither runtime has a Split to copy.
    """
    return (
        FoldConstants(),
        CanonicalizeLinear(),
        FuseLayerNorm(),
        FuseGelu(),
        FuseAttention(),
        AdditiveMask(),
        FoldAttentionScale(),
        ClsOnlyLastLayer(),
        *((FuseQkv(),) if fuse_qkv else ()),
        FoldConstants(),
    )
