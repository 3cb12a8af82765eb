"""Two bundles side by side."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from targets.bundle.reader import Bundle
from targets.bundle.schema import FileEntry, Role
from targets.diff.identity import identity, options, passes
from targets.diff.latency import latency
from targets.diff.outcome import accuracy, sizes
from targets.diff.plan import plan
from targets.diff.rows import Section

CONTENT: tuple[Role, ...] = ("model", "tokenizer", "selftest")


@dataclass(frozen=True, slots=True)
class BundleDiff:
    """What two bundles record, side by side.

    Attributes:
        a, b: id, content digest and what else tells each from others.
        same_content: whether model, tokenizer and self-test are the same bytes.
        changed: roles of the files that are not, of those three.
        sections: in the order to show.
    """

    a: dict[str, Any]
    b: dict[str, Any]
    same_content: bool
    changed: tuple[Role, ...]
    sections: tuple[Section, ...]

    def to_json(self) -> dict[str, Any]:
        """What `bertc diff --json` prints."""
        return {
            "a": self.a,
            "b": self.b,
            "same_content": self.same_content,
            "changed": list(self.changed),
            "sections": {each.name: each.to_json() for each in self.sections},
        }


def compare(a: Bundle, b: Bundle) -> BundleDiff:
    """Put two open bundles side by side.

    Raises:
        IntegrityError: report/metrics.json of one is not what its manifest says.
    """
    one, other = a.manifest, b.manifest
    changed = tuple(role for role in CONTENT if _files(a, role) != _files(b, role))
    return BundleDiff(
        a=_identity(a),
        b=_identity(b),
        same_content=one.content_digest == other.content_digest,
        changed=changed,
        sections=(
            identity(one, other),
            options(one, other),
            passes(one, other),
            plan(one, other),
            sizes(one, other),
            accuracy(one, other),
            latency(a, b),
        ),
    )


def _files(bundle: Bundle, role: Role) -> frozenset[FileEntry]:
    return frozenset(each for each in bundle.manifest.files if each.role == role)


def _identity(bundle: Bundle) -> dict[str, Any]:
    manifest = bundle.manifest
    return {
        "path": str(bundle.path),
        "id": bundle.id,
        "content_digest": manifest.content_digest,
        "schema_version": manifest.schema_version,
        "name": manifest.name,
        "task": manifest.task,
        "target": manifest.target.id,
        "runtime": manifest.runtime.backend,
        "precision": manifest.runtime.precision,
    }
