"""`bertc verify` and `bertc selftest`."""

from __future__ import annotations

from typing import TYPE_CHECKING

import click

from targets.cli.options import BundleArgument, bundle_options, print_json, print_text, threads_option
from targets.errors import IncompatibleError

if TYPE_CHECKING:
    from targets.runtime.selftest import SelfTestReport

_SIGNATURES = {
    "none": "no",
    "not checked": "yes, not checked: pass --key PUB",
    "valid": "by the key that was given",
}


@click.command("verify", short_help="Check a bundle's files and hashes, and this machine.")
@bundle_options
@click.option("--no-device", is_flag=True, help="Leave out whether this machine can run the bundle.")
def verify_command(bundle: BundleArgument, as_json: bool, no_device: bool) -> None:
    """Check a bundle's files, hashes and paths, and that this machine can run it.

    Hashes show that a bundle is whole, not who made it: --key checks who signed it, --expect-id that it is
    the one you know.
    """
    opened = bundle.open()
    report = opened.verify()
    if not no_device:
        opened.check_device()
    manifest = opened.manifest
    signature = "none" if not report.signed else "not checked" if bundle.key is None else "valid"
    if as_json:
        print_json(
            {
                "ok": True,
                "id": report.id,
                "content_digest": report.content_digest,
                "files": report.files,
                "bytes": report.bytes,
                "signature": signature,
                "name": manifest.name,
                "task": manifest.task,
                "target": manifest.target.id,
                "runtime": manifest.runtime.backend,
                "device_checked": not no_device,
            }
        )
        return
    print_text(f"{manifest.name}: {manifest.task} for {manifest.target.id} on {manifest.runtime.backend}")
    print_text(f"id       {report.id}")
    print_text(f"content  {report.content_digest}")
    print_text(f"files    {report.files}, {report.bytes / 1e6:.1f} MB, every hash as listed")
    print_text(f"signed   {_SIGNATURES[signature]}")
    print_text("device   " + ("not checked" if no_device else "this machine can run it"))


@click.command("selftest", short_help="Run a bundle's golden texts on this machine.")
@bundle_options
@threads_option
def selftest_command(bundle: BundleArgument, as_json: bool, threads: int | None) -> None:
    """Run a bundle's golden texts on this machine and compare with what was measured."""
    from targets.runtime.selftest import run_selftest

    opened = bundle.open()
    with opened.session(threads=threads) as session:
        report = run_selftest(opened, session)
    if as_json:
        print_json(report.to_dict())
    else:
        _print_selftest(report)
    if not report.ok:
        raise IncompatibleError(
            "the self-test failed: this machine does not compute what was measured at compilation",
            "install the tested version of the runtime (see bundle.json), or compile for this device",
        )


def _print_selftest(report: SelfTestReport) -> None:
    limits = report.tolerance
    print_text(f"texts      {report.n}")
    print_text(f"token ids  {'as expected' if report.token_ids_equal else 'DIFFERENT'}")
    for name in report.max_abs:
        print_text(
            f"{name}  max {report.max_abs[name]:.3g} (allowed {limits.max_abs:.3g}), "
            f"mean {report.mean_abs[name]:.3g} (allowed {limits.mean_abs:.3g})"
        )
    print_text("passed" if report.ok else "FAILED")
