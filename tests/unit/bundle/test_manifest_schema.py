"""bundle.json: round trip, canonical bytes, every rule of the parser, and the published JSON Schema."""

from __future__ import annotations

import copy
import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from jsonschema import Draft202012Validator, ValidationError  # type: ignore[import-untyped]

from targets.bundle.parse import parse_manifest
from targets.bundle.schema import (
    MAX_MANIFEST_BYTES,
    SCHEMA_VERSION,
    Manifest,
    TargetRecord,
    model_files,
    role_of,
)
from targets.bundle.strict_json import canonical_json, parse_json
from targets.errors import IntegrityError, InternalError
from targets.registry import get_target
from tests.support.bundles import (
    Edit,
    Place,
    closed_tables,
    entry_of,
    listed_manifest,
    table_at,
    with_new_keys,
    write_sample,
)
from tests.support.manifests import manifest_validator

GOLDEN_1_0 = Path(__file__).parent / "golden_manifest_1_0.json"
GOLDEN_1_1 = Path(__file__).parent / "golden_manifest_1_1.json"
GOLDEN_1_2 = Path(__file__).parent / "golden_manifest_1_2.json"
GOLDEN_1_3 = Path(__file__).parent / "golden_manifest_1_3.json"


def document() -> dict[str, Any]:
    loaded: dict[str, Any] = json.loads(listed_manifest().to_json())
    return loaded


def encode(value: object) -> bytes:
    return json.dumps(value).encode()


def parsed(edit: Edit) -> Manifest:
    value = document()
    edit(value)
    return parse_manifest(encode(value))


@pytest.fixture
def validator() -> Draft202012Validator:
    return manifest_validator()


def test_round_trip_is_the_identity_on_manifest_and_bytes() -> None:
    manifest = listed_manifest()
    data = manifest.to_json()
    assert parse_manifest(data) == manifest
    assert parse_manifest(data).to_json() == data


def test_the_bytes_of_schema_1_3_are_frozen() -> None:
    assert listed_manifest().to_json() == GOLDEN_1_3.read_bytes()
    assert parse_manifest(GOLDEN_1_3.read_bytes()) == listed_manifest()


OLDER: dict[str, tuple[Path, dict[str, Any]]] = {
    "1.0": (GOLDEN_1_0, {"placement": None}),
    "1.1": (GOLDEN_1_1, {}),
    "1.2": (GOLDEN_1_2, {}),
}


@pytest.mark.parametrize("version", OLDER)
def test_an_older_schema_is_read_and_written_as_it_was(version: str, validator: Draft202012Validator) -> None:
    golden, changes = OLDER[version]
    older = replace(listed_manifest(), schema_version=version, **changes)
    assert older.to_json() == golden.read_bytes()
    assert parse_manifest(golden.read_bytes()) == older
    validator.validate(json.loads(golden.read_bytes()))


def engine() -> dict[str, Any]:
    return {
        "shapes": {"min": [1, 16], "opt": [1, 128], "max": [8, 512]},
        "variants": [{"precision": "int8", "onnx": "model/model.onnx", "engine": None}],
        "compute_capabilities": [],
        "workspace_mb": 1024,
        "placement": "not known before an engine is built",
    }


def for_tensorrt(**changes: Any) -> Edit:
    def edit(value: dict[str, Any]) -> None:
        value["runtime"].update(backend="tensorrt")
        value["engine"] = {**engine(), **changes}

    return edit


def test_a_bundle_whose_engine_is_built_on_the_device(validator: Draft202012Validator) -> None:
    manifest = parsed(for_tensorrt())
    assert manifest.engine is not None
    assert manifest.engine.shapes.max == (8, 512)
    assert manifest.engine.variants[0].engine is None
    assert parse_manifest(manifest.to_json()) == manifest
    validator.validate(json.loads(manifest.to_json()))


def test_placement_may_be_null() -> None:
    assert parsed(lambda d: d.update(placement=None)).placement is None


def test_canonical_bytes_are_sorted_utf8_with_a_final_newline() -> None:
    data = listed_manifest().to_json()
    assert data.endswith(b"}\n")
    assert "négatif".encode() in data
    keys = list(json.loads(data))
    assert keys == sorted(keys)


def test_a_number_that_is_not_finite_cannot_be_written() -> None:
    with pytest.raises(InternalError, match="cannot be written as JSON"):
        canonical_json({"delta": float("nan")})


