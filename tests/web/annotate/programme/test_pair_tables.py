"""Tables of pairs and of known answers are read as every other table; what cannot be meant is told with its row."""

from __future__ import annotations

import gzip
from collections.abc import Callable
from pathlib import Path

import pytest

from videoalign.errors import DataError
from videoalign.web.annotate.programme.media_index import Library
from videoalign.web.annotate.programme.pair_tables import read_gold, read_pairs

PAIR = ("c000-0", "c000-1")


@pytest.fixture
def library(make_dataset: Callable[..., Path]) -> Library:
    return Library(make_dataset(2))


@pytest.mark.parametrize("content", [
    "clip_a,clip_b,VQ\nc000-0,c000-1,A\n",
    "\ufeffclip_a,clip_b,VQ\nc000-0,c000-1,A\n",
    "clip_a;clip_b;VQ\nc000-0;c000-1;A\n",
    "sep=|\nclip_a|clip_b|VQ\nc000-0|c000-1|A\n",
    "clip_a\tclip_b\tVQ\tMQ\nc000-0\tc000-1\tA\tNaN\n",
    "clip_a, clip_b, VQ\nc000-0, c000-1, a\n",
    "clip_a,clip_b,VQ,\n\nc000-1,c000-0,B,\n,,,\n",
    "clip_a,clip_b,VQ,note\nc000-0,c000-1,A,looks better to me\n",
    "clip_a,clip_b,VQ\nc000-0,c000-1,A\nc000-1,c000-0,B\n",
])  # fmt: skip
def test_known_answers_are_read_from_any_csv(tmp_path: Path, library: Library, content: str) -> None:
    (tmp_path / "g.csv").write_text(content, encoding="utf-8")
    assert read_gold(tmp_path / "g.csv", library) == {PAIR: {"VQ": "A"}}
    (tmp_path / "g.csv.gz").write_bytes(gzip.compress(content.encode()))
    assert read_gold(f"file://{tmp_path}/g.csv.gz", library) == {PAIR: {"VQ": "A"}}


def test_rows_of_one_pair_add_up_and_same_is_a_tie(tmp_path: Path, library: Library) -> None:
    rows = "c000-0,c000-1,A,,\nc000-1,c000-0,,same,\nc001-0,c001-1,,,bothbad\n"
    (tmp_path / "g.csv").write_text(f"clip_a,clip_b,VQ,MQ,TA\n{rows}")
    gold = read_gold(tmp_path / "g.csv", library)
    assert gold == {PAIR: {"VQ": "A", "MQ": "tie"}, ("c001-0", "c001-1"): {"TA": "both_bad"}}


@pytest.mark.parametrize(("content", "says"), [
    ("clip_a,clip_b,VQ\nc000-0,c000-1,C\n", ":2: column 'VQ': 'C' is not a verdict"),
    ("clip_a,clip_b,VQ\nc000-0,c000-1,invalid\n", ":2: column 'VQ': 'invalid' is not a verdict"),
    ("clip_a,clip_b,VQ\nc000-0,c000-1,left\n", ":2: column 'VQ': 'left' is not a verdict"),
    ("clip_a,clip_b,VQ\nc000-0,c001-1,A\n", ":2: 'c000-0' and 'c001-1' must be two clips of one prompt"),
    ("clip_a,clip_b,VQ\nc000-0,c000-0,A\n", ":2: 'c000-0' and 'c000-0' must be two clips of one prompt"),
    ("clip_a,clip_b,VQ\nc000-0,nobody,A\n", ":2: clip 'nobody' is not in the dataset"),
    ("clip_a,clip_b,VQ\nc000-0,,A\n", ":2: column 'clip_b' is empty"),
    ("clip_a,clip_b,VQ\nc000-0,c000-1,\n", ":2: has no answer"),
    ("clip_a,VQ\nc000-0,A\n", ": no column 'clip_b'"),
    ("Clip_A,Clip_B,VQ\nc000-0,c000-1,A\n", ": no column 'clip_a'. Did you mean 'Clip_A'?"),
    ("clip_a,clip_b,VQs\nc000-0,c000-1,A\n", ": column 'VQs' holds verdicts. Did you mean 'VQ'?"),
    ("clip_a,clip_b,VQ,VQ\nc000-0,c000-1,A,B\n", ":1: a column name stands twice, 'VQ'"),
    ("clip_a,clip_b,VQ\nc000-0,c000-1,A,junk\n", ":2: has 4 cells; the heading has 3"),
    ("clip_a,clip_b,VQ\nc000-0,c000-1,A\nc000-1,c000-0,A\n", ":3: contradicts row 2 on VQ; keep one answer"),
    ("", ": the table has no rows"),
])  # fmt: skip
def test_a_gold_table_that_does_not_fit_is_refused_with_its_line(
    tmp_path: Path, library: Library, content: str, says: str
) -> None:
    (tmp_path / "g.csv").write_text(content)
    with pytest.raises(DataError) as refused:
        read_gold(tmp_path / "g.csv", library)
    assert str(refused.value).startswith(f"{tmp_path}/g.csv{says}")


def test_a_table_of_pairs_is_read_the_same_way(tmp_path: Path, library: Library) -> None:
    (tmp_path / "p.tsv").write_text("clip_a;clip_b;VQ\nc000-1;c000-0;A\n")
    assert list(read_pairs(tmp_path / "p.tsv", library)) == [PAIR]
