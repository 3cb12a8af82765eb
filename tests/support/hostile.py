"""Readers of bytes that may come from anyone, and what must hold for whatever bytes they are given."""

from __future__ import annotations

import hashlib
import random
import shutil
import tempfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

import onnx
from google.protobuf.message import DecodeError  # type: ignore[import-untyped, unused-ignore]

from targets.bundle.archive import pack, unpack
from targets.bundle.parse import parse_manifest
from targets.bundle.reader import Bundle
from targets.bundle.signature import load_public_key
from targets.errors import BertcError, IntegrityError, UnsupportedError, UsageError
from targets.runtime.backends import onnx_guard, openvino_guard
from targets.runtime.selftest import parse_selftest
from targets.runtime.tokenize import TextEncoder
from tests.support.bundles import listed_manifest, write_sample
from tests.support.tiny_runtime import model_files, onnx_model, table, wordpiece, wordpiece_spec
from tests.support.wire import field, inside, with_field

REFUSALS: Final = (IntegrityError, UnsupportedError)


class Reader(ABC):
    """One reader.

    Attributes:
        seeds: bytes that it accepts.
        words: what its format is made of, for mutations.
    """

    seeds: tuple[bytes, ...] = ()
    words: tuple[bytes, ...] = ()

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Other bytes, of the same structure where the reader knows one."""
        return Mutator(chance, self.words, self.seeds).mutate(data)

    @abstractmethod
    def read(self, data: bytes) -> bool:
        """Whether it accepts bytes; raises AssertionError, or what it lets escape, where a rule breaks."""


class ManifestReader(Reader):
    """bundle.json: an IntegrityError, or a manifest that is written as it was read."""

    def __init__(self) -> None:
        self.seeds = (listed_manifest().to_json(),)
        self.words = (b"NaN", b"1e999", b"null", b"[]", b"{}", b"\\u0000", b"..", b"/", b"9" * 30, b'"a":1,')

    def read(self, data: bytes) -> bool:
        try:
            manifest = parse_manifest(data)
        except IntegrityError:
            return False
        assert parse_manifest(manifest.to_json()) == manifest
        return True


class SelfTestReader(Reader):
    """selftest.json: an IntegrityError, or numbers that are finite."""

    def __init__(self) -> None:
        self.seeds = (
            b'{"version":1,"texts":["a",["b","c"]],"ids":[[1],[2]],"outputs":{"logits":[[0.5],[1e-3]]},'
            b'"tolerance":{"max_abs":0.001,"mean_abs":0.001},"max_values":256}',
        )
        self.words = (b"NaN", b"1e999", b"9" * 400, b"-1", b"[]", b'"\\ud800"', b"true", b"null")

    def read(self, data: bytes) -> bool:
        try:
            found = parse_selftest(data)
        except IntegrityError:
            return False
        assert 0 <= found.tolerance.max_abs < float("inf")
        assert len(found.ids) == len(found.texts)
        for text in found.texts:
            "".join(text).encode("utf-8")
        return True


class OnnxReader(Reader):
    """ONNX: what the guard lets through, other readers of protobuf find nothing wrong with either."""

    def __init__(self) -> None:
        self.seeds = (onnx_model("text-classification", table(2)), onnx_model("fill-mask", table(3)))
        self._fields = [
            field(number, b"", beyond=beyond) for number in (1, 4, 5, 7, 13, 14) for beyond in (0, 1 << 32)
        ]
        self.words = (
            b"\x6a\x00",
            b"\xea\x80\x80\x80\x10\x00",
            b"\x70\x01",
            b"\xca\x01\x00",
            b"\x3a\x00",
            b"\xff" * 9,
        )

    def read(self, data: bytes) -> bool:
        try:
            onnx_guard.check_self_contained(data)
        except REFUSALS:
            return False
        graph, node, attribute, tensors = (7,), (1,), (5,), (5, 10)
        for path in ((graph, (5,), (13,)), (graph, node, attribute, tensors, (13,)), ((25,),), ((20,),)):
            assert not list(inside(data, *path)), path
        try:
            model = onnx.load_from_string(data)
        except DecodeError:
            return True
        assert not model.functions
        self._check(model.graph)
        return True

    def mutate(self, chance: random.Random, data: bytes) -> bytes:
        """Half of the time a field is put into some message, and every length around it made right."""
        if chance.random() < 0.5:
            return super().mutate(chance, data)
        return with_field(chance, data, chance.choice((*self.words, *self._fields)))

    def _check(self, graph: onnx.GraphProto) -> None:
        tensors = list(graph.initializer)
        assert not graph.sparse_initializer
        for node in graph.node:
            assert node.domain in onnx_guard.ALLOWED_DOMAINS
            for attribute in node.attribute:
                tensors += [attribute.t, *attribute.tensors]
                for inner in (attribute.g, *attribute.graphs):
                    self._check(inner)
        for tensor in tensors:
            assert not tensor.external_data
            assert tensor.data_location == onnx.TensorProto.DEFAULT
            count = 1
            for length in tensor.dims:
                count *= length
            assert count <= max(4 * tensor.ByteSize(), 1)


class OpenVinoReader(Reader):
    """OpenVINO's XML: a refusal, or XML whose constants are within the weights."""

    def __init__(self) -> None:
        xml, self._weights = model_files("openvino", onnx_model("text-classification", table(2))).values()
        self.seeds = (xml,)
        self.words = (
            b"<!DOCTYPE net []>",
            b"<layer/>",
            b'type="Const"',
            b'offset="9"',
            b"-1",
            b"9" * 20,
            b"]]>",
        )

    def read(self, data: bytes) -> bool:
        try:
            openvino_guard.check_self_contained(data, self._weights)
        except REFUSALS:
            return False
        assert data.lstrip()[:5] in (b"<?xml", b"<net>", b"<net "), data[:20]
        return True


