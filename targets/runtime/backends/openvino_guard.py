"""Checks that an OpenVINO model is one, and reads nothing but its own weights.

OpenVINO's `read_model` looks at the bytes and takes an ONNX model as readily as its own XML, with weights in
whatever files it names. Places in the weights are checked here too, in numbers that do not wrap around.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Final
from xml.parsers import expat

from targets.errors import IntegrityError, UnsupportedError

_START: Final = re.compile(rb"\s*<(\?xml\s|net[\s>])")
_OPSET: Final = re.compile(r"opset[1-9][0-9]?")
_CONSTANT: Final = ("const", "constant")
_NUMBER: Final = re.compile(r"[0-9]{1,19}")
_MAX_DEPTH: Final = 64
_MAX_ELEMENTS: Final = 4_000_000

_BITS: Final[Mapping[str, int]] = {
    **dict.fromkeys(("u1", "u2", "u3", "u4", "u6", "i4", "nf4", "f4e2m1"), 1),
    **dict.fromkeys(("boolean", "u8", "i8", "f8e4m3", "f8e5m2", "f8e8m0"), 8),
    **dict.fromkeys(("u16", "i16", "f16", "bf16"), 16),
    **dict.fromkeys(("u32", "i32", "f32"), 32),
    **dict.fromkeys(("u64", "i64", "f64"), 64),
    "string": 0,
}
"""The least bits of an element."""


def check_self_contained(model: bytes, weights: bytes) -> None:
    """Refuses what is no OpenVINO model, operators of extensions, and weights that are not in `weights`.

    Args:
        model: the XML.
        weights: the content of the `.bin`.

    Raises:
        UnsupportedError: an operator of an extension, or a document type.
        IntegrityError: no XML of OpenVINO, or a place beyond the weights.
    """
    if not _START.match(model):
        raise _malformed("it is no XML")
    check = _Check(len(weights))
    parser = expat.ParserCreate("utf-8")
    parser.StartElementHandler = check.start
    parser.EndElementHandler = check.end
    parser.StartDoctypeDeclHandler = check.doctype
    try:
        parser.Parse(model, True)
    except expat.ExpatError as error:
        raise _malformed(f"{error}") from error


class _Check:
    def __init__(self, size: int) -> None:
        self._size = size
        self._depth = 0
        self._left = _MAX_ELEMENTS
        self._layers: list[bool] = []

    def start(self, name: str, attributes: dict[str, str]) -> None:
        if self._depth == 0 and name != "net":
            raise _malformed(f"its root is {name[:40]!r}")
        self._depth += 1
        self._left -= 1
        if self._depth > _MAX_DEPTH or self._left < 0:
            raise _malformed("it has too many elements, or too deep ones")
        if name == "layer":
            version = attributes.get("version", "")
            if not _OPSET.fullmatch(version):
                raise UnsupportedError(
                    f"the OpenVINO model has operators of the set {version[:40]!r}",
                    "compile the bundle again from its checkpoint",
                )
            self._layers.append(attributes.get("type", "").lower() in _CONSTANT)
        elif name == "data" and self._layers and self._layers[-1]:
            self._check_constant(attributes)

    def end(self, name: str) -> None:
        self._depth -= 1
        if name == "layer":
            self._layers.pop()

    def doctype(self, *_: object) -> None:
        raise UnsupportedError(
            "the OpenVINO model declares a document type", "compile the bundle again from its checkpoint"
        )

    def _check_constant(self, attributes: Mapping[str, str]) -> None:
        offset, size = (_number(attributes.get(key, "")) for key in ("offset", "size"))
        bits = _BITS.get(attributes.get("element_type", ""))
        if bits is None:
            raise _malformed(f"a constant is of the type {attributes.get('element_type', '')[:40]!r}")
        for length in filter(str.strip, attributes.get("shape", "").split(",")):
            bits *= _number(length.strip())
        if offset + size > self._size or bits > 8 * size:
            raise _malformed("a constant is not within the weights")


def _number(text: str) -> int:
    if not _NUMBER.fullmatch(text):
        raise _malformed(f"{text[:40]!r} is no place in the weights, and no length")
    return int(text)


def _malformed(what: str) -> IntegrityError:
    return IntegrityError(
        f"the OpenVINO model is malformed: {what}", "copy the bundle again from where it was built"
    )
