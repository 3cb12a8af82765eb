"""The attention scale, folded into the query projection."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import onnx_ir as ir

from compiler.ir.edit import add_initializer, op, sweep
from compiler.ir.encoder import attention_scale
from compiler.ir.linear import linear_making
from compiler.passes.base import Declined, Pass, PassResult


@dataclass(frozen=True)
class FoldAttentionScale(Pass):
    """`s (x Wq + bq) K' = (x sWq + s bq) K'`: the scale of every Attention becomes 1."""

    def run(self, model: ir.Model) -> PassResult:
        """Fold into the query projection of every Attention."""
        count, declined = 0, []
        for node in [each for each in model.graph if op(each, "Attention")]:
            scale = attention_scale(node)
            if scale == 1.0:
                continue
            query = node.inputs[0]
            linear = linear_making(query)
            if linear is None or query is None or len(query.uses()) != 1 or query.is_graph_output():
                declined.append(
                    Declined(str(node.name), "its queries are not made by a linear layer for it alone")
                )
                continue
            factor = np.float32(scale)
            weight = add_initializer(
                model.graph, f"{linear.weight.name}_scaled", linear.weight_array * factor
            )
            linear.matmul.replace_input_with(1, weight)
            bias, value = linear.bias_array, linear.bias_value
            if linear.add is not None and bias is not None and value is not None:
                scaled = add_initializer(model.graph, f"{value.name}_scaled", bias * factor)
                linear.add.replace_input_with(list(linear.add.inputs).index(value), scaled)
            node.attributes["scale"] = ir.AttrFloat32("scale", 1.0)
            count += 1
        removed = sweep(model.graph)
        return PassResult(count + removed > 0, {"scale": count}, tuple(declined))
