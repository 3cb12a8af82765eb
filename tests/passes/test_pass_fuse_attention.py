from __future__ import annotations

import numpy as np
import pytest

from compiler.ir.mask import MASKED
from compiler.passes.fuse_attention import FuseAttention
from tests.support.graphs import Arrays, body, ops, parse, ramp, run_pass

BATCH, LENGTH, HEADS, SIZE = 2, 5, 2, 4
QKV = "float[batch, sequence, 8] q, float[batch, sequence, 8] k, float[batch, sequence, 8] v"
SHAPES = "int64[4] split, int64[3] join, float root, float zero, float low"
RESULT = "float[batch, sequence, 8] y"
SPLIT = """
  [qh] q4 = Reshape(q, split)
  [qt] qt = Transpose<perm = [0, 2, 1, 3]>(q4)
  [kh] k4 = Reshape(k, split)
  [kt] kt = Transpose<perm = [0, 2, 3, 1]>(k4)
  [vh] v4 = Reshape(v, split)
  [vt] vt = Transpose<perm = [0, 2, 1, 3]>(v4)
"""
JOIN = """
  [ct] ct = Transpose<perm = [0, 2, 1, 3]>(c)
  [merge] y = Reshape(ct, join)
"""
SCORES = """
  [scores] s = MatMul(qt, kt)
  [scale] ss = Mul(s, root)
  [masked] sm = Add(ss, mask)
"""
SOFTMAX = """
  [softmax] p = Softmax<axis = -1>(sm)
  [context] c = MatMul(p, vt)
"""
EXPECTED = """\
input q: float[batch,sequence,8]
input k: float[batch,sequence,8]
input v: float[batch,sequence,8]
input mask: float[batch,1,1,sequence]
y: float[batch,sequence,8] = Attention(q, k, v, mask) {kv_num_heads=2, q_num_heads=2, scale=0.5}
output y: float[batch,sequence,8]
"""


def graph(*nodes: str, mask: str = "float[batch, 1, 1, sequence] mask") -> str:
    inputs = ", ".join(each for each in (QKV, mask, SHAPES) if each)
    return f"attention ({inputs}) => ({RESULT}) {{\n" + "\n".join(nodes) + "\n}"


def weights(**changed: object) -> Arrays:
    known = {
        "split": [0, 0, HEADS, SIZE],
        "join": [0, 0, HEADS * SIZE],
        "root": np.float32(0.5),
        "zero": np.float32(0),
        "low": np.float32(-np.inf),
    }
    return {name: np.asarray(each) for name, each in {**known, **changed}.items()}


def feeds(*, boolean: bool = False) -> Arrays:
    kept = np.ones((BATCH, 1, 1, LENGTH), bool)
    kept[1, ..., 3:] = False
    mask = kept if boolean else np.where(kept, np.float32(0), np.float32(MASKED))
    shape = BATCH, LENGTH, HEADS * SIZE
    return {**{name: ramp(*shape, step=7 + 4 * i) for i, name in enumerate("qkv")}, "mask": mask}


def test_fuses() -> None:
    model = parse(graph(SPLIT, SCORES, SOFTMAX, JOIN), weights())
    result = run_pass(FuseAttention(), model, feeds())
    assert body(model) == EXPECTED
    assert (result.modified, dict(result.counts), result.declined) == (True, {"attention": 1}, ())


VARIANTS = {
    "scale split over both operands": SCORES.replace("MatMul(qt, kt)", "MatMul(qs, ks)")
    .replace("[scores]", "[qs] qs = Mul(qt, root)\n [ks] ks = Mul(root, kt)\n [scores]")
    .replace("[scale] ss = Mul(s, root)", "")
    .replace("Add(ss,", "Add(s,"),
    "division": SCORES.replace("Mul(s, root)", "Div(s, root)"),
    "mask first": SCORES.replace("Add(ss, mask)", "Add(mask, ss)"),
    "no scale": SCORES.replace("[scale] ss = Mul(s, root)", "").replace("Add(ss,", "Add(s,"),
    "scale before the heads are split": SCORES,
}