def test_target_record_keeps_what_the_device_check_needs() -> None:
    spec = get_target("x86-64-vnni")
    assert TargetRecord.of(spec) == TargetRecord(
        spec.id, "x86_64", "linux", (("avx2",), ("avx512_vnni", "avx_vnni")), spec.memory_mb
    )


def in_1_0(value: dict[str, Any]) -> None:
    del value["engine"], value["target"]["compute_capabilities"]
    del value["runtime"]["device"], value["runtime"]["lengths"]
    value.update(schema_version="1.0")


# Each edit breaks one rule that the JSON Schema can state too.
STRUCTURAL: dict[str, tuple[Edit, str]] = {
    "no format": (lambda d: d.pop("format"), "format"),
    "other format": (lambda d: d.update(format="zip"), "format"),
    "version number": (lambda d: d.update(schema_version=1), "schema_version must be a string"),
    "version word": (lambda d: d.update(schema_version="one"), "schema_version"),
    "unknown major": (lambda d: d.update(schema_version="2.0"), "schema version 2.0 is not known"),
    "older major": (lambda d: d.update(schema_version="0.9"), "schema version 0.9 is not known"),
    "unknown key": (lambda d: d.update(extra=1), "unknown key 'extra'"),
    "nested unknown key": (lambda d: d["runtime"].update(librari="x"), "unknown key 'runtime.librari'"),
    "missing key": (lambda d: d.pop("runtime"), "runtime is missing"),
    "missing nested key": (lambda d: d["tokenizer"].pop("pad_id"), "tokenizer.pad_id is missing"),
    "name with a slash": (lambda d: d.update(name="a/b"), "name must match"),
    "name empty": (lambda d: d.update(name=""), "name must match"),
    "unknown task": (lambda d: d.update(task="chat"), "task must be one of"),
    "task a list": (lambda d: d.update(task=["fill-mask"]), "task must be one of"),
    "labels a string": (lambda d: d["task_config"].update(labels="ab"), "task_config.labels must be a list"),
    "label a number": (lambda d: d["task_config"].update(labels=["a", 1]), r"labels\[1\] must be a string"),
    "label too long": (lambda d: d["task_config"].update(labels=["a" * 1025]), r"labels\[0\] has 1025"),
    "problem type": (lambda d: d["task_config"].update(problem_type="x"), "task_config.problem_type"),
    "dimension zero": (lambda d: d["task_config"].update(dimension=0), "dimension must be between"),
    "dimension boolean": (lambda d: d["task_config"].update(dimension=True), "dimension must be an integer"),
    "memory real": (lambda d: d["target"].update(memory_mb=1.5), "memory_mb must be an integer"),
    "memory negative": (lambda d: d["target"].update(memory_mb=-1), "memory_mb must be between"),
    "features flat": (lambda d: d["target"].update(cpu_features=["avx2"]), r"cpu_features\[0\]"),
    "features empty group": (lambda d: d["target"].update(cpu_features=[[]]), r"cpu_features\[0\]"),
    "target a list": (lambda d: d.update(target=[]), "target must be a table, not a list"),
    "target null": (lambda d: d.update(target=None), "target must be a table, not null"),
    "unknown backend": (lambda d: d["runtime"].update(backend="ort"), "runtime.backend must be one of"),
    "version option": (lambda d: d["runtime"].update(minimum_version="; rm"), "minimum_version must match"),
    "option a number": (
        lambda d: d["runtime"].update(options={"a": 1}),
        "runtime.options.a must be a string",
    ),
    "option a path": (lambda d: d["runtime"].update(options={"lib": "/x.so"}), "runtime.options.lib"),
    "options too many": (
        lambda d: d["runtime"].update(options={f"k{i}": "v" for i in range(33)}),
        "more than 32",
    ),
    "unknown device": (lambda d: d["runtime"].update(device="TPU"), "runtime.device must be one of"),
    "length zero": (lambda d: d["runtime"].update(lengths=[0]), "runtime.lengths must be between"),
    "model elsewhere": (lambda d: d["runtime"].update(model="../model.onnx"), "runtime.model"),
    "model suffix": (lambda d: d["runtime"].update(model="model/model.so"), "runtime.model"),
    "precision": (lambda d: d["runtime"].update(precision="int4"), "runtime.precision must be one of"),
    "no inputs": (lambda d: d.update(inputs=[]), "inputs must name"),
    "input dtype": (lambda d: d["inputs"][0].update(dtype="object"), r"inputs\[0\].dtype"),
    "input axis": (lambda d: d["inputs"][0].update(shape=["batch", 0]), r"inputs\[0\].shape"),
    "input axis boolean": (lambda d: d["inputs"][0].update(shape=[True]), r"inputs\[0\].shape"),
    "input rank": (lambda d: d["inputs"][0].update(shape=[1] * 9), r"inputs\[0\].shape"),
    "padding side": (lambda d: d["tokenizer"].update(padding_side="both"), "padding_side must be one of"),
    "max length huge": (lambda d: d["tokenizer"].update(max_length=2**40), "max_length must be between"),
    "provenance list": (lambda d: d.update(provenance=[]), "provenance must be a table"),
    "validation list": (lambda d: d.update(validation=[]), "validation must be a table"),
    "files a table": (lambda d: d.update(files={}), "files must be a list"),
    "file a string": (lambda d: d.update(files=["model/model.onnx"]), r"files\[0\] must be a table"),
    "file size string": (lambda d: d["files"][0].update(size="1"), r"files\[0\].size must be an integer"),
    "file too large": (lambda d: d["files"][0].update(size=2**40), r"files\[0\].size must be between"),
    "file hash upper": (lambda d: d["files"][0].update(sha256="A" * 64), r"files\[0\].sha256"),
    "file role": (lambda d: d["files"][0].update(role="library"), r"files\[0\].role must be one of"),
    "digest": (lambda d: d.update(content_digest="md5:00"), "content_digest must match"),
    "placement missing": (lambda d: d.pop("placement"), "placement is missing"),
    "placement in 1.0": (in_1_0, "unknown key 'placement'"),
    "placement a list": (lambda d: d.update(placement=[]), "placement must be a table"),
    "placement unknown key": (lambda d: d["placement"].update(gpu=1), "unknown key 'placement.gpu'"),
    "runtime version": (lambda d: d["placement"].update(runtime_version=""), "placement.runtime_version"),
    "operator name": (lambda d: d["placement"].update(operators={"<b>": 1}), "names of operators"),
    "operator count": (
        lambda d: d["placement"]["operators"].update(Add=0),
        "placement.operators.Add must be between",
    ),
    "operators too many": (
        lambda d: d["placement"].update(operators={f"k{i}": 1 for i in range(513)}),
        "at most 512",
    ),
    "kernel": (lambda d: d["placement"]["products"][0].update(kernel=""), r"products\[0\].kernel must match"),
    "int8 a word": (
        lambda d: d["placement"]["products"][0].update(int8="yes"),
        r"products\[0\].int8 must be",
    ),
    "no role": (lambda d: d["placement"]["products"][0].update(roles=[]), "between 1 and 4096"),
    "role": (lambda d: d["placement"]["products"][0].update(roles=["A b"]), r"roles\[0\] must match"),
    "reason": (lambda d: d["placement"]["kept_float"][0].update(reason=None), "reason must be a string"),
    "engine missing": (lambda d: d.pop("engine"), "engine is missing"),
    "engine in 1.1": (lambda d: d.update(schema_version="1.1"), "unknown key"),
    "no variant": (for_tensorrt(variants=[]), "variants must have one"),
    "variant elsewhere": (
        for_tensorrt(variants=[{"precision": "int8", "onnx": "tokenizer/model.onnx", "engine": None}]),
        "files in model/",
    ),
    "variant a library": (
        for_tensorrt(variants=[{"precision": "int8", "onnx": "model/m.onnx", "engine": "model/m.so"}]),
        ".engine files",
    ),
    "shape of one number": (for_tensorrt(shapes={**engine()["shapes"], "opt": [1]}), "engine.shapes.opt"),
    "shape zero": (for_tensorrt(shapes={**engine()["shapes"], "min": [0, 1]}), "engine.shapes.min"),
    "capability": (for_tensorrt(compute_capabilities=["sm86"]), "compute_capabilities"),
    "workspace": (for_tensorrt(workspace_mb=0), "workspace_mb must be between"),
    "too many files": (lambda d: d.update(files=d["files"] * 13), "files has more than 64"),
}


