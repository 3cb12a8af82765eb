"""`bertc keygen` and `bertc sign`."""

from __future__ import annotations

import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from targets.cli.completing import complete_folders
from targets.cli.options import BundleArgument, print_json, print_text
from targets.cli_errors import print_warning

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey


@click.command("keygen", short_help="Make a key pair to sign bundles with.")
@click.argument("path", type=click.Path(path_type=Path))
@click.option("--passphrase", is_flag=True, help="Encrypt the private key; asks for a passphrase.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def keygen_command(path: Path, passphrase: bool, as_json: bool) -> None:
    """Make an Ed25519 key pair: the private key in PATH, for its owner alone, the public key in PATH.pub.

    The passphrase is read from BERTC_KEY_PASSPHRASE where that is set. Keys of `openssl genpkey -algorithm
    ed25519` and of `ssh-keygen -t ed25519` can be used as well.
    """
    from targets.bundle.signature import PASSPHRASE_VARIABLE, generate_key

    secret = None
    if passphrase:
        secret = os.environ.get(PASSPHRASE_VARIABLE) or click.prompt(
            "passphrase", hide_input=True, confirmation_prompt=True, err=True
        )
    public = generate_key(path, secret)
    if as_json:
        print_json({"private": str(path), "public": str(public)})
        return
    print_text(f"private  {path}  (keep it to yourself; `bertc sign BUNDLE --key {path}`)")
    print_text(f"public   {public}  (goes to the devices; `bertc verify BUNDLE --key {public}`)")


@click.command("sign", short_help="Sign a bundle with a private key.")
@click.argument("bundle", type=click.Path(path_type=Path), shell_complete=complete_folders)
@click.option(
    "--key", required=True, metavar="KEY", type=click.Path(path_type=Path), help="The private Ed25519 key."
)
@click.option("--expect-id", metavar="SHA256", help="Refuse a bundle with another id.")
@click.option("--force", is_flag=True, help="Replace the signature of another key.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def sign_command(bundle: Path, key: Path, expect_id: str | None, force: bool, as_json: bool) -> None:
    """Sign a bundle, after every file was compared with its hash.

    Writes bundle.json.sig into the bundle: the 64 bytes of an Ed25519 signature of bundle.json, which lists
    the hash of every other file. Devices check it with `--key` and the public key.
    """
    from targets.bundle.signature import is_open_to_others

    opened = BundleArgument(bundle, expect_id).open()
    private = _private_key(key)
    if is_open_to_others(key):
        print_warning(f"others on this machine can read {key}: chmod 600 {key}")
    signature = opened.sign(private, force=force)
    if as_json:
        print_json({"id": opened.id, "signature": signature.hex()})
        return
    print_text(f"signed  {opened.path}")
    print_text(f"id      {opened.id}")


def _private_key(path: Path) -> Ed25519PrivateKey:
    """The key; a person at a terminal is asked for the passphrase of an encrypted one."""
    from targets.bundle.signature import EncryptedKeyError, load_private_key

    try:
        return load_private_key(path)
    except EncryptedKeyError:
        if not sys.stdin.isatty():
            raise
    secret = click.prompt(f"passphrase of {path}", hide_input=True, err=True)
    return load_private_key(path, secret)
