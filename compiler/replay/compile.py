"""A bundle compiled again from its own record, with nothing chosen anew."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, Final, Unpack

from calibration.data import open_dataset
from calibration.examples import DataOptions
from calibration.readers import READERS
from compiler.build import check_profiles
from compiler.compile import run_compile
from compiler.frontend.checkpoint import Checkpoint
from compiler.options import CompileOptions, OptionFields
from compiler.progress import Clock, Progress, Silent
from compiler.replay.comparison import compare
from compiler.replay.record import CALIBRATION, DATASET_NAME, EVALUATION, Origin, Record, fail, read_record
from compiler.replay.strategy import Replayed
from compiler.result import CompileResult
from targets.bundle.reader import Bundle
from targets.errors import UsageError
from targets.registry import get_target, list_targets
from targets.spec import TargetSpec

FREE: Final = frozenset({"name", "threads", "dump_ir", "sign_key", "report", "keep_debug", "force"})
"""Options that change no content: they are taken from the user."""
_DATA: Final = {"calibration_data": CALIBRATION, "eval_data": EVALUATION}
_OTHERWISE: Final = "leave it out, or compile without --from-manifest"
_SHOWN: Final = 16


def compile_from_manifest(
    manifest: str | Path,
    output: str | Path = ".",
    *,
    model: str | Path | None = None,
    target: str | None = None,
    progress: Progress | None = None,
    **options: Unpack[OptionFields],
) -> CompileResult:
    """Compile a bundle again from its own record.

    What the record chose by measuring (the runtime, products in float, what a budget of time cut) is taken
    from it, so that the same bytes come out of the same tools on the same kind of CPU.

    Args:
        manifest: bundle.json, or the folder that it is in; the rest of the bundle is not read.
        output: the folder that receives NAME-TARGET.bundle.
        model: the checkpoint; None for the hub's that the record names.
        target: the path of the target's profile, where it is none of bertc's own.
        progress: told of every stage; silent when None.
        **options: `calibration_data` and `eval_data`, which the record has by name and hash alone, and those
            of `FREE`; any other must be what the record says.

    Returns:
        One bundle, with `reproduces` and `differences`.

    Raises:
        UsageError: checkpoint, data or options that are not those of the record (exit code 2).
        IntegrityError: the record is damaged, or does not fit the checkpoint (5).
        BertcError: as `compiler.compile.compile_model`.
    """
    clock = Clock(progress or Silent())
    record = read_record(Path(manifest))
    spec = _target(record, target)
    chosen = _options(record, spec.id if target is None else target, options)
    check_profiles(spec, replace(chosen, runtime=record.decisions.runtime))
    done = run_compile(
        _model(record.origin, model),
        Path(output),
        chosen,
        Replayed(record.decisions, chosen, clock),
        clock,
        partial(check_files, record.origin.files),
    )
    (built,) = done.bundles
    found = compare(record, Bundle.open(built.path).manifest, spec)
    if found.same:
        return CompileResult((replace(built, reproduces=True),))
    clock.progress.warn(f"the content digest is not the record's: {found.describe()}")
    return CompileResult((replace(built, reproduces=False, differences=found.describe()),))


def check_files(recorded: Mapping[str, str], checkpoint: Checkpoint) -> None:
    """Compare the files of a checkpoint with those of a record.

    Args:
        recorded: SHA-256 in hexadecimal by name.
        checkpoint: as it was loaded.

    Raises:
        UsageError: naming the first file that differs.
    """
    found: Mapping[str, str] = checkpoint.provenance["files"]  # type: ignore[assignment]
    differing = sorted(name for name in {*recorded, *found} if recorded.get(name) != found.get(name))
    if not differing:
        return
    name = differing[0]
    then, now = recorded.get(name), found.get(name)
    if now is None:
        problem = f"{checkpoint.path} has no {name}, from which the bundle was compiled"
    elif then is None:
        problem = f"{checkpoint.path} has a {name}, which the bundle was not compiled from"
    else:
        problem = (
            f"{name} is not what the bundle was compiled from: its SHA-256 is {now[:_SHOWN]}..., "
            f"the record has {then[:_SHOWN]}..."
        )
    raise UsageError(problem, "pass that checkpoint, or compile this one without --from-manifest")


def _target(record: Record, given: str | None) -> TargetSpec:
    wanted = record.manifest.target.id
    if given is None:
        if wanted not in [each.id for each in list_targets()]:
            raise UsageError(
                f"the record's target {wanted} is none of bertc's own",
                "pass its profile with --target FILE.toml",
            )
        return get_target(wanted)
    spec = get_target(given)
    if spec.id != wanted:
        raise UsageError(f"--target {given} contradicts the record, whose target is {wanted}", _OTHERWISE)
    return spec


def _options(record: Record, target: str, given: Mapping[str, Any]) -> CompileOptions:
    """The recorded options with what the user may add.

    Raises:
        UsageError: what the user gives is not what the record says.
        IntegrityError: options that no compile can have had.
    """
    recorded = replace(record.options, revision=record.origin.commit)
    free = {key: value for key, value in given.items() if key in FREE}
    for key in given.keys() - FREE - _DATA.keys():
        if given[key] != getattr(recorded, key):
            said = _said(key, getattr(recorded, key))
            raise UsageError(f"{_flag(key, given[key])} contradicts the record, which has {said}", _OTHERWISE)
    data: dict[str, Any] = {key: _data(record, key, given.get(key)) for key in _DATA}
    try:
        replace(recorded, name=None, **data).check()
    except UsageError as error:
        raise fail(f"provenance.config: {error.message}") from error
    replace(CompileOptions(precision="fp32"), **free).check()
    return replace(recorded, targets=(target,), **data, **free)


def _flag(key: str, value: object) -> str:
    return f"--{'no-' if value is False else ''}{key.replace('_', '-')}"


def _said(key: str, value: object) -> str:
    if isinstance(value, tuple):
        return ("," if isinstance(value[0], str) else "x").join(map(str, value))
    if value is True:
        return _flag(key, value)
    return "none" if value is None or value is False else str(value)


def _data(record: Record, key: str, given: str | Path | None) -> str | Path | None:
    flag, known = _flag(key, None), record.data.get(_DATA[key])
    if known is None:
        if given is not None:
            raise UsageError(f"{flag} contradicts the record, which has no such data", _OTHERWISE)
        return None
    if given is None and (
        Path(known.name).suffix.lower() in READERS or not DATASET_NAME.fullmatch(known.name)
    ):
        raise UsageError(
            f"the bundle was compiled with {known.name} as {flag}, and it must be given again",
            f"pass {flag} FILE, whose SHA-256 is {known.sha256}",
        )
    source, options = given or known.name, record.options
    columns = DataOptions(options.text_column, options.text_pair_column, options.label_column)
    digest = open_dataset(source, record.manifest.task, columns).digest
    if digest != known.sha256:
        raise UsageError(
            f"{source} is not the {known.name} that the bundle was compiled with: its SHA-256 is "
            f"{digest[:_SHOWN]}..., the record has {known.sha256[:_SHOWN]}...",
            f"pass that file with {flag}",
        )
    return source


def _model(origin: Origin, given: str | Path | None) -> str:
    if given is not None:
        return str(given)
    if origin.kind != "hub":
        raise UsageError(
            f"the bundle was compiled from {origin.model}, which is not of the hub: MODEL must be given",
            "pass the path of that checkpoint, whose files are compared with the record",
        )
    return origin.model
