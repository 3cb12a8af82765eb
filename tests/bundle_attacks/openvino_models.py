"""OpenVINO models: an XML file that may be another thing, and weights that it points into."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from tests.bundle_attacks.attack import REFUSED, Attack, Make, Scene, edit_manifest
from tests.bundle_attacks.commands import LOADING
from tests.bundle_attacks.onnx_models import absolute, benign

XML: Final = "model/openvino_model.xml"
BIN: Final = "model/openvino_model.bin"

_CONST: Final = b'shape="43, 2" offset="0" size="344"'
_GATHER: Final = b'type="Gather" version="opset8"'


def changed(old: bytes, new: bytes) -> Make:
    """One thing in the XML replaced."""

    def edit(data: bytes) -> bytes:
        assert data.count(old) >= 1, old
        return data.replace(old, new, 1)

    return xml(edit)


def xml(edit: Callable[[bytes], bytes]) -> Make:
    return lambda scene: scene.put(XML, edit((scene.bundle / XML).read_bytes()))


def weights(edit: Callable[[bytes], bytes]) -> Make:
    return lambda scene: scene.put(BIN, edit((scene.bundle / BIN).read_bytes()))


def foreign(scene: Scene) -> None:
    """An ONNX model under the name of an XML file, with its weights elsewhere."""
    path = scene.outside / "weights.bin"
    path.write_bytes(benign().graph.initializer[0].raw_data)
    model = benign()
    absolute(model, scene)
    scene.put(XML, model.SerializeToString())


def doctype(declarations: bytes, use: bytes) -> Make:
    def edit(data: bytes) -> bytes:
        head, tail = data.split(b"?>", 1)
        named = tail.replace(b'name="table"', b'name="' + use + b'"')
        return head + b"?>\n<!DOCTYPE net [" + declarations + b"]>" + named

    return xml(edit)


def _laughs() -> bytes:
    lines = [b'<!ENTITY l0 "ha">']
    lines += [b'<!ENTITY l%d "%s">' % (i, b"&l%d;" % (i - 1) * 10) for i in range(1, 12)]
    return b"".join(lines)


def fixed(*lengths: int) -> Make:
    """Shapes that are compiled for themselves."""

    def make(scene: Scene) -> None:
        edit_manifest(
            scene.bundle,
            lambda d: (
                d["runtime"].update(lengths=list(lengths)),
                d["tokenizer"].update(max_length=max(lengths)),
            ),
        )

    return make


_LOADED: Final[dict[str, Make]] = {
    "an ONNX model in its place, weights elsewhere": foreign,
    "an ONNX model in its place": lambda scene: scene.put(XML, benign().SerializeToString()),
    "nothing": xml(lambda _: b""),
    "no XML": xml(lambda _: b"\0" * 1000),
    "another XML": xml(lambda _: b'<?xml version="1.0"?><svg/>'),
    "cut short": xml(lambda data: data[: len(data) // 2]),
    "two documents": xml(lambda data: data + data),
    "UTF-16": xml(lambda data: data.decode().encode("utf-16")),
    "a billion laughs": doctype(_laughs(), b"&l11;"),
    "an entity from a file": doctype(b'<!ENTITY x SYSTEM "file:///etc/passwd">', b"&x;"),
    "a parameter entity from elsewhere": doctype(b'<!ENTITY % x SYSTEM "http://127.0.0.1/x"> %x;', b"table"),
    "3 million elements in each other": xml(lambda _: b'<?xml version="1.0"?>' + b"<net>" * 3_000_000),
    "a megabyte of one attribute": changed(b'name="table"', b'name="' + b"x" * (1 << 20) + b'"'),
    "an extension's operator": changed(_GATHER, b'type="Evil" version="extension"'),
    "an operator of another set": changed(_GATHER, b'type="Gather" version="evil"'),
    "an operator that there is not": changed(_GATHER, b'type="Evil" version="opset8"'),
    "an offset beyond the weights": changed(_CONST, b'shape="43, 2" offset="99999999" size="344"'),
    "an offset of 2**64 - 344": changed(_CONST, b'shape="43, 2" offset="18446744073709551272" size="344"'),
    "an offset below 0": changed(_CONST, b'shape="43, 2" offset="-64" size="344"'),
    "an offset that is no number": changed(_CONST, b'shape="43, 2" offset="x" size="344"'),
    "a size beyond the weights": changed(_CONST, b'shape="43, 2" offset="0" size="99999999"'),
    "a shape larger than its size": changed(_CONST, b'shape="100000000, 2" offset="0" size="344"'),
    "a shape that wraps around": changed(_CONST, b'shape="4611686018427387947, 2" offset="0" size="344"'),
    "a shape that wraps around to 0": changed(_CONST, b'shape="4294967296, 4294967296" offset="0" size="0"'),
    "a shape below 0": changed(_CONST, b'shape="-43, -2" offset="0" size="344"'),
    "an input of 9 billion tokens": changed(
        b'<data shape="?,?" element_type="i64" />', b'<data shape="1,9000000000" element_type="i64" />'
    ),
    "an edge from nowhere": changed(b'from-layer="0"', b'from-layer="999"'),
    "weights cut short": weights(lambda data: data[:10]),
    "no weights": weights(lambda _: b""),
    "a fixed length of 2**20 - 1": fixed(16, (1 << 20) - 1),
    "fixed lengths on a GPU that is not there": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["runtime"].update(device="GPU")
    ),
    "an NPU that is not there": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["runtime"].update(device="NPU", lengths=[16])
    ),
    "three labels for two outputs": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["task_config"].update(labels=["a", "b", "c"])
    ),
}

_HARMLESS: Final = {
    "a fixed length of 2**20 - 1": "it is compiled only when a text asks for it",
    "a megabyte of one attribute": "it is a name like any other",
}

ATTACKS: Final = tuple(
    Attack(
        "OpenVINO",
        name,
        ("run",) if name in _HARMLESS else LOADING,
        make,
        base="openvino",
        codes=(0,) if name in _HARMLESS else REFUSED,
        reason=_HARMLESS.get(name, ""),
    )
    for name, make in _LOADED.items()
)