@pytest.mark.parametrize("scores", VARIANTS.values(), ids=VARIANTS)
def test_scales_and_masks_in_every_place(scores: str) -> None:
    model = parse(graph(SPLIT, scores, SOFTMAX, JOIN), weights())
    assert run_pass(FuseAttention(), model, feeds()).counts["attention"] == 1
    assert ops(model) == ["Attention"]


@pytest.mark.parametrize("arguments", ["mask, ss, low", "hide, low, ss"])
def test_a_mask_by_where(arguments: str) -> None:
    scores = SCORES.replace("Add(ss, mask)", f"Where({arguments})")
    if "hide" in arguments:
        scores = scores.replace("[masked]", "[not] hide = Not(mask)\n [masked]")
    model = parse(graph(SPLIT, scores, SOFTMAX, JOIN, mask="bool[batch, 1, 1, sequence] mask"), weights())
    assert run_pass(FuseAttention(), model, feeds(boolean=True)).counts["attention"] == 1
    assert ops(model)[-2:] == ["Where", "Attention"]


def test_no_mask() -> None:
    scores = SCORES.replace("Add(ss, mask)", "Identity(ss)").replace("[masked] sm = Identity(ss)", "")
    softmax = SOFTMAX.replace("(sm)", "(ss)")
    model = parse(graph(SPLIT, scores, softmax, JOIN, mask=""), weights())
    given = {name: each for name, each in feeds().items() if name != "mask"}
    assert run_pass(FuseAttention(), model, given).counts["attention"] == 1
    assert len(model.graph[0].inputs) == 3


def test_a_guard_against_nan() -> None:
    softmax = SOFTMAX.replace("MatMul(p,", "MatMul(g,").replace(
        "[context]", "[isnan] n = IsNaN(p)\n [guard] g = Where(n, zero, p)\n [context]"
    )
    model = parse(graph(SPLIT, SCORES, softmax, JOIN), weights())
    assert run_pass(FuseAttention(), model, feeds()).counts["attention"] == 1
    assert ops(model) == ["Attention"]


def test_keys_transposed_over_a_merged_batch() -> None:
    turn = """
      [kt0] k0 = Transpose<perm = [0, 2, 1, 3]>(k4)
      [front] front = Shape<end = 2>(k0)
      [rows] rows = Shape<start = 2, end = 3>(k0)
      [columns] columns = Shape<start = 3>(k0)
      [fold] flat = Concat<axis = 0>(rest, rows, columns)
      [k3] k3 = Reshape(k0, flat)
      [turn] kk = Transpose<perm = [0, 2, 1]>(k3)
      [unfold] four = Concat<axis = 0>(front, columns, rows)
      [back] kt = Reshape(kk, four)
    """
    split = SPLIT.replace("[kt] kt = Transpose<perm = [0, 2, 3, 1]>(k4)", turn)
    text = graph(split, SCORES, SOFTMAX, JOIN).replace("float zero,", "float zero, int64[1] rest,")
    model = parse(text, weights(rest=[-1]))
    assert run_pass(FuseAttention(), model, feeds()).counts["attention"] == 1
    assert ops(model) == ["Attention"]
    wrong = parse(
        text.replace("Concat<axis = 0>(front, columns, rows)", "Concat<axis = 0>(front, rows, columns)"),
        weights(rest=[-1]),
    )
    assert not FuseAttention().run(wrong).modified