class TokenizerReader(Reader):
    """tokenizer.json: a refusal, or a tokenizer that takes a text or says why not."""

    def __init__(self) -> None:
        self.seeds = (wordpiece().to_str().encode(),)
        self.words = (
            b"null",
            b"[]",
            b"-1",
            b"4294967296",
            b'"Regex"',
            b'"Replace"',
            b'"BPE"',
            b"{}",
            b"\\u0000",
        )

    def read(self, data: bytes) -> bool:
        try:
            encoder = TextEncoder.from_bytes(data, wordpiece_spec(), True)
        except (*REFUSALS, UsageError):
            return False
        try:
            encoder.encode(["a good film", ("b", "c")])
        except BertcError:
            return False
        return True


class KeyReader(Reader):
    """A public key: one, or a UsageError."""

    def __init__(self, folder: Path) -> None:
        from targets.bundle.signature import generate_key

        self._path = folder / "probe.pub"
        self.seeds = (generate_key(folder / "key").read_bytes(), b"ssh-ed25519 AAAAC3NzaC1lZDI1NTE5 x\n")
        self.words = (
            b"-----BEGIN PUBLIC KEY-----\n",
            b"-----END PUBLIC KEY-----\n",
            b"ssh-rsa ",
            b"=",
            b"\0",
        )

    def read(self, data: bytes) -> bool:
        self._path.write_bytes(data)
        try:
            load_public_key(self._path)
        except UsageError:
            return False
        return True


