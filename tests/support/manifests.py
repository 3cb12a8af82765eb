"""The published JSON Schema of bundle.json, held against every bundle that the tests write."""

from __future__ import annotations

import contextlib
import functools
import json
from collections.abc import Iterator
from importlib.resources import files
from pathlib import Path
from typing import Any

import pytest
from jsonschema import Draft202012Validator  # type: ignore[import-untyped]

import compiler.package
from targets.bundle.paths import MANIFEST_NAME


@functools.cache
def manifest_validator() -> Draft202012Validator:
    schema = json.loads((files("targets") / "bundle" / "bundle.schema.json").read_bytes())
    Draft202012Validator.check_schema(schema)
    return Draft202012Validator(schema)


@contextlib.contextmanager
def published_schema_held() -> Iterator[None]:
    """Within, no bundle is written in this process whose manifest the published schema refuses."""
    fill = compiler.package._fill

    def checked(root: Path, *what: Any) -> None:
        fill(root, *what)
        manifest_validator().validate(json.loads((root / MANIFEST_NAME).read_bytes()))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compiler.package, "_fill", checked)
        yield