def test_a_reshape_of_the_result_that_changes_nothing() -> None:
    join = JOIN.replace("(c)", "(c4)").replace(
        "[ct]",
        """[size] size = Shape(c)
        [batch] b = Slice(size, at0, at1)
        [queries] qsize = Shape(qt)
        [length] l = Gather(qsize, at2)
        [values] vsize = Shape(vt)
        [width] w = Slice(vsize, at3, at4)
        [same] shape = Concat<axis = 0>(b, rest, l, w)
        [view] c4 = Reshape(c, shape)
        [ct]""",
    )
    names = {"rest": [-1], "at0": [0], "at1": [1], "at2": [2], "at3": [3], "at4": [4]}
    inputs = ", ".join(f"int64[1] {name}" for name in names)
    text = graph(SPLIT, SCORES, SOFTMAX, join).replace("float zero,", f"float zero, {inputs},")
    model = parse(text, weights(**names))
    assert run_pass(FuseAttention(), model, feeds()).counts["attention"] == 1
    assert ops(model) == ["Attention"]
    wrong = parse(text.replace("(b, rest, l, w)", "(b, l, rest, w)"), weights(**names))
    result = run_pass(FuseAttention(), wrong)
    assert [each.reason for each in result.declined] == ["its heads are not put side by side again"]


def test_a_softmax_flattened_as_before_opset_13() -> None:
    softmax = """
      [shape] size = Shape(sm)
      [flat] flat = Flatten<axis = 3>(sm)
      [softmax] soft = Softmax<axis = -1>(flat)
      [unfold] p = Reshape(soft, size)
      [context] c = MatMul(p, vt)
    """
    model = parse(graph(SPLIT, SCORES, softmax, JOIN), weights())
    assert run_pass(FuseAttention(), model, feeds()).counts["attention"] == 1
    assert ops(model) == ["Attention"]


DECLINED = {
    "its Softmax is not over the last axis": (SPLIT, SCORES, SOFTMAX.replace("axis = -1", "axis = 2"), JOIN),
    "its probabilities are not read by one product alone": (
        SPLIT,
        SCORES,
        SOFTMAX.replace("MatMul(p, vt)", "MatMul(r, vt)").replace("[context]", "[r] r = Relu(p)\n [context]"),
        JOIN,
    ),
    "a Where in its scores fills in something else than a low constant": (
        SPLIT,
        SCORES.replace("Add(ss, mask)", "Where(wide, ss, zero)").replace(
            "[masked]", "[wide] wide = Cast<to = 9>(mask)\n [masked]"
        ),
        SOFTMAX,
        JOIN,
    ),
    "its scores are not a scaled and masked product of queries and keys": (
        SPLIT,
        SCORES.replace("Mul(s, root)", "Tanh(s)"),
        SOFTMAX,
        JOIN,
    ),
    "its operands are transposed by (0, 2, 1, 3), not (0, 2, 3, 1)": (
        SPLIT.replace("Reshape(k, split)", "Reshape(k, turned)").replace("[0, 2, 3, 1]", "[0, 2, 1, 3]"),
        SCORES,
        SOFTMAX,
        JOIN,
    ),
    "its heads are not put side by side again": (
        SPLIT,
        SCORES,
        SOFTMAX,
        JOIN.replace("[0, 2, 1, 3]", "[0, 1, 2, 3]"),
    ),
    "its heads are not merged into one axis again": (SPLIT, SCORES, SOFTMAX, JOIN),
}


@pytest.mark.parametrize("reason", DECLINED)
def test_declines(reason: str) -> None:
    changed: dict[str, object] = {}
    text = graph(*DECLINED[reason])
    if "transposed" in reason:
        text, changed = (
            text.replace("float zero,", "float zero, int64[4] turned,"),
            {"turned": [0, SIZE, HEADS, -1]},
        )
        text = text.replace("[batch, sequence, 8] k", "[batch, 4, 8] k")
    if "merged" in reason:
        changed = {"join": [0, -1, HEADS]}
        text = text.replace(RESULT, "float[batch, m, 2] y")
    model = parse(text, weights(**changed))
    result = run_pass(FuseAttention(), model)
    assert not result.modified
    assert [each.reason for each in result.declined] == [reason]


def test_a_mask_before_the_scale_is_declined() -> None:
    scores = """
      [scores] s = MatMul(qt, kt)
      [masked] m = Add(s, mask)
      [scale] sm = Mul(m, root)
    """
    result = run_pass(FuseAttention(), parse(graph(SPLIT, scores, SOFTMAX, JOIN), weights()), feeds())
    assert not result.modified
    assert len(result.declined) == 1
