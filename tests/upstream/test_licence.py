"""An upstream's licence is read from its text; what is unclear stays open."""

from __future__ import annotations

import pytest

from porter.upstream.licence import Licence, licence_of

MIT = b"""MIT License

Copyright (c) 2031 Somebody <some@body.example>

Permission is hereby granted, free of charge, to any person obtaining a copy
of this software and associated documentation files (the "Software"), to deal
in the Software without restriction, including without limitation the rights
to use, copy, modify, merge, publish, distribute, sublicense, and/or sell
copies of the Software, and to permit persons to whom the Software is
furnished to do so, subject to the following conditions:

The above copyright notice and this permission notice shall be included in all
copies or substantial portions of the Software.

THE SOFTWARE IS PROVIDED "AS IS", WITHOUT WARRANTY OF ANY KIND, EXPRESS OR
IMPLIED, INCLUDING BUT NOT LIMITED TO THE WARRANTIES OF MERCHANTABILITY,
FITNESS FOR A PARTICULAR PURPOSE AND NONINFRINGEMENT. IN NO EVENT SHALL THE
AUTHORS OR COPYRIGHT HOLDERS BE LIABLE FOR ANY CLAIM, DAMAGES OR OTHER
LIABILITY, WHETHER IN AN ACTION OF CONTRACT, TORT OR OTHERWISE, ARISING FROM,
OUT OF OR IN CONNECTION WITH THE SOFTWARE OR THE USE OR OTHER DEALINGS IN THE
SOFTWARE.
"""


def texts() -> list[tuple[str, str]]:
    from identify.vendor.licenses import LICENSES

    return [row for row in LICENSES if not row[0].startswith(("GPL", "LGPL", "AGPL"))]


@pytest.mark.parametrize(("name", "text"), texts(), ids=lambda value: value[:12])
def test_a_text_as_published_is_known(name: str, text: str) -> None:
    assert licence_of({"LICENSE": text.encode()}, None) == Licence(name, "LICENSE")


def test_line_breaks_and_the_owner_do_not_matter() -> None:
    text = MIT.replace(b"\n", b"\r\n").replace(b"Somebody", b"A Very Long Consortium of Authors")
    assert licence_of({"LICENSE.txt": text}, "BSD").id == "MIT"


def test_a_gnu_text_alone_says_nothing_of_later_versions() -> None:
    from identify.vendor.licenses import LICENSES

    found = licence_of({"COPYING": dict(LICENSES)["GPL-3.0"].encode()}, None)
    assert found == Licence("GPL-3.0-only", "COPYING; does the upstream say 'or later'?")


def test_a_text_with_conditions_of_its_own_is_not_taken_for_the_common_one() -> None:
    clause = b"The grant of rights does not include the right to sell the Software, where sell " * 3
    found = licence_of({"LICENSE": MIT + clause}, "MIT")
    assert found.id == "NOASSERTION"
    assert found.note.startswith("LICENSE: a text of its own")


def test_two_licences_are_left_to_a_person() -> None:
    from identify.vendor.licenses import LICENSES

    apache = dict(LICENSES)["Apache-2.0"].encode()
    found = licence_of({"LICENSE-MIT": MIT, "LICENSE-APACHE": apache}, None)
    assert found.id == "NOASSERTION"
    assert "LICENSE-APACHE: Apache-2.0, LICENSE-MIT: MIT" in found.note


def test_a_licence_that_spdx_does_not_list_is_known_by_its_title() -> None:
    text = b"Copyright (c) 2022\n\nCreativeML Open RAIL-M\ndated August 22, 2022\n"
    assert licence_of({"LICENSE": text}, None).id == "LicenseRef-CreativeML-Open-RAIL-M"


@pytest.mark.parametrize(
    ("stated", "name"),
    [
        ("MIT", "MIT"),
        ("Apache", "Apache-2.0"),
        ("Apache 2.0", "Apache-2.0"),
        ("mit OR apache-2.0", "MIT OR Apache-2.0"),
        ("BSD", "NOASSERTION"),
        ("ask us", "NOASSERTION"),
    ],
)
def test_without_a_text_the_metadata_counts(stated: str, name: str) -> None:
    assert licence_of({}, stated).id == name


def test_no_licence_is_stated_only_where_nothing_speaks_of_one() -> None:
    assert licence_of({}, None, b"# A model").id == "NONE"
    assert licence_of({}, None, b"# A model\n\n## Licence\n\nAs in the paper").id == "NOASSERTION"


@pytest.mark.parametrize("text", [b"", b"\xff\xfe\x00", b"all rights reserved" * 50_000])
def test_any_text_gets_an_answer(text: bytes) -> None:
    assert licence_of({"LICENSE": text}, None).id == "NOASSERTION"
