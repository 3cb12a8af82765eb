"""Protobuf's wire format, to write what no library of protobuf writes."""

from __future__ import annotations

import random
from collections.abc import Iterator


def varint(value: int) -> bytes:
    found = bytearray()
    while value > 127:
        found.append(value & 127 | 128)
        value >>= 7
    return bytes([*found, value])


def field(number: int, data: bytes, *, beyond: int = 0) -> bytes:
    """A field of bytes; `beyond` is added to its tag, which readers of 32 bits do not see."""
    return varint((number << 3 | 2) + beyond) + varint(len(data)) + data


def with_field(chance: random.Random, message: bytes, added: bytes) -> bytes:
    """A protobuf message with a field more, at its end or in a message within it."""
    places = list(messages(message))
    if not places or chance.random() < 0.3:
        return message + added
    _, start, body, end = chance.choice(places)
    inner = with_field(chance, message[body:end], added)
    return message[:start] + varint(len(inner)) + inner + message[end:]


def messages(message: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Number, and where the length, the content and the end are, of every field of bytes that can be read.

    Of a tag no more than 32 bits are seen, as onnxruntime's reader does.
    """
    place = 0

    def number() -> int:
        nonlocal place
        value = shift = 0
        while True:
            byte = message[place]
            place += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value

    try:
        while place < len(message):
            tag = number() & 0xFFFFFFFF
            if tag & 7 == 0:
                number()
            elif tag & 7 == 2:
                start = place
                size = number()
                if place + size > len(message):
                    return
                yield tag >> 3, start, place, place + size
                place += size
            else:
                place += {1: 8, 5: 4}[tag & 7]
    except (IndexError, KeyError):
        return


def inside(message: bytes, *path: tuple[int, ...]) -> Iterator[bytes]:
    """Every field of bytes at the end of a path, each step one of several numbers."""
    for field, _, body, end in messages(message):
        if field in path[0]:
            inner = message[body:end]
            if len(path) == 1:
                yield inner
            else:
                yield from inside(inner, *path[1:])