class ArchiveReader(Reader):
    """An archive: an IntegrityError and nothing written, or the very same bundle."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._archive = folder / "probe.tar"
        bundle = write_sample(folder / "sample.bundle")
        self._id = bundle.id
        self.seeds = (pack(bundle, folder / "sample.tar").path.read_bytes(),)
        self.words = (
            bytes(512),
            b"../",
            b"77777777777",
            b"\x80" + bytes(11),
            b"ustar\x0000",
            b"2",
            b"x" * 512,
        )

    def read(self, data: bytes) -> bool:
        self._archive.write_bytes(data)
        output = self._folder / "out"
        before = sorted(each.name for each in self._folder.iterdir())
        try:
            bundle = unpack(self._archive, output)
        except IntegrityError:
            assert sorted(each.name for each in self._folder.iterdir()) == before
            return False
        assert bundle.id == self._id
        assert bundle.verify().id == self._id
        assert data == self.seeds[0]
        shutil.rmtree(output)
        return True


class FolderReader(Reader):
    """A bundle's folder of which one file is other bytes: an IntegrityError, or the bytes that were listed.

    The first byte says which file it is.
    """

    def __init__(self, folder: Path) -> None:
        self._bundle = write_sample(folder / "folder.bundle").path
        names = sorted(path for path in self._bundle.rglob("*") if path.is_file())
        self._files = {path: path.read_bytes() for path in names}
        self._listed = {entry.path for entry in Bundle.open(self._bundle).manifest.files}
        self.seeds = tuple(bytes([place]) + data for place, data in enumerate(self._files.values()))
        self.words = ManifestReader().words

    def read(self, data: bytes) -> bool:
        if not data:
            return False
        path = list(self._files)[data[0] % len(self._files)]
        path.write_bytes(data[1:])
        try:
            bundle = Bundle.open(self._bundle)
            bundle.verify()
            found = {name: bundle.read(name) for name in self._listed}
        except IntegrityError:
            return False
        finally:
            path.write_bytes(self._files[path])
        for name, content in found.items():
            entry = next(each for each in bundle.manifest.files if each.path == name)
            assert hashlib.sha256(content).hexdigest() == entry.sha256
        return True


READERS: Final[dict[str, Callable[[Path], Reader]]] = {
    "manifest": lambda _: ManifestReader(),
    "archive": ArchiveReader,
    "onnx": lambda _: OnnxReader(),
    "openvino": lambda _: OpenVinoReader(),
    "selftest": lambda _: SelfTestReader(),
    "tokenizer": lambda _: TokenizerReader(),
    "folder": FolderReader,
    "key": KeyReader,
}


@dataclass
class Mutator:
    """Changes bytes as damage and malice do: bits, blocks, words, numbers, other seeds."""

    random: random.Random
    words: Sequence[bytes]
    seeds: Sequence[bytes]

    def mutate(self, data: bytes) -> bytes:
        for _ in range(self.random.choice((1, 1, 1, 2, 4, 8))):
            data = self._once(data)
        return data

    def _once(self, data: bytes) -> bytes:
        pick, size = self.random.randrange, len(data)
        start = pick(size + 1)
        end = min(size, start + self.random.choice((1, 1, 4, 16, 512)))
        kind = pick(8)
        if kind == 0 and start < size:
            return data[:start] + bytes([data[start] ^ 1 << pick(8)]) + data[start + 1 :]
        if kind == 1:
            return data[:start] + data[end:]
        if kind == 2:
            return data[:end] + data[start:end] * pick(1, 4) + data[end:]
        if kind == 3:
            return data[:start]
        if kind == 4:
            return data[:start] + self.random.randbytes(end - start) + data[end:]
        if kind == 5 and self.words:
            return data[:start] + self.random.choice(self.words) + data[self.random.choice((start, end)) :]
        if kind == 6:
            other = self.random.choice(self.seeds)
            place = pick(len(other) + 1)
            return data[:start] + other[place : place + end - start + 1] + data[end:]
        return data[:start] + data[start:end][::-1] + data[end:]


def temporary(name: str) -> tuple[Reader, tempfile.TemporaryDirectory[str]]:
    """A reader and the folder that it works in, which the caller cleans up."""
    folder = tempfile.TemporaryDirectory(prefix="bertc-hostile-")
    return READERS[name](Path(folder.name)), folder
