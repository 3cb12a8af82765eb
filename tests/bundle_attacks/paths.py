"""Paths that a manifest lists and no bundle may have."""

from __future__ import annotations

from typing import Final

from tests.bundle_attacks.attack import Attack, Make, edit_manifest, entry_of
from tests.bundle_attacks.commands import OPENING

LICENSE: Final = "licenses/LICENSE"


def renamed(path: str) -> Make:
    """The license under another path."""
    return lambda scene: edit_manifest(scene.bundle, lambda d: entry_of(d, LICENSE).update(path=path))


def twin(path: str) -> Make:
    """The license a second time, under another path."""
    return lambda scene: edit_manifest(
        scene.bundle, lambda d: d["files"].append({**entry_of(d, LICENSE), "path": path})
    )


_LISTED: Final[dict[str, Make]] = {
    "the parent": renamed("../../outside/LICENSE"),
    "the parent from inside": renamed("licenses/../../../outside/LICENSE"),
    "the parent in percent signs": renamed("licenses/%2e%2e/%2e%2e/LICENSE"),
    "the parent in full-width dots": renamed("licenses/\uff0e\uff0e/LICENSE"),
    "the parent with backslashes": renamed("licenses\\..\\..\\LICENSE"),
    "absolute": renamed("/etc/passwd"),
    "absolute with two slashes": renamed("//etc/passwd"),
    "the home folder": renamed("~/.ssh/id_ed25519"),
    "a variable": renamed("licenses/$HOME"),
    "a process substitution": renamed("licenses/$(id)"),
    "the current folder": renamed("licenses/./LICENSE"),
    "a double slash": renamed("licenses//LICENSE"),
    "a trailing slash": renamed("licenses/"),
    "a backslash": renamed("licenses\\LICENSE"),
    "a drive letter": renamed("C:/LICENSE"),
    "a drive-relative path": renamed("licenses/C:LICENSE"),
    "a network share": renamed("\\\\host\\share\\LICENSE"),
    "an address": renamed("file:///etc/passwd"),
    "an alternate stream": renamed("licenses/LICENSE:x"),
    "a hidden file": renamed("licenses/.LICENSE"),
    "an option": renamed("licenses/-rf"),
    "a trailing dot": renamed("licenses/LICENSE."),
    "a trailing space": renamed("licenses/LICENSE "),
    "a newline": renamed("licenses/LICENSE\n"),
    "a zero byte": renamed("licenses/LICENSE\0"),
    "a letter beyond ASCII": renamed("licenses/LİCENSE"),
    "a combining accent": renamed("licenses/LICENSE\u0301"),
    "an override of direction": renamed("licenses/\u202eESNECIL"),
    "a zero-width space": renamed("licenses/LIC\u200bENSE"),
    "empty": renamed(""),
    "240 characters and more": renamed("licenses/" + "a" * 240),
    "a name of 129 characters": renamed("licenses/" + "a" * 129),
    "nine folders deep": renamed("licenses/" + "a/" * 8 + "a"),
    "listed twice": twin(LICENSE),
    "twins in case": twin("licenses/license"),
    "folders that are twins in case": twin("Licenses/OTHER"),
    "twins that Unicode folds": twin("licenses/LICEN\u017fE"),
    "twins by the Kelvin sign": twin("licenses/\u212aELVIN"),
    "a file that is a folder too": twin("licenses/LICENSE/more"),
    "the manifest itself": renamed("bundle.json"),
    "the signature": twin("bundle.json.sig"),
    "the sums": twin("SHA256SUMS"),
    "a folder that no bundle has": renamed("bin/LICENSE"),
    "the self-test as a folder": renamed("selftest.json/x"),
    "the model in another place": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["runtime"].update(model="../../outside/model.onnx")
    ),
    "the model an absolute path": lambda scene: edit_manifest(
        scene.bundle, lambda d: d["runtime"].update(model=str(scene.outside / "model.onnx"))
    ),
    "the model a library": lambda scene: edit_manifest(
        scene.bundle,
        lambda d: (
            d["runtime"].update(model="model/model.so"),
            entry_of(d, "model/model.onnx").update(path="model/model.so"),
        ),
    ),
}

ATTACKS: Final = tuple(Attack("paths", name, OPENING, make) for name, make in _LISTED.items())
