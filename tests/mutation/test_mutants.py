"""Which mutants a level has: only of lines that its patch added or changed."""

from __future__ import annotations

from porter.mutation.mutants import Mutant, sample
from porter.series.unified import added_lines, read_diff

DIFF = """diff --git a/m.py b/m.py
index 1111111111111111111111111111111111111111..2222222222222222222222222222222222222222 100644
--- a/m.py
+++ b/m.py
@@ -1,3 +1,4 @@
 a = 1
-b = 2
+b = 3
+c = 4
 d = 5
@@ -10,2 +11,3 @@
 e = 6
+f = 7
 g = 8
"""


def mutant(kind: str, line: int) -> Mutant:
    return Mutant(
        1, "minimal", "m.py", line, kind, f"x = {line}\n", f"x = {line + 1}\n", (line, line)
    )  # type: ignore[arg-type]


def test_only_added_lines_count_as_changed() -> None:
    (file,) = read_diff(DIFF)

    assert added_lines(file) == {2, 3, 12}


def test_a_mutant_gives_its_changed_lines_before_and_after() -> None:
    before = "import a\n\ndef f():\n    return a.b - 1\n"
    one = Mutant(
        1, "minimal", "m.py", 4, "off-by-one", before, before.replace("- 1", "- 2"), (4, 4)
    )

    assert one.changed == ("return a.b - 1", "return a.b - 2")
    assert "-    return a.b - 1\n+    return a.b - 2\n" in one.diff()


def test_a_sample_is_the_same_every_time_and_holds_every_kind() -> None:
    known = [mutant("off-by-one", n) for n in range(40)]
    known += [mutant("wrong-axis", 90), mutant("wrong-dtype", 91)]

    chosen = sample(known, 6)

    assert len(chosen) == 6
    assert {one.kind for one in chosen} == {"off-by-one", "wrong-axis", "wrong-dtype"}
    assert chosen == sample(list(reversed(known)), 6)[::-1]


def test_a_sample_of_more_than_there_are_is_all() -> None:
    known = [mutant("off-by-one", n) for n in range(3)]

    assert sample(known, 10) == known
