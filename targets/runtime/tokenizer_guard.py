"""A tokenizer that may come from anyone: read without noise, and checked before a text is given to it."""

from __future__ import annotations

import json
import os
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, Final

from targets.bundle.schema import TokenizerSpec
from targets.errors import IntegrityError

if TYPE_CHECKING:
    from tokenizers import Tokenizer

_FD: Final = 2
_STDERR: Final = threading.Lock()
_MAX_GROWTH: Final = 64
"""What the replacements of a tokenizer may make of one character, in characters."""
_MAX_SPECIALS: Final = 1024
_MAX_TYPE: Final = 255


def check_tokenizer(tokenizer: Tokenizer, spec: TokenizerSpec) -> None:
    """Refuses a tokenizer that makes texts much longer, or without the tokens that a manifest speaks of.

    Raises:
        IntegrityError: it is such a one.
    """
    for part in (tokenizer.normalizer, tokenizer.decoder):
        if part is not None and _growth(json.loads(part.__getstate__())) > _MAX_GROWTH:
            raise _refused(f"replaces a character by more than {_MAX_GROWTH}")
    specials = tokenizer.num_special_tokens_to_add(True)
    if specials > _MAX_SPECIALS:
        raise _refused(f"puts {specials} special tokens around texts, more than {_MAX_SPECIALS}")
    for name, token in (("pad_id", spec.pad_id), ("mask_token_id", spec.mask_token_id)):
        if token is not None and (token >= 1 << 32 or tokenizer.id_to_token(token) is None):
            raise _refused(f"has no token {token}, which is the manifest's {name}")
    if spec.pad_type_id > _MAX_TYPE:
        raise _refused(f"has no token type {spec.pad_type_id}, which is the manifest's pad_type_id")


@contextmanager
def quiet_panics() -> Iterator[None]:
    """Keeps back what native code writes to stderr when it panics; it is raised as well, and said once.

    What is written while nothing is raised comes after the block. The whole process's stderr is redirected:
    for moments, and for one thread at a time.
    """
    with _STDERR, ExitStack() as stack:
        try:
            own = os.dup(_FD)
            stack.callback(os.close, own)
            kept = stack.enter_context(os.fdopen(os.memfd_create("stderr"), "w+b"))
        except OSError:  # no stderr, or no descriptors left
            yield
            return
        os.dup2(kept.fileno(), _FD)
        try:
            yield
        except BaseException:
            os.dup2(own, _FD)
            raise
        os.dup2(own, _FD)
        kept.seek(0)
        os.write(own, kept.read())


def _growth(part: Any) -> float:
    """How many characters the replacements among normalizers or decoders make of one, at most."""
    if not isinstance(part, dict):
        return 1.0
    found = 1.0
    for inner in (*part.get("normalizers", ()), *part.get("decoders", ())):
        found *= _growth(inner)
    if part.get("type") == "Replace":
        content, pattern = str(part.get("content", "")), part.get("pattern", {})
        matched = len(pattern.get("String", "")) if isinstance(pattern, dict) else 0
        found *= max(1.0, len(content) / matched if matched else 1.0 + len(content))
    return found


def _refused(problem: str) -> IntegrityError:
    return IntegrityError(f"tokenizer.json {problem}", "copy the bundle again from where it was compiled")
