"""About how many operations the parts of a static quantization take."""

from __future__ import annotations

from typing import Final

from calibration.ranges import METHODS
from compiler.ir.work import DOUBLE, Texts
from compiler.quantize.layer import SEARCH_ROWS
from compiler.quantize.options import AUTO_RANGES, QuantizeOptions
from compiler.quantize.sites import Site
from compiler.quantize.smooth import ALPHAS

_A_SITE: Final = 8e9
"""What a site of any size takes: about the time of so many operations."""
_INVERSE: Final = 4.7
_EVERY_ROW: Final = 4
"""Products with all rows: exact, as seen, and those that go on to the next site."""


def site_work(site: Site, texts: Texts, options: QuantizeOptions) -> float:
    """Operations of quantizing a site by these texts, as `quantize_site` does."""
    rows = texts.rows(site.value)
    width = len(site.linears[0].weight_array)
    out = sum(each.weight_array.shape[1] for each in site.linears)
    trials = (2 * len(ALPHAS) if options.smooth else 0) + (
        len(METHODS) if options.ranges == AUTO_RANGES else 0
    )
    product = 2.0 * width * out
    work = _A_SITE + product * (trials * min(rows, SEARCH_ROWS) + _EVERY_ROW * rows)
    if options.rounding != "gptq":
        return float(work)
    return float(work + DOUBLE * (2.0 * rows * width**2 + _INVERSE * width**3 + width * product))
