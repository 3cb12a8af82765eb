"""Reads bundle.json, which may come from anyone, into a manifest."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final

from targets.bundle.paths import SEGMENT, check_tree
from targets.bundle.schema import (
    DTYPES,
    FORMAT,
    MAX_FILE_BYTES,
    MAX_FILES,
    MAX_MANIFEST_BYTES,
    MAX_ONNX_BYTES,
    MAX_ROLE_BYTES,
    PADDING_SIDES,
    PROBLEM_TYPES,
    ROLES,
    SCHEMA_VERSION,
    SELFTEST_PATH,
    TOKENIZER_PATH,
    EngineRecord,
    EngineVariant,
    FileEntry,
    FloatProducts,
    Manifest,
    PlacementRecord,
    ProductGroup,
    RuntimeSpec,
    TargetRecord,
    TaskConfig,
    TensorSpec,
    TokenizerSpec,
    has_device,
    has_engine,
    has_placement,
    model_files,
    role_of,
)
from targets.bundle.strict_json import parse_json
from targets.errors import IntegrityError
from targets.fields import Fields
from targets.spec import (
    COMPUTE_PATTERN,
    DEVICES,
    FEATURE_PATTERN,
    GPU_RUNTIMES,
    ID_PATTERN,
    OPTION_PATTERN,
    PRECISIONS,
    RUNTIMES,
    TASKS,
    read_lengths,
    read_shapes,
)

_VERSION: Final = re.compile(r"(0|[1-9][0-9]{0,3})\.(0|[1-9][0-9]{0,3})")
_RELEASE: Final = re.compile(r"[0-9]{1,6}(\.[0-9]{1,6}){0,4}([.+-]?[A-Za-z0-9.+_/-]{1,64})?")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_.]{0,63}")
_CLASS: Final = re.compile(r"[A-Za-z0-9_]{1,64}")
_PLATFORM: Final = re.compile(r"[a-z0-9_]{1,32}")
_SHA256: Final = re.compile(r"[0-9a-f]{64}")
_DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}")
_POOLING: Final = re.compile(r"[a-z_+]{1,64}")
_OPERATOR: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_ .:-]{0,127}")
_ROLE: Final = re.compile(r"[a-z0-9_][a-z0-9_.+-]{0,127}")
_MAX_KINDS: Final = 512
_MAX_ROLES: Final = 4096
_MAX_VARIANTS: Final = 8
_MAX_RANK: Final = 8
_MAX_LENGTH: Final = 1 << 20
_SUFFIXES: Final = {
    "onnxruntime": ".onnx",
    "openvino": ".xml",
    "tensorrt": ".onnx",
    "tensorrt-rtx": ".engine",
}


def parse_manifest(data: bytes) -> Manifest:
    """Parse and validate bundle.json.

    Args:
        data: the file's bytes, at most 1 MiB.

    Returns:
        The manifest; keys that a newer minor version of the schema added are left out of it.

    Raises:
        IntegrityError: not strict JSON (see parse_json), an unknown major version, a key that is
            missing, unknown or of the wrong type, or files that break a path rule.
    """
    document = parse_json(data, "bundle.json", MAX_MANIFEST_BYTES)
    version, lenient = _check_version(Fields(document, "", _fail))
    fields = Fields(document, "", _fail, lenient=lenient)
    try:
        return _manifest(fields, version, lenient)
    except IntegrityError as error:
        if not lenient:
            raise
        hint = f"a newer bertc wrote it (schema version {version}): install that one"
        raise IntegrityError(error.message, hint) from error


def _manifest(fields: Fields, version: str, lenient: bool) -> Manifest:
    fields.choice("format", (FORMAT,))
    fields.text("schema_version")
    manifest = Manifest(
        name=fields.text("name", SEGMENT),
        task=fields.choice("task", TASKS),
        task_config=_task_config(fields.table("task_config")),
        target=_target(fields.table("target"), version),
        runtime=_runtime(fields.table("runtime"), version),
        inputs=tuple(_tensor(table) for table in fields.tables("inputs")),
        outputs=tuple(_tensor(table) for table in fields.tables("outputs")),
        tokenizer=_tokenizer(fields.table("tokenizer")),
        provenance=fields.free("provenance"),
        compression=fields.free("compression"),
        validation=fields.free_or_null("validation"),
        files=tuple(_file(table) for table in _bounded(fields, "files", MAX_FILES)),
        content_digest=fields.text("content_digest", _DIGEST),
        placement=_placement(fields, lenient) if has_placement(version) else None,
        engine=_engine(fields, lenient) if has_engine(version) else None,
        schema_version=version,
    )
    fields.close()
    _check_files(manifest)
    _check_tensors(manifest.inputs, "inputs")
    _check_tensors(manifest.outputs, "outputs")
    return manifest


def _fail(problem: str) -> IntegrityError:
    return IntegrityError(f"bundle.json: {problem}", "copy the bundle again from where it was compiled")


def _check_version(fields: Fields) -> tuple[str, bool]:
    if not fields.has("format") or fields.text("format") != FORMAT:
        raise _fail(f"format is not {FORMAT!r}")
    version = fields.text("schema_version", _VERSION)
    major, minor = (int(part) for part in version.split("."))
    own_major, own_minor = (int(part) for part in SCHEMA_VERSION.split("."))
    if major != own_major:
        hint = "install a newer bertc" if major > own_major else "compile the model again"
        raise IntegrityError(f"bundle.json: schema version {version} is not known here", hint)
    return version, minor > own_minor


def _bounded(fields: Fields, key: str, limit: int) -> list[Fields]:
    if len(fields.items(key)) > limit:
        raise _fail(f"{key} has more than {limit} entries")
    return fields.tables(key)


def _task_config(fields: Fields) -> TaskConfig:
    config = TaskConfig(
        problem_type=fields.choice_or_null("problem_type", PROBLEM_TYPES),
        labels=fields.texts("labels"),
        pooling=fields.text_or_null("pooling", _POOLING),
        dimension=fields.integer_or_null("dimension", 1),
    )
    fields.close()
    if len(set(config.labels)) != len(config.labels):
        raise _fail("task_config.labels must differ from each other")
    return config


def _target(fields: Fields, version: str) -> TargetRecord:
    target = TargetRecord(
        id=fields.text("id", ID_PATTERN),
        arch=fields.text("arch", _PLATFORM),
        os=fields.text("os", _PLATFORM),
        cpu_features=fields.text_lists("cpu_features", FEATURE_PATTERN),
        memory_mb=fields.integer("memory_mb", 0),
        compute_capabilities=(
            fields.texts("compute_capabilities", COMPUTE_PATTERN) if has_engine(version) else ()
        ),
    )
    fields.close()
    return target


def _runtime(fields: Fields, version: str) -> RuntimeSpec:
    on_device = has_device(version)
    runtime = RuntimeSpec(
        backend=fields.choice("backend", RUNTIMES),
        minimum_version=fields.text("minimum_version", _RELEASE),
        tested_version=fields.text("tested_version", _RELEASE),
        model=fields.text("model"),
        precision=fields.choice("precision", PRECISIONS),
        options=fields.text_map("options", OPTION_PATTERN),
        device=fields.choice("device", DEVICES) if on_device else "CPU",
        lengths=read_lengths(fields) if on_device else (),
    )
    fields.close()
    if runtime.backend != "openvino" and (runtime.device != "CPU" or runtime.lengths):
        raise _fail("runtime.device and runtime.lengths are OpenVINO's")
    if runtime.device == "NPU" and not runtime.lengths:
        raise _fail("runtime.lengths must be given for an NPU, which runs fixed shapes alone")
    return runtime


def _placement(document: Fields, lenient: bool) -> PlacementRecord | None:
    table = document.free_or_null("placement")
    if table is None:
        return None
    fields = Fields(table, "placement", _fail, lenient=lenient)
    record = PlacementRecord(
        runtime_version=fields.text("runtime_version", _RELEASE),
        operators=_operators(fields),
        products=tuple(_product_group(each) for each in _bounded(fields, "products", _MAX_KINDS)),
        kept_float=tuple(_float_products(each) for each in _bounded(fields, "kept_float", _MAX_KINDS)),
    )
    fields.close()
    return record


def _engine(document: Fields, lenient: bool) -> EngineRecord | None:
    table = document.free_or_null("engine")
    if table is None:
        return None
    fields = Fields(table, "engine", _fail, lenient=lenient)
    record = EngineRecord(
        shapes=read_shapes(fields.table("shapes"), _fail),
        variants=tuple(_variant(each) for each in _bounded(fields, "variants", _MAX_VARIANTS)),
        compute_capabilities=fields.texts("compute_capabilities", COMPUTE_PATTERN),
        workspace_mb=fields.integer("workspace_mb", 1),
        placement=fields.text("placement"),
    )
    fields.close()
    if not record.variants:
        raise _fail("engine.variants must have one entry at least")
    return record


def _variant(fields: Fields) -> EngineVariant:
    variant = EngineVariant(
        fields.choice("precision", PRECISIONS), fields.text("onnx"), fields.text_or_null("engine")
    )
    fields.close()
    for path, suffix in ((variant.onnx, ".onnx"), (variant.engine, ".engine")):
        if path is not None and not (path.endswith(suffix) and role_of(path) == "model"):
            raise _fail(f"{fields.place('variants')} must name {suffix} files in model/")
    return variant


def _operators(fields: Fields) -> dict[str, int]:
    table = fields.free("operators")
    if len(table) > _MAX_KINDS or not all(_OPERATOR.fullmatch(name) for name in table):
        raise _fail(f"{fields.place('operators')} must have at most {_MAX_KINDS} names of operators")
    counts = Fields(table, fields.place("operators"), _fail)
    return {name: counts.integer(name, 1) for name in sorted(table)}


def _product_group(fields: Fields) -> ProductGroup:
    group = ProductGroup(fields.text("kernel", _OPERATOR), fields.flag("int8"), _roles(fields))
    fields.close()
    return group


def _float_products(fields: Fields) -> FloatProducts:
    group = FloatProducts(fields.text("reason"), _roles(fields))
    fields.close()
    return group


def _roles(fields: Fields) -> tuple[str, ...]:
    if not 0 < len(fields.items("roles")) <= _MAX_ROLES:
        raise _fail(f"{fields.place('roles')} must have between 1 and {_MAX_ROLES} entries")
    return fields.texts("roles", _ROLE)


def _tensor(fields: Fields) -> TensorSpec:
    shape: list[str | int] = []
    for i, axis in enumerate(fields.items("shape")):
        symbol = isinstance(axis, str) and _NAME.fullmatch(axis) is not None
        length = isinstance(axis, int) and not isinstance(axis, bool) and 0 < axis <= _MAX_LENGTH
        if not (symbol or length) or i >= _MAX_RANK:
            raise _fail(f"{fields.place('shape')} must be at most {_MAX_RANK} symbols or positive integers")
        shape.append(axis)
    spec = TensorSpec(fields.text("name", _NAME), fields.choice("dtype", DTYPES), tuple(shape))
    fields.close()
    return spec


def _tokenizer(fields: Fields) -> TokenizerSpec:
    spec = TokenizerSpec(
        tokenizer_class=fields.text("class", _CLASS),
        max_length=fields.integer("max_length", 1, _MAX_LENGTH),
        pad_id=fields.integer("pad_id"),
        pad_token=fields.text("pad_token"),
        pad_type_id=fields.integer("pad_type_id"),
        padding_side=fields.choice("padding_side", PADDING_SIDES),
        mask_token_id=fields.integer_or_null("mask_token_id"),
    )
    fields.close()
    return spec


def _file(fields: Fields) -> FileEntry:
    entry = FileEntry(
        path=fields.text("path"),
        role=fields.choice("role", ROLES),
        size=fields.integer("size", 0, MAX_FILE_BYTES),
        sha256=fields.text("sha256", _SHA256),
    )
    fields.close()
    return entry


def _check_files(manifest: Manifest) -> None:
    check_tree(entry.path for entry in manifest.files)
    for entry in manifest.files:
        if role_of(entry.path) != entry.role:
            raise _fail(f"a file of role {entry.role} has no place at {entry.path!r}")
        limit = MAX_ONNX_BYTES if entry.path.endswith(".onnx") else MAX_ROLE_BYTES[entry.role]
        if entry.size > limit:
            raise _fail(f"{entry.path} has {entry.size} bytes, more than {limit}")
    listed = {entry.path for entry in manifest.files}
    suffix = _SUFFIXES[manifest.runtime.backend]
    if not manifest.runtime.model.endswith(suffix) or role_of(manifest.runtime.model) != "model":
        raise _fail(f"runtime.model must be a {suffix} file in model/")
    if (manifest.engine is not None) != (manifest.runtime.backend in GPU_RUNTIMES):
        raise _fail("engine must be given for TensorRT, and for no other backend")
    variants = () if manifest.engine is None else manifest.engine.variants
    engines = [path for each in variants for path in (each.onnx, each.engine) if path is not None]
    if variants and manifest.runtime.model not in engines:
        raise _fail("runtime.model must be a file of engine.variants")
    for path in (*model_files(manifest.runtime), *engines, TOKENIZER_PATH, SELFTEST_PATH):
        if path not in listed:
            raise _fail(f"files does not list {path}")


def _check_tensors(tensors: Sequence[TensorSpec], key: str) -> None:
    names = [tensor.name for tensor in tensors]
    if not names or len(set(names)) != len(names):
        raise _fail(f"{key} must name each tensor once, and one at least")
