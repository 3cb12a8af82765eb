"""`bertc inspect`."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import TYPE_CHECKING, Any

import click

from targets.cli.options import BundleArgument, bundle_options, print_json, print_text
from targets.cli.structure import LENGTH, read_structure, structure_lines

if TYPE_CHECKING:
    from targets.bundle.reader import Bundle

_LAYER = re.compile(r"layer([0-9]{1,6})\.(.+)")
_KINDS = {
    "static": "static INT8: activations have parameters fixed by calibration",
    "dynamic": "dynamic INT8: activations are quantized on each run",
    "weights": "INT8 weights in float products",
}
_WORDS = {True: "on", False: "off"}
_AFTER_THE_LAYERS = 1_000_000
_NOT_RECORDED = "not recorded in this bundle; compile the model again to have it"
_HEADER = ("layer", "product", "precision", "kernel")


length_option = click.option(
    "--length",
    type=click.IntRange(min=1),
    metavar="TOKENS",
    help="Text to count FLOPs for, at most the model's longest.  [default: 128]",
)
products_option = click.option(
    "--products", is_flag=True, help="Of a bundle: list every product with its precision and kernel."
)


@click.command("inspect", short_help="Show what a bundle is made of, and what it runs in INT8.")
@bundle_options
@length_option
@products_option
def inspect_command(bundle: BundleArgument, as_json: bool, length: int | None, products: bool) -> None:
    """Show what a bundle is made of, layer by layer, and what its runtime runs in INT8.

    Which operator computes each product was read back from the runtime when the bundle was compiled.
    """
    show_bundle(bundle, as_json, length=length, products=products)


def show_bundle(
    bundle: BundleArgument, as_json: bool, *, length: int | None = None, products: bool = False
) -> None:
    """Prints what a bundle is.

    Args:
        bundle: as the command was given it.
        as_json: whether to print JSON and no text.
        length: tokens of the text to count FLOPs for; None for 128, and at most the model's longest.
        products: whether the text lists every product.

    Raises:
        UsageError: there is no bundle (exit code 2).
        IntegrityError: a manifest that is damaged, or another id (5).
    """
    document = describe_bundle(bundle.open(), LENGTH if length is None else length)
    if as_json:
        print_json(document)
    else:
        for line in _lines(document, products):
            print_text(line)


def describe_bundle(bundle: Bundle, length: int = LENGTH) -> dict[str, Any]:
    """What `bertc inspect --json` prints; null for what the bundle does not record.

    Args:
        bundle: open.
        length: tokens of the text to count FLOPs for, at most the model's longest.
    """
    manifest = bundle.manifest
    compression = manifest.compression
    placement = manifest.placement
    tokens = min(length, manifest.max_length)
    return {
        "id": bundle.id,
        "schema_version": manifest.schema_version,
        "name": manifest.name,
        "task": manifest.task,
        "target": manifest.target.id,
        "runtime": {**asdict(manifest.runtime), "options": dict(manifest.runtime.options)},
        "model_bytes": bundle.model_bytes,
        "bundle_bytes": sum(each.size for each in manifest.files),
        "max_length": manifest.tokenizer.max_length,
        "length": tokens,
        "parts": read_structure(compression, tokens),
        "quantization": _scheme(compression),
        "int8_tables": _count(_table(compression, "quantization"), "int8_tables"),
        "placement": None if placement is None else asdict(placement),
        "engine": None if manifest.engine is None else asdict(manifest.engine),
        "products": [] if placement is None else _products(asdict(placement)),
    }


def _scheme(compression: Mapping[str, Any]) -> dict[str, str]:
    """The quantization scheme as words; it is a record for people, of whatever keys the compiler wrote."""
    scheme = _table(_table(compression, "quantization"), "scheme")
    return {str(key): _word(value) for key, value in scheme.items()}


def _word(value: object) -> str:
    return _WORDS[value] if isinstance(value, bool) else str(value)


def _table(table: Mapping[str, Any], key: str) -> Mapping[str, Any]:
    found = table.get(key)
    return found if isinstance(found, Mapping) else {}


def _count(table: Mapping[str, Any], key: str) -> int:
    found = table.get(key)
    return found if isinstance(found, int) and not isinstance(found, bool) else 0


def _products(placement: Mapping[str, Any]) -> list[dict[str, str | None]]:
    """A row for each product, from the embeddings upward."""
    rows: list[dict[str, str | None]] = []
    for group in placement["products"]:
        precision = "int8" if group["int8"] else "float"
        rows += [_row(role, precision, group["kernel"]) for role in group["roles"]]
    for group in placement["kept_float"]:
        rows += [_row(role, "float", None) for role in group["roles"]]
    return sorted(rows, key=_place)


def _row(role: str, precision: str, kernel: str | None) -> dict[str, str | None]:
    match = _LAYER.fullmatch(role)
    layer, product = (match[1], match[2]) if match else (None, role)
    return {"role": role, "layer": layer, "product": product, "precision": precision, "kernel": kernel}


def _place(row: Mapping[str, str | None]) -> tuple[int, str]:
    if row["layer"] is not None:
        return int(row["layer"]), ""
    return (-1 if row["product"] == "embeddings" else _AFTER_THE_LAYERS), str(row["product"])


def _lines(document: Mapping[str, Any], products: bool) -> Iterator[str]:
    runtime = document["runtime"]
    yield f"{document['name']}: {document['task']} for {document['target']} on {runtime['backend']}"
    yield f"id         {document['id']}"
    yield f"precision  {runtime['precision']}"
    versions = f"{runtime['minimum_version']} or newer, tested on {runtime['tested_version']}"
    yield f"runtime    {runtime['backend']} {versions}"
    if runtime["device"] != "CPU" or runtime["lengths"]:
        lengths = ", ".join(map(str, runtime["lengths"]))
        fixed = f", one text at a time at {lengths} tokens" if lengths else ""
        yield f"device     {runtime['device']}{fixed}"
    for key, value in sorted(runtime["options"].items()):
        yield f"           {key} = {value}"
    sizes = f"model {document['model_bytes'] / 1e6:.1f} MB, bundle {document['bundle_bytes'] / 1e6:.1f} MB"
    yield f"size       {sizes}, texts of up to {document['max_length']} tokens"
    yield ""
    yield from _scheme_lines(document)
    yield ""
    if document["parts"] is not None or document["products"]:
        yield from structure_lines(document["parts"], document["products"], document["length"])
        yield ""
    yield from _placement_lines(document, products) if document["engine"] is None else _engine_lines(document)


def _engine_lines(document: Mapping[str, Any]) -> Iterator[str]:
    engine, runtime = document["engine"], document["runtime"]
    if engine["compute_capabilities"]:
        gpus = " and ".join(engine["compute_capabilities"])
        yield f"engine: for compute capability {gpus}, by {runtime['backend']} {runtime['tested_version']}"
    else:
        yield "engine: built on the device by `bertc build`"
    shapes = (engine["shapes"][key] for key in ("min", "opt", "max"))
    yield "  shapes (batch x tokens): " + " / ".join(f"{batch}x{tokens}" for batch, tokens in shapes)
    for variant in engine["variants"]:
        yield f"  {variant['precision']}: {variant['engine'] or variant['onnx']}"
    yield f"  placement: {engine['placement']}"
    yield ""
    yield from _float_lines(document["placement"], "operators of the graph:")


def _scheme_lines(document: Mapping[str, Any]) -> Iterator[str]:
    scheme = dict(document["quantization"])
    kind = scheme.pop("kind", "")
    if not kind:
        yield f"quantization: none, the model computes in {document['runtime']['precision']}"
        return
    yield f"quantization: {_KINDS.get(kind, kind)}"
    for key, value in scheme.items():
        yield f"  {key.replace('_', ' ')}: {value}"
    yield f"  embedding tables stored as INT8 rows: {document['int8_tables']}"


def _placement_lines(document: Mapping[str, Any], products: bool) -> Iterator[str]:
    placement = document["placement"]
    if placement is None:
        yield f"placement: {_NOT_RECORDED}"
        return
    rows = document["products"]
    backend = document["runtime"]["backend"]
    planned = sum(len(group["roles"]) for group in placement["products"])
    real = sum(len(group["roles"]) for group in placement["products"] if group["int8"])
    yield f"placement, read back from {backend} {placement['runtime_version']}:"
    yield f"  {real} of {planned} products planned as INT8 run in INT8"
    if products:
        yield from _columns(rows)
    elif rows:
        yield "  each of them by its kernel: --products"
    yield ""
    yield from _float_lines(placement, "operators:")


def _float_lines(placement: Mapping[str, Any] | None, title: str) -> Iterator[str]:
    if placement is None:
        return
    yield "left in float:" if placement["kept_float"] else "left in float: no product"
    for group in placement["kept_float"]:
        yield f"  {', '.join(group['roles'])}: {group['reason']}"
    yield ""
    yield title
    width = max(map(len, placement["operators"]), default=0)
    for name, count in sorted(placement["operators"].items(), key=lambda item: (-item[1], item[0])):
        yield f"  {name:<{width}}  {count}"


def _columns(rows: list[Mapping[str, str | None]]) -> Iterator[str]:
    if not rows:
        return
    table = [_HEADER, *(tuple(row[key] or "-" for key in _HEADER) for row in rows)]
    widths = [max(len(line[place]) for line in table) for place in range(len(_HEADER))]
    yield ""
    for line in table:
        cells = (f"{cell:<{width}}" for cell, width in zip(line, widths, strict=True))
        yield "  " + "  ".join(cells).rstrip()
