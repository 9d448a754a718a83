"""Pictures of the report: PNG files made with zlib, column charts."""

from __future__ import annotations

import struct
import zlib

import pytest

from porter.report.html_report.counters import CounterSeries, chart, exact, short
from porter.report.html_report.images import encode_png


@pytest.mark.parametrize("channels", [1, 3, 4])
def test_a_png_holds_the_pixels_it_was_made_of(channels: int) -> None:
    pixels = bytes(range(5 * 2 * channels))

    png = encode_png(pixels, 5, 2, channels)

    assert png[:8] == b"\x89PNG\r\n\x1a\n"
    assert struct.unpack(">II", png[16:24]) == (5, 2)
    (length,) = struct.unpack(">I", png[33:37])
    rows = zlib.decompress(png[41 : 41 + length])
    stride = 5 * channels + 1
    assert rows[0] == rows[stride] == 0
    assert rows[1:stride] + rows[stride + 1 :] == pixels
    assert png.endswith(struct.pack(">I", zlib.crc32(b"IEND")))


def test_pixels_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="11 bytes are not a 2 x 2 x 3 image"):
        encode_png(b"x" * 11, 2, 2, 3)


def series(**values: tuple[float | None, ...]) -> CounterSeries:
    return CounterSeries("compilations", (0, 1, 2), values or {"": (8, None, 4)}, True)


def test_bars_are_as_high_as_their_values_and_a_missing_run_has_none() -> None:
    drawn = chart(series())

    high, low = drawn.columns
    assert high.height == 2 * low.height
    assert [level for _, level in drawn.ticks] == [0, 1, 2]
    assert drawn.summary == "compilations: 8 at the first level, 4 at the last"
    assert all(c.x >= 0 and c.x + c.width <= drawn.width and c.y >= 0 for c in drawn.columns)


def test_more_variants_than_shades_are_counted_not_drawn() -> None:
    drawn = chart(series(**{f"steps={n}": (n, n, n) for n in range(1, 7)}))

    assert (len(drawn.columns), len(drawn.legend)) == (12, 4)


def test_a_value_of_zero_still_shows_where_it_stands() -> None:
    drawn = chart(series(a=(0, 0, 0)))

    assert drawn.series.is_zero
    assert all(column.height > 0 for column in drawn.columns)


def test_values_in_full_and_in_short() -> None:
    values = (12, 1550.5, 1000, 2_590_764, 999_950)
    assert [exact(v) for v in values] == ["12", "1,550.5", "1,000", "2,590,764", "999,950"]
    assert [short(v) for v in values] == ["12", "1.6k", "1k", "2.6M", "1000k"]
