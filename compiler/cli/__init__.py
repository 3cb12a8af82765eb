"""The command `bertc`."""

from __future__ import annotations

from compiler.cli.interrupt import INTERRUPTED, kept_interrupts, leave


def main() -> None:
    """The entry point; leaves with the exit code of what happened."""
    # Imported here, so that Ctrl-C is answered from the first moment on.
    try:
        from compiler.cli.group import make_group
        from targets.cli_errors import main_guard

        with kept_interrupts():
            code = main_guard(make_group())
    except KeyboardInterrupt:
        code = INTERRUPTED
    leave(code)