@pytest.mark.parametrize(("edit", "message"), STRUCTURAL.values(), ids=STRUCTURAL)
def test_parser_and_published_schema_reject_the_same(
    edit: Edit, message: str, validator: Draft202012Validator
) -> None:
    with pytest.raises(IntegrityError, match=message) as caught:
        parsed(edit)
    assert caught.value.hint
    value = document()
    edit(value)
    assert not validator.is_valid(value)


def test_published_schema_accepts_what_the_parser_accepts(validator: Draft202012Validator) -> None:
    validator.validate(document())
    since = [key for rule in validator.schema["allOf"] for key in rule["else"].get("required", ())]
    assert sorted([*validator.schema["required"], *since]) == sorted(document())
    for key in ("task_config", "tokenizer", "placement"):
        assert validator.schema["$defs"][key]["required"] == sorted(document()[key])
    for key in ("target", "runtime"):
        assert sorted(validator.schema["$defs"][key]["properties"]) == sorted(document()[key])
    assert validator.schema["$defs"]["engine"]["required"] == sorted(engine())


def test_no_test_writes_what_the_published_schema_refuses(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    other = Draft202012Validator({"required": ["signature"]})
    monkeypatch.setattr("tests.support.manifests.manifest_validator", lambda: other)
    with pytest.raises(ValidationError, match="'signature' is a required property"):
        write_sample(tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


# Rules between keys, which a JSON Schema does not state.
CROSS: dict[str, tuple[Edit, str]] = {
    "an engine for onnxruntime": (
        lambda d: d.update(engine=engine()),
        "engine must be given for TensorRT, and for no other backend",
    ),
    "no engine for TensorRT": (
        lambda d: d["runtime"].update(backend="tensorrt"),
        "engine must be given for TensorRT, and for no other backend",
    ),
    "a variant that is not listed": (
        for_tensorrt(
            variants=[*engine()["variants"], {"precision": "fp16", "onnx": "model/b.onnx", "engine": None}]
        ),
        "files does not list model/b.onnx",
    ),
    "a model that is no variant": (
        for_tensorrt(variants=[{"precision": "fp16", "onnx": "model/b.onnx", "engine": None}]),
        "runtime.model must be a file of engine.variants",
    ),
    "shapes that descend": (
        for_tensorrt(shapes={"min": [1, 16], "opt": [1, 8], "max": [8, 512]}),
        "must ascend",
    ),
    "role elsewhere": (
        lambda d: entry_of(d, "model/model.onnx").update(role="report"),
        "role report has no place at 'model/model.onnx'",
    ),
    "place unknown": (
        lambda d: entry_of(d, "licenses/LICENSE").update(path="bin/LICENSE"),
        "no place at 'bin/LICENSE'",
    ),
    "selftest a folder": (
        lambda d: entry_of(d, "selftest.json").update(path="selftest.json/x"),
        "no place at 'selftest.json/x'",
    ),
    "bundle.json listed": (
        lambda d: entry_of(d, "licenses/LICENSE").update(path="bundle.json"),
        "no place at 'bundle.json'",
    ),
    "model not listed": (
        lambda d: d["runtime"].update(model="model/other.onnx"),
        "does not list model/other.onnx",
    ),
    "tokenizer not listed": (
        lambda d: d["files"].remove(entry_of(d, "tokenizer/tokenizer.json")),
        "does not list tokenizer/tokenizer.json",
    ),
    "self-test not listed": (
        lambda d: d["files"].remove(entry_of(d, "selftest.json")),
        "does not list selftest.json",
    ),
    "backend of another format": (lambda d: d["runtime"].update(backend="openvino"), r"must be a \.xml file"),
    "weights not listed": (
        lambda d: (
            d["runtime"].update(backend="openvino", model="model/model.xml"),
            entry_of(d, "model/model.onnx").update(path="model/model.xml"),
        ),
        "does not list model/model.bin",
    ),
    "labels of one name": (
        lambda d: d["task_config"].update(labels=["a", "a"]),
        "task_config.labels must differ",
    ),
    "a tokenizer of 65 MiB": (
        lambda d: entry_of(d, "tokenizer/tokenizer.json").update(size=65 << 20),
        "tokenizer/tokenizer.json has 68157440 bytes, more than 67108864",
    ),
    "a self-test of 9 MiB": (
        lambda d: entry_of(d, "selftest.json").update(size=9 << 20),
        "selftest.json has 9437184 bytes, more than 8388608",
    ),
    "an ONNX model of 2 GiB": (
        lambda d: entry_of(d, "model/model.onnx").update(size=2 << 30),
        "model/model.onnx has 2147483648 bytes, more than 2147483647",
    ),
    "input twice": (lambda d: d["inputs"].append(d["inputs"][0]), "inputs must name each tensor once"),
}


@pytest.mark.parametrize(("edit", "message"), CROSS.values(), ids=CROSS)
def test_rules_between_keys(edit: Edit, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        parsed(edit)


@pytest.mark.parametrize(
    ("data", "message"),
    [
        (b"", "is not JSON"),
        (b"\xff\xfe{}", "is not JSON"),
        (b"\xef\xbb\xbf{}", "is not JSON"),
        (b"[]", "the document must be a table, not a list"),
        (b'{"a": 1, "a": 1}', "duplicate key 'a'"),
        (b'{"provenance": {"a": 1, "b": 2, "a": 3}}', "duplicate key 'a'"),
        (b'{"a": NaN}', "nan is not a finite number|NaN is not a finite number"),
        (b'{"a": -Infinity}', "-Infinity is not a finite number"),
        (b'{"a": 1e999}', "1e999 is not a finite number"),
        (b'{"a": ' + b"9" * 5000 + b"}", "is not JSON"),
        (b'{"a":' * 40 + b"1" + b"}" * 40, "nests deeper than 32 levels"),
        (b"[" * 500_000, "nests deeper than 32 levels"),
        (b'{"a": "\\ud800"}', "half of a surrogate pair"),
        (b'{"\\u001b[2J": 1}', "control character"),
        (b'{"a": ["x", "\\u009b31m"]}', r"bundle.json.a\[1\] holds a control character"),
        (b" " * (MAX_MANIFEST_BYTES + 1), "larger than 1048576 bytes"),
        (b'"' + b'\\"' * 500_000, "is not JSON"),
    ],
)
def test_what_is_not_strict_json(data: bytes, message: str) -> None:
    with pytest.raises(IntegrityError, match=message):
        parse_manifest(data)


@pytest.mark.parametrize(
    "text",
    ["\u202e", "\u2066", "\u2028", "\u200b", "\u2060", "\ufeff", "\ufff9", "\U000e0041", "\x9b", "\x7f"],
)
def test_texts_that_would_do_something(text: str) -> None:
    with pytest.raises(IntegrityError, match="holds a control character"):
        parsed(lambda d: d["task_config"].update(labels=[f"a{text}", "b"]))


@pytest.mark.parametrize(
    "text",
    [
        "<=50K",
        "<b>",
        "\u0633\u0644\u0628\u064a\u200f",
        "\u0645\u06cc\u200c\u062e",
        "\U0001f468\u200d\U0001f469",
        "\u00ad",
    ],
)
def test_texts_that_are_texts(text: str) -> None:
    assert parsed(lambda d: d["task_config"].update(labels=[text, "b"])).task_config.labels == (text, "b")


def test_brackets_inside_strings_are_not_depth() -> None:
    assert parse_json(b'{"a": "' + b"[" * 100 + b'\\"{{"}', "text", 1000) == {"a": "[" * 100 + '"{{'}


MAJOR, MINOR = (int(part) for part in SCHEMA_VERSION.split("."))
NEWER = (f"{MAJOR}.{MINOR + 1}", f"{MAJOR}.{MINOR + 10}", f"{MAJOR}.9999")


def on_tensorrt() -> dict[str, Any]:
    value = document()
    for_tensorrt()(value)
    return value


@pytest.mark.parametrize("version", NEWER)
@pytest.mark.parametrize("known", [document(), on_tensorrt()], ids=["CPU", "TensorRT"])
def test_a_newer_minor_version_is_read_without_its_new_keys(version: str, known: dict[str, Any]) -> None:
    newer = with_new_keys({**known, "schema_version": version})
    assert parse_manifest(encode(newer)) == replace(parse_manifest(encode(known)), schema_version=version)


@pytest.mark.parametrize("place", closed_tables(on_tensorrt()), ids=lambda place: ".".join(map(str, place)))
def test_a_new_key_is_let_through_in_newer_versions_alone(place: Place) -> None:
    changed = on_tensorrt()
    table_at(changed, place)["added_later"] = {"a": [1]}
    with pytest.raises(IntegrityError, match=r"unknown key '.*added_later'"):
        parse_manifest(encode(changed))
    changed.update(schema_version=NEWER[0])
    assert parse_manifest(encode(changed)).schema_version == NEWER[0]


OF_A_VERSION = {
    *("version number", "version word", "unknown major", "older major"),
    *("placement in 1.0", "engine in 1.1"),
}


@pytest.mark.parametrize(
    ("edit", "message"),
    [
        pytest.param(*rule, id=name)
        for name, rule in {**STRUCTURAL, **CROSS}.items()
        if name not in OF_A_VERSION and "unknown key" not in name
    ],
)
def test_a_newer_minor_version_still_has_its_known_keys_checked(edit: Edit, message: str) -> None:
    changed = document()
    edit(changed)
    with pytest.raises(IntegrityError, match=message):
        parse_manifest(encode(with_new_keys({**changed, "schema_version": NEWER[0]})))


@pytest.mark.parametrize(
    ("version", "hint"),
    [
        (f"{MAJOR + 1}.0", "install a newer bertc"),
        (f"{MAJOR + 9}.{MINOR}", "install a newer bertc"),
        (f"{MAJOR - 1}.9", "compile the model again"),
    ],
)
@pytest.mark.parametrize(
    "rest", [{}, document(), {"files": "x", "runtime": None}], ids=["nothing", "as now", "other"]
)
def test_another_major_version_says_what_to_do_whatever_else_it_holds(
    version: str, hint: str, rest: dict[str, Any]
) -> None:
    value = {**rest, "format": "bertc-bundle", "schema_version": version}
    with pytest.raises(IntegrityError, match=f"schema version {version} is not known here") as caught:
        parse_manifest(encode(value))
    assert caught.value.hint == hint


def test_a_value_that_a_newer_minor_version_added_asks_for_a_newer_bertc() -> None:
    with pytest.raises(IntegrityError, match=r"runtime\.backend must be one of") as caught:
        parsed(lambda d: (d.update(schema_version="1.7"), d["runtime"].update(backend="litert")))
    assert "install that one" in caught.value.hint
    with pytest.raises(IntegrityError) as caught:
        parsed(lambda d: d["runtime"].update(backend="litert"))
    assert "copy the bundle again" in caught.value.hint


def test_openvino_loads_its_weights_too() -> None:
    def edit(d: dict[str, Any]) -> None:
        d["runtime"].update(backend="openvino", model="model/openvino_model.xml")
        weights = copy.deepcopy(entry_of(d, "model/model.onnx"))
        entry_of(d, "model/model.onnx").update(path="model/openvino_model.xml")
        d["files"].append({**weights, "path": "model/openvino_model.bin"})

    assert model_files(parsed(edit).runtime) == ("model/openvino_model.xml", "model/openvino_model.bin")


@pytest.mark.parametrize(
    ("path", "role"),
    [
        ("model/a/b.onnx", "model"),
        ("tokenizer/vocab.txt", "tokenizer"),
        ("selftest.json", "selftest"),
        ("report/report.html", "report"),
        ("licenses/MIT", "license"),
        ("model", None),
        ("selftest.json/a", None),
        ("bundle.json", None),
        ("SHA256SUMS", None),
    ],
)
def test_roles_follow_places(path: str, role: str | None) -> None:
    assert role_of(path) == role


JSON_VALUES = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**60), 2**60) | st.floats() | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8), inner, max_size=3),
    max_leaves=6,
)


