"""A compile's options from a TOML file: bertc.toml, whose keys are the command's flags."""

from __future__ import annotations

import os
import tomllib
from collections.abc import Callable, Mapping
from dataclasses import fields, replace
from functools import cache
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, Final, Literal, Union, cast, get_args, get_origin, get_type_hints

from calibration.readers import READERS
from compiler.options import CompileOptions, OptionFields
from targets.errors import BertcError, UsageError
from targets.fields import Fields, nearest
from targets.registry import NATIVE, get_target

CONFIG_NAME: Final = "bertc.toml"
_MAX_BYTES: Final = 1 << 20
_HINT: Final = "`bertc config init` writes a file with every key"
_TARGET: Final = "target"
_PROFILE: Final = ".toml"
_ALONE: Final = CompileOptions(calibration_data="texts.txt", eval_data="texts.txt")
"""With these every option can be judged by itself."""


class Config(OptionFields, total=False):
    """Keyword arguments of `compile_model`."""

    model: str
    output: Path
    target: tuple[str, ...]


@cache
def config_keys() -> Mapping[str, str]:
    """The argument of `compile_model` that each key of a file is, by key."""
    options = [each.name for each in fields(CompileOptions) if each.name != "targets"]
    return {name.replace("_", "-"): name for name in ("model", _TARGET, "output", *options)}


def read_config(path: str | Path) -> Config:
    """Read what a TOML file says of a compile.

    Relative paths in it are taken from the folder that it is in. A model or data that is no path there stays
    what it is: a hub id, a `datasets` name.

    Args:
        path: one flat table, with the names of the flags of `bertc compile` as keys.

    Returns:
        Keyword arguments of `compile_model`: those that the file has.

    Raises:
        UsageError: not readable, not TOML, or a key or value that cannot be used; names file and key.
    """
    file = Path(path)
    return _Reader(file, _parse(file)).config()


class _Reader:
    """One file: every value by the type of its option."""

    def __init__(self, file: Path, document: Mapping[str, object]) -> None:
        self._file = file
        self._document = document
        self._found = Fields(document, "", self._fail)
        self._hints = get_type_hints(CompileOptions)

    def config(self) -> Config:
        for key, value in self._document.items():
            self._refuse_unknown(key, value)
        given = {key: name for key, name in config_keys().items() if key in self._document}
        config = {name: self._read(key, name) for key, name in given.items()}
        for key, name in given.items():
            self._check(key, name, config[name])
        return cast(Config, config)

    def _fail(self, message: str, hint: str = _HINT) -> BertcError:
        return UsageError(f"{self._file}: {message}", hint)

    def _refuse_unknown(self, key: str, value: object) -> None:
        rows = value if isinstance(value, list) else [value]
        if any(isinstance(each, dict) for each in rows):
            raise self._fail(f"unknown table [{key[:80]}]", "put every key at the top, as prune-flops = 0.67")
        if key not in config_keys():
            kebab = key.replace("_", "-")
            known = [*config_keys()]
            close = f"did you mean {kebab}?" if kebab in known else nearest(key, known)
            raise self._fail(f"unknown key {key[:80]!r}: {close}")

    def _read(self, key: str, name: str) -> Any:
        if name == _TARGET:
            return self._targets()
        if name == "model":
            return self._path_or_name(key, (".onnx",))
        return self._value(key, _kinds(self._hints.get(name, Path)))

    def _value(self, key: str, kinds: tuple[Any, ...]) -> Any:
        found = self._found
        if all(isinstance(each, str) for each in kinds):
            return found.choice(key, kinds)
        if Path in kinds:
            return self._path_or_name(key, tuple(READERS)) if str in kinds else self._path(self._text(key))
        plain: dict[Any, Callable[[str], Any]] = {
            bool: found.flag,
            int: found.integer,
            float: found.number,
            str: found.text,
        }
        if kinds[0] in plain:
            return plain[kinds[0]](key)
        return self._shape(key) if get_args(kinds[0])[0] is int else found.texts(key)

    def _text(self, key: str) -> str:
        text = self._found.text(key)
        if not text.strip():
            raise self._fail(f"{key} is empty", "leave it out, or give a value")
        return text

    def _path(self, text: str) -> Path:
        return self._file.parent / os.path.expanduser(text)

    def _path_or_name(self, key: str, suffixes: tuple[str, ...]) -> str:
        """A path from the file's folder where it looks like one or is there, else the name as it stands."""
        text = self._text(key)
        named = text.startswith(("/", ".", "~")) or text.lower().endswith(suffixes)
        return str(self._path(text)) if named or os.path.exists(self._path(text)) else text

    def _shape(self, key: str) -> tuple[int, int]:
        text = self._found.text(key)
        batch, _, tokens = text.partition("x")
        if not (batch.isdecimal() and tokens.isdecimal()):
            raise self._fail(f"{key} must be BATCHxTOKENS, as in 1x128, not {text[:80]!r}")
        return int(batch), int(tokens)

    def _targets(self) -> tuple[str, ...]:
        several = isinstance(self._document[_TARGET], list)
        named = self._found.texts(_TARGET) if several else (self._text(_TARGET),)
        return tuple(str(self._path(each)) if each.endswith(_PROFILE) else each for each in named)

    def _check(self, key: str, name: str, value: Any) -> None:
        """Refuse what a compile would refuse, naming the key and not the flag."""
        try:
            if name == _TARGET:
                replace(_ALONE, targets=value).check()
                for each in value:
                    _ = each == NATIVE or get_target(each)
            elif name in self._hints:
                replace(_ALONE, **{name: value}).check()
        except UsageError as error:
            message = error.message.replace(f"--{key}", key, 1)
            where = "" if key in message else f"{key}: "
            raise self._fail(where + message, error.hint) from error


def _kinds(hint: Any) -> tuple[Any, ...]:
    """What an option may be, None aside: the strings of a Literal, else types."""
    if get_origin(hint) in (Union, UnionType):
        return tuple(kind for part in get_args(hint) for kind in _kinds(part))
    if hint is NoneType:
        return ()
    return get_args(hint) if get_origin(hint) is Literal else (hint,)


def _parse(file: Path) -> dict[str, Any]:
    try:
        with file.open("rb") as stream:
            content = stream.read(_MAX_BYTES + 1)
    except OSError as error:
        raise UsageError(f"{file}: {error.strerror or error}", f"give a file; {_HINT}") from error
    if len(content) > _MAX_BYTES:
        raise UsageError(f"{file} is larger than 1 MiB, which no config is", _HINT)
    try:
        return tomllib.loads(content.decode("utf-8-sig"))
    except (UnicodeDecodeError, RecursionError) as error:
        raise UsageError(f"{file} is not TOML: {error}", _HINT) from error
    except tomllib.TOMLDecodeError as error:
        raise UsageError(
            f"{file} is not TOML: {error}", "strings are quoted, true and false are not"
        ) from error
