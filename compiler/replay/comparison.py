"""A bundle beside the record that it was compiled from: is it the same, and if not, why not."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from compiler.environment import cpu_record, target_digest, tool_versions
from compiler.replay.record import Environment, Record
from targets.bundle.digest import DIGEST_ROLES
from targets.bundle.schema import FileEntry, Manifest
from targets.spec import TargetSpec

NOT_EXPLAINED = (
    "tools, CPU features and target are those of the record, so that this is a defect: please report it"
)


@dataclass(frozen=True, slots=True)
class Comparison:
    """What differs.

    Attributes:
        files: of the content digest, by path; none where the bundle reproduces.
        causes: what differs of what it was computed with, whether or not any file does.
    """

    files: tuple[str, ...]
    causes: tuple[str, ...]

    @property
    def same(self) -> bool:
        """Whether the content digests are equal."""
        return not self.files

    def describe(self) -> str:
        """What differs, and what may have caused it, in one line."""
        return f"{_listed(self.files)}; {', '.join(self.causes) or NOT_EXPLAINED}"


def compare(record: Record, built: Manifest, target: TargetSpec) -> Comparison:
    """Compare what was built with its record.

    Args:
        record: that was followed.
        built: the manifest of what came out.
        target: that it was built for.
    """
    then, now = _content(record.manifest.files), _content(built.files)
    differing = {path for path in then | now if then.get(path) != now.get(path)}
    evidence = (built.validation or {}).get("evidence")
    causes = (*_environment(record.environment, target), *_evidence(record.environment, evidence))
    return Comparison(tuple(sorted(differing)), causes)


def _content(files: Sequence[FileEntry]) -> dict[str, str]:
    return {each.path: each.sha256 for each in files if each.role in DIGEST_ROLES}


def _environment(then: Environment, target: TargetSpec) -> list[str]:
    causes = _tools(then.tools, tool_versions())
    cpu = cpu_record()
    if then.arch is not None and then.arch != cpu["arch"]:
        causes.append(f"a CPU of {then.arch} then, of {cpu['arch']} now")
    elif then.features is not None:
        features = frozenset(cpu["features"])
        lost, gained = sorted(then.features - features), sorted(features - then.features)
        causes += [f"a CPU with {_listed(lost)} then, without now"] if lost else []
        causes += [f"a CPU without {_listed(gained)} then, with now"] if gained else []
    if then.profile is not None and then.profile != target_digest(target):
        causes.append(f"the profile of {target.id} says something else now")
    return causes


def _tools(then: Mapping[str, str], now: Mapping[str, str]) -> list[str]:
    return [
        f"{name} {then[name]} then, {now.get(name, 'none')} now"
        for name in sorted(then)
        if then[name] != now.get(name)
    ]


def _evidence(then: Environment, now: object) -> list[str]:
    if then.evidence is None or then.evidence == now:
        return []
    return [f"validation {then.evidence} then, {now} now"]


def _listed(names: Sequence[str]) -> str:
    return " and ".join([", ".join(names[:-1]), names[-1]] if len(names) > 1 else names)