def _places(value: object, place: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    pairs: list[tuple[str | int, object]] = []
    if isinstance(value, dict):
        pairs = list(value.items())
    elif isinstance(value, list):
        pairs = list(enumerate(value))
    return [(*place, key) for key, _ in pairs] + [
        p for key, item in pairs for p in _places(item, (*place, key))
    ]


@given(place=st.sampled_from(_places(document())), value=JSON_VALUES)
def test_any_value_anywhere_is_accepted_or_an_integrity_error(
    place: tuple[str | int, ...], value: object
) -> None:
    changed: Any = document()
    parent = changed
    for key in place[:-1]:
        parent = parent[key]
    parent[place[-1]] = value
    try:
        manifest = parse_manifest(encode(changed))
    except IntegrityError:
        return
    assert parse_manifest(manifest.to_json()) == manifest


@given(data=st.binary(max_size=200) | st.text(alphabet='{}[]":,\\0aeE-N. \n', max_size=200).map(str.encode))
def test_any_bytes_are_an_integrity_error(data: bytes) -> None:
    with pytest.raises(IntegrityError):
        parse_manifest(data)


@given(cut=st.integers(0, len(listed_manifest().to_json()) - 2))
def test_a_truncated_manifest_is_an_integrity_error(cut: int) -> None:
    with pytest.raises(IntegrityError):
        parse_manifest(listed_manifest().to_json()[:cut])
