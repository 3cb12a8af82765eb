"""The layers that a plan quantizes, computed on integers."""

from __future__ import annotations

from typing import Any, Final

import numpy as np
from numpy.typing import NDArray

from calibration.qparams import QuantParams, quantize
from compiler.integer.float_ops import softmax
from compiler.integer.product import integer_product, saturating_product
from compiler.quantize.encoding import reencode, shifted
from compiler.quantize.plan import AttentionPlan, QParam, QWeight
from targets.errors import InternalError

PROBABILITIES: Final = QParam(1.0 / 255.0, 0, signed=False, symmetric=False, source="softmax")
DYNAMIC: Final = "the range of the input"

Floats = NDArray[np.float32]


def to_integers(x: Floats, param: QParam) -> NDArray[Any]:
    """ONNX's QuantizeLinear: divide in float32, round half to even, add the zero point, saturate."""
    return quantize(x, QuantParams(np.float32(param.scale), param.zero_point), signed=param.signed)


def dynamic_param(x: Floats) -> QParam:
    """The parameters that onnxruntime's DynamicQuantizeMatMul finds for its whole input.

    U8, asymmetric: `scale = (max - min) / 255` over the range widened to hold zero, and the zero point
    `round(-min / scale)` (GetQuantizationParameter in onnxruntime's qmath.h); scale 1 for all zeros.
    """
    low = np.minimum(x.min(initial=0.0), np.float32(0.0)).astype(np.float32)
    high = np.maximum(x.max(initial=0.0), np.float32(0.0)).astype(np.float32)
    if low == high:
        return QParam(1.0, 0, signed=False, symmetric=False, source=DYNAMIC)
    scale = np.float32((high - low) / np.float32(255.0))
    zero_point = int(np.rint(np.clip(-low / scale, 0, 255)))
    return QParam(float(scale), zero_point, signed=False, symmetric=False, source=DYNAMIC)


def linear(
    x: Floats, weight: QWeight, param: QParam | None, bias: Floats | None, *, saturating: bool
) -> Floats:
    """`(x_q - z) W_q` in int32, then `sum * (s_x s_w) + b` in float32.

    The left operand is taken as U8: S8 becomes U8 with a zero point 128 higher, as oneDNN computes it,
    and the zero point times the column sums comes off the sum exactly.

    Args:
        x: [..., in].
        weight: [in, out] with one scale per column.
        param: of x; None finds the range of this x, as dynamic quantization does.
        bias: [out].
        saturating: whether the kernel adds pairs in 16 bits.

    Returns:
        float32 [..., out].
    """
    own = dynamic_param(x) if param is None else param
    rows = reencode(to_integers(x, own), signed=False).reshape(-1, x.shape[-1])
    product = saturating_product if saturating else integer_product
    columns = weight.values.sum(axis=0, dtype=np.int32)
    sums = product(rows, weight.values) - shifted(own, signed=False).zero_point * columns
    out = sums.astype(np.float32) * (np.float32(own.scale) * weight.scale)
    if bias is not None:
        out = out + bias
    return np.asarray(out.reshape(*x.shape[:-1], -1), np.float32)


def table_rows(ids: NDArray[Any], table: QWeight) -> Floats:
    """INT8 rows times their scales: float32 [..., width] for ids [...]."""
    return np.asarray(table.values[ids].astype(np.float32) * table.scale[ids][..., None], np.float32)


def attention(
    query: Floats,
    key: Floats,
    value: Floats,
    mask: NDArray[Any] | None,
    *,
    scale: float,
    plan: AttentionPlan,
    saturating: bool,
) -> Floats:
    """Softmax attention whose two products are integers.

    Scores are S8 x S8, context is U8 x S8 with probabilities in steps of 1/255. Pairs of the
    context never leave 16 bits: two probabilities of a row round to at most 256 steps together, and sums
    from -256 * 128 to 256 * 127 fit.

    Args:
        query: [batch, heads, rows, size]; key and value likewise, over the columns.
        key: see query.
        value: see query.
        mask: what is added to [batch, heads, rows, columns], broadcast.
        scale: of the scores.
        plan: parameters of the three operands.
        saturating: whether the kernel adds pairs in 16 bits.

    Raises:
        InternalError: the plan has no parameters for an operand.
    """
    if plan.query is None or plan.key is None or plan.value is None:
        raise InternalError(f"{plan.role} has no parameters for its operands")
    sums = _scores(query, key, plan.query, plan.key, saturating=saturating)
    scores = sums.astype(np.float32) * (np.float32(plan.query.scale) * np.float32(plan.key.scale))
    scores = scores * np.float32(scale) if scale != 1.0 else scores
    scores = scores if mask is None else scores + mask
    weights = to_integers(softmax(scores), PROBABILITIES)
    context = integer_product(weights, _centred(value, plan.value))
    step = np.float32(PROBABILITIES.scale) * np.float32(plan.value.scale)
    return np.asarray(context.astype(np.float32) * step, np.float32)


def _scores(q: Floats, k: Floats, q_param: QParam, k_param: QParam, *, saturating: bool) -> NDArray[np.int32]:
    if not (saturating and k_param.signed and k_param.zero_point == 0):
        return integer_product(_centred(q, q_param), _centred(k, k_param).swapaxes(-1, -2))
    left = reencode(to_integers(q, q_param), signed=False)
    right = to_integers(k, k_param).swapaxes(-1, -2)
    zero = shifted(q_param, signed=False).zero_point
    sums = np.empty((*q.shape[:-1], k.shape[-2]), np.int32)
    for at in np.ndindex(*q.shape[:-2]):
        columns = right[at].sum(axis=0, dtype=np.int32)
        sums[at] = saturating_product(left[at], right[at]) - zero * columns
    return sums


def _centred(x: Floats, param: QParam) -> NDArray[np.int16]:
    return np.asarray(to_integers(x, param).astype(np.int16) - np.int16(param.zero_point), np.int16)
