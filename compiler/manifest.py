"""The manifest of a bundle, from what a compile knows."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any, Final

import onnx_ir as ir

from compiler.environment import cpu_record, target_digest, tool_versions
from compiler.frontend.checkpoint import Checkpoint
from compiler.lower.artifact import Artifact
from compiler.lower.openvino import device_options
from compiler.options import CompileOptions
from compiler.passes.manager import PassRecord
from compiler.prune.prune import Pruned
from compiler.quantize.quantizer import Quantized
from targets.bundle.device import backend_version
from targets.bundle.schema import Manifest, PlacementRecord, RuntimeSpec, TargetRecord, TensorSpec
from targets.spec import TargetSpec, lengths_within

_DTYPES: Final = {ir.DataType.INT64: "int64", ir.DataType.FLOAT: "float32"}


def make_manifest(
    *,
    name: str,
    checkpoint: Checkpoint,
    target: TargetSpec,
    artifact: Artifact,
    quantized: Quantized,
    pruned: Pruned | None,
    model: ir.Model,
    structure: Mapping[str, Any],
    passes: Sequence[PassRecord],
    options: CompileOptions,
    data: Mapping[str, Any],
    validation: Mapping[str, Any] | None,
) -> Manifest:
    """All of bundle.json but the file list and the digest.

    Args:
        name: of the bundle.
        checkpoint: where the model came from.
        target: the device.
        artifact: what ships.
        quantized: its plan.
        pruned: what was cut; None where nothing was to be.
        model: the float IR, whose inputs and outputs the artifact keeps.
        structure: its parts before and after the compile.
        passes: what was done to it.
        options: as the user gave them; paths are kept by base name.
        data: names and hashes of the calibration and evaluation data.
        validation: the record of the accuracy gate.
    """
    tested, profile = _tested_version(artifact), target.runtime(artifact.runtime)
    tokenizer = checkpoint.tokenizer.spec
    runtime = RuntimeSpec(
        backend=artifact.runtime,
        minimum_version=artifact.minimum_version,
        tested_version=tested,
        model=artifact.main,
        precision=artifact.precision,
        options=device_options(profile.device, artifact.precision, artifact.options),
        device=profile.device,
        lengths=lengths_within(profile.lengths, tokenizer.max_length),
    )
    if runtime.lengths:
        tokenizer = replace(tokenizer, max_length=min(tokenizer.max_length, runtime.lengths[-1]))
    return Manifest(
        name=name,
        task=checkpoint.task,
        task_config=checkpoint.task_config,
        target=TargetRecord.of(target),
        runtime=runtime,
        inputs=tuple(_tensor(each) for each in model.graph.inputs),
        outputs=tuple(_tensor(each) for each in model.graph.outputs),
        tokenizer=tokenizer,
        provenance={
            **checkpoint.provenance,
            "model_type": checkpoint.model_type,
            "tools": tool_versions(),
            "cpu": cpu_record(),
            "profile": target_digest(target),
            "config": config_record(options),
            "passes": [each.to_json() for each in passes],
            "data": dict(data),
        },
        compression=_compression(artifact, quantized, pruned, structure),
        validation=validation,
        placement=_placement(artifact, quantized, tested),
        engine=artifact.engine,
    )


def _tested_version(artifact: Artifact) -> str:
    """Of the runtime here; of the oldest that reads the graph where an engine is built on the device."""
    if artifact.runtime == "tensorrt":
        return artifact.minimum_version
    return backend_version(artifact.runtime).split("-", 1)[0]


def _placement(artifact: Artifact, quantized: Quantized, tested: str) -> PlacementRecord:
    linears = [(each.role, each.decision) for each in quantized.plan.linears.values()]
    attentions = [(each.role, each.decision) for each in quantized.plan.attentions.values()]
    both = [*linears, *attentions]
    kept = [(role, decision.reason) for role, decision in both if decision.compute == "float"]
    record = artifact.census.to_record(kept)
    return record if record.runtime_version else replace(record, runtime_version=tested)


def _tensor(value: ir.Value) -> TensorSpec:
    dims = [] if value.shape is None else [d if isinstance(d, int) else str(d.value) for d in value.shape]
    dtype: Any = _DTYPES.get(value.dtype, "float32") if value.dtype is not None else "float32"
    return TensorSpec(str(value.name), dtype, tuple(dims))


def _compression(
    artifact: Artifact, quantized: Quantized, pruned: Pruned | None, structure: Mapping[str, Any]
) -> dict[str, Any]:
    return {
        **({} if pruned is None else {"pruning": pruned.to_json()}),
        "precision": artifact.precision,
        "quantization": quantized.plan.to_json(),
        "smoothing": {
            "sites": sum(each.alpha > 0 for each in quantized.smoothing),
            "folded": sum(each.folded for each in quantized.smoothing),
        },
        "placement": artifact.census.to_json(),
        "model_bytes": artifact.model_bytes,
        "structure": dict(structure),
    }


def config_record(options: CompileOptions) -> dict[str, Any]:
    """The options that say what a bundle is, as it records them."""
    return {
        "precision": options.precision,
        "runtime": options.runtime,
        "max_drop": options.max_drop,
        "min_agreement": options.min_agreement,
        "calibration_samples": options.calibration_samples,
        "eval_samples": options.eval_samples,
        "validate_emulated": options.validate_emulated,
        "emulated_samples": options.emulated_samples,
        "text_column": options.text_column,
        "text_pair_column": options.text_pair_column,
        "label_column": options.label_column,
        "max_length": options.max_length,
        "prune_flops": options.prune_flops,
        "prune_speedup": options.prune_speedup,
        "prune": options.prune,
        "prune_shape": list(options.prune_shape),
        "prune_targets": list(options.prune_targets),
        "prune_align": options.prune_align,
        "prune_samples": options.prune_samples,
        "seed": options.seed,
        "ranges": options.ranges,
        "smooth": options.smooth,
    }
