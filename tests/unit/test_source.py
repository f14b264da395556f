"""Reading tables of text: CSV, TSV, JSON and JSONL, their detection, their encodings and their broken rows."""

from __future__ import annotations

import csv
import json
import os
import random
import time
import tracemalloc
from pathlib import Path
from typing import Any

import pytest

from tunesmith.data.source import read_rows
from tunesmith.errors import UserError


def write(path: Path, content: str | bytes, encoding: str = "utf-8") -> str:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode(encoding))
    return str(path)


def values(store: Any) -> list[dict[str, Any]]:
    return [{name: value for name, value in row.items() if name != "id"} for row in store]


def refused(source: Any, **options: Any) -> UserError:
    with pytest.raises(UserError) as caught:
        read_rows(source, **options)
    assert caught.value.fix
    return caught.value


TWO = [{"text": "good film", "label": "1"}, {"text": "bad, film", "label": "0"}]


@pytest.mark.parametrize(
    ("name", "content", "format", "delimiter", "by"),
    [
        ("a.csv", 'text,label\ngood film,1\n"bad, film",0\n', "csv", ",", "file name"),
        ("a.csv", 'text;label\r\ngood film;1\r\n"bad, film";0\r\n', "csv", ";", "file name"),
        ("a.csv", "text|label\ngood film|1\nbad, film|0", "csv", "|", "file name"),
        ("a.csv", 'text,label\rgood film,1\r"bad, film",0\r', "csv", ",", "file name"),
        ("a.tsv", "text\tlabel\ngood film\t1\nbad, film\t0\n", "tsv", "\t", "file name"),
        ("a.txt", "text\tlabel\ngood film\t1\nbad, film\t0\n", "tsv", "\t", "content"),
        ("a.dat", 'text,label\ngood film,1\n"bad, film",0\n', "csv", ",", "content"),
        ("a.json", json.dumps(TWO), "json", None, "file name"),
        ("a.json", json.dumps({"data": TWO}), "json", None, "file name"),
        ("a.json", json.dumps({"version": 3, "rows": TWO}, indent=1), "json", None, "file name"),
        ("a.json", "\n".join(json.dumps(row) for row in TWO), "jsonl", None, "content"),
        ("a.jsonl", "\n\n".join(json.dumps(row) for row in TWO) + "\n", "jsonl", None, "file name"),
        ("a.ndjson", "\r\n".join(json.dumps(row) for row in TWO), "jsonl", None, "file name"),
        ("a", json.dumps(TWO, indent=2), "json", None, "content"),
    ],
)
def test_formats_are_detected_and_said(
    tmp_path: Path, name: str, content: str, format: str, delimiter: str | None, by: str
) -> None:
    store = read_rows(write(tmp_path / name, content))
    assert values(store) == TWO
    report = store.report
    assert (report.format, report.delimiter, report.detected_by) == (format, delimiter, by)
    assert report.columns == ("text", "label")
    assert report.bytes == len(content.encode())
    assert (report.rows, report.broken_count, report.encoding) == (2, 0, "utf-8")
    assert f"{format} by {by}" in report.lines()[0]
    json.dumps(report.to_json())


def test_the_recipes_format_wins_over_the_name(tmp_path: Path) -> None:
    path = write(tmp_path / "rows.csv", '{"text": "a, b"}\n')
    store = read_rows(path, format="jsonl")
    assert (store.report.format, store.report.detected_by, store[0]["text"]) == ("jsonl", "recipe", "a, b")


@pytest.mark.parametrize(
    ("encoding", "name"),
    [("utf-8", "utf-8"), ("utf-8-sig", "utf-8-sig"), ("utf-16", "utf-16"), ("utf-32", "utf-32"), ("cp1252", "cp1252")],
)
@pytest.mark.parametrize("ending", ["csv", "jsonl", "json"])
def test_encodings(tmp_path: Path, encoding: str, name: str, ending: str) -> None:
    rows = [{"text": f"Käse für {n} € – “gut”", "n": str(n)} for n in range(40)]
    if ending == "csv":
        content = "text,n\n" + "".join(f"{row['text']},{row['n']}\n" for row in rows)
    elif ending == "json":
        content = json.dumps(rows, ensure_ascii=False)
    else:
        content = "".join(json.dumps(row, ensure_ascii=False) + "\n" for row in rows)
    store = read_rows(write(tmp_path / f"a.{ending}", content, encoding))
    assert values(store) == rows
    assert store.report.encoding == name
    assert bool(store.report.notes) == (encoding == "cp1252"), "a guess is said, a certainty is not"


def test_utf_16_of_both_byte_orders(tmp_path: Path) -> None:
    for mark, encoding in ((b"\xff\xfe", "utf-16-le"), (b"\xfe\xff", "utf-16-be")):
        path = write(tmp_path / "a.csv", mark + "text,n\nÄ,1\n".encode(encoding))
        assert values(read_rows(path)) == [{"text": "Ä", "n": "1"}]


def test_latin_1_where_cp1252_lacks_a_byte(tmp_path: Path) -> None:
    store = read_rows(write(tmp_path / "a.csv", b"text,n\nK\xe4se \x81,1\n"))
    assert store.report.encoding == "latin-1"
    assert store[0]["text"] == "Käse \x81"


def test_letters_late_in_the_file_decide_too(tmp_path: Path) -> None:
    content = b"text,n\n" + b"plain,1\n" * 200_000 + b"K\xe4se,2\n"
    store = read_rows(write(tmp_path / "a.csv", content))
    assert (store.report.encoding, store[-1]["text"]) == ("cp1252", "Käse")
    assert "first at line 200,002" in store.report.notes[0]


def test_one_line_that_is_not_utf_8_does_not_change_the_others(tmp_path: Path) -> None:
    lines = [f"Käse {n},{n}".encode() for n in range(200)]
    lines[100] = b"K\xe4se,100"
    store = read_rows(write(tmp_path / "a.csv", b"text,n\n" + b"\n".join(lines)))
    assert store.report.encoding == "utf-8"
    assert store[0]["text"] == "Käse 0"
    assert len(store) == 199
    ((place, reason),) = store.report.broken
    assert place.endswith("a.csv:102")
    assert reason == "holds the byte 0xE4, which is not utf-8"


AWKWARD = [
    "",
    " ",
    "a",
    ",",
    '"',
    '""',
    "\n",
    "\r\n",
    '"\n"',
    "a\nb",
    "\u2028",
    "ä€😀",
    "a;b\tc|d",
    "'",
    "\\",
    '\\"',
    "x" * 300,
    '",\n"',
]


@pytest.mark.parametrize("seed", range(12))
def test_csv_round_trips_with_any_quoted_content(tmp_path: Path, seed: int) -> None:
    rng = random.Random(seed)
    delimiter = rng.choice(",;\t|")
    names = ["text", "other", "third"][: rng.randint(2, 3)]
    rows = [{name: "".join(rng.choices(AWKWARD, k=rng.randint(0, 4))) for name in names} for _ in range(60)]
    path = tmp_path / "a.csv"
    with path.open("w", encoding="utf-8", newline="") as file:
        quoting = rng.choice([csv.QUOTE_MINIMAL, csv.QUOTE_ALL])
        writer = csv.DictWriter(
            file, names, delimiter=delimiter, lineterminator=rng.choice(["\n", "\r\n"]), quoting=quoting
        )
        writer.writeheader()
        writer.writerows(rows)
    store = read_rows(path)
    assert store.report.broken == ()
    assert values(store) == rows
    first_lines = path.read_bytes().decode()
    for index in (0, 30, 59):
        line = int(store.place(index).rpartition(":")[2])
        start = "".join(_physical(first_lines)[line - 1 :])
        (fields,) = list(csv.reader(_physical(start), delimiter=delimiter))[:1]
        assert fields == list(rows[index].values()), "a place is the line where the record begins"


def _physical(text: str) -> list[str]:
    import io

    return list(io.StringIO(text, newline=""))


def test_an_empty_field_stays_empty_and_null_stays_none(tmp_path: Path) -> None:
    store = read_rows(write(tmp_path / "a.csv", "text,label\n,1\na,\n"))
    assert values(store) == [{"text": "", "label": "1"}, {"text": "a", "label": ""}]
    store = read_rows(write(tmp_path / "a.jsonl", '{"text": null}\n{"text": ""}\n'))
    assert [row["text"] for row in store] == [None, ""]


def test_a_text_of_100_000_words_is_one_field(tmp_path: Path) -> None:
    text = "word " * 100_000
    store = read_rows(write(tmp_path / "a.csv", f'text,label\n"{text}",1\nshort,0\n'))
    assert store[0]["text"] == text
    assert store[1]["text"] == "short"


def test_ragged_rows_are_broken_at_their_first_line(tmp_path: Path) -> None:
    content = 'text,label\n"two\nlines",1\nlonely\n"three\n\nlines",2,3\na,0\n' + "ok,1\n" * 300
    store = read_rows(write(tmp_path / "a.csv", content))
    assert [place.rpartition(":")[2] for place, _ in store.report.broken] == ["4", "5"]
    assert store.report.broken[0][1] == "has 1 fields where the header has 2"
    assert store.report.broken[1][1] == "has 3 fields where the header has 2, lines 5 to 7"
    assert (len(store), store.report.broken_count) == (302, 2)
    assert store.place(1).endswith("a.csv:8")
    assert "2 broken rows left out" in store.report.lines()[1]


@pytest.mark.parametrize(
    "bad",
    ['"never closed,1', '"closed" too early,1', '"a" "b",1'],
)
def test_a_stray_quote_costs_its_own_row_only(tmp_path: Path, bad: str) -> None:
    lines = [f'"text, {n}",{n}' for n in range(400)]
    lines[200] = bad
    store = read_rows(write(tmp_path / "a.csv", "text,label\n" + "\n".join(lines) + "\n"))
    assert [row["label"] for row in store] == [str(n) for n in range(400) if n != 200]
    assert [place.rpartition(":")[2] for place, _ in store.report.broken] == ["202"]
    assert store.place(200).endswith(":203")


def test_a_quote_that_never_closes_to_the_end(tmp_path: Path) -> None:
    content = "text,label\n" + '"a, b",1\n' * 300 + '"open,1\n' + "b,0\n" * 300
    store = read_rows(write(tmp_path / "a.csv", content))
    assert len(store) == 600
    assert store.report.broken[0][1] == "a quote opens here and never closes"


def test_unquoted_tsv_and_backslashes_are_noticed(tmp_path: Path) -> None:
    rows = [f"{n}\t\"well' said {n}" if n % 3 == 0 else f"{n}\tplain" for n in range(90)]
    store = read_rows(write(tmp_path / "a.tsv", "n\ttext\n" + "\n".join(rows) + "\n"))
    assert len(store) == 90
    assert store[0]["text"] == "\"well' said 0"
    assert "quotes are read as ordinary characters" in store.report.notes[0]
    rows = [f'{n},"he said \\"hi, you\\" {n}"' for n in range(50)]
    store = read_rows(write(tmp_path / "b.csv", "n,text\n" + "\n".join(rows) + "\n"))
    assert store[3]["text"] == 'he said "hi, you" 3'
    assert "backslash" in store.report.notes[0]


def test_one_column_is_a_table_too(tmp_path: Path) -> None:
    store = read_rows(write(tmp_path / "a.csv", "text\nfirst\nsecond\n"))
    assert values(store) == [{"text": "first"}, {"text": "second"}]


def test_columns_without_a_name_get_a_number(tmp_path: Path) -> None:
    store = read_rows(write(tmp_path / "a.csv", ",text\n0,a\n1,b\n"))
    assert store.report.columns == ("column_1", "text")
    assert "column 1 has no name" in store.report.notes[0]


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.csv", b"", "the file is empty"),
        ("a.csv", b" \n\n", "the file is empty"),
        ("a.jsonl", b"", "the file is empty"),
        ("a.csv", b"text,label\n", "only a header"),
        ("a.json", b"[]", "there are no rows"),
        ("a.csv", b"text,label,text\na,b,c\n", "the header names text more than once"),
        ("a.csv", b"\x89PNG\r\n\x1a\n" + bytes(range(256)) * 9, "it is a PNG picture"),
        ("a.csv", b"PK\x03\x04" + bytes(range(256)), "a zip archive or an Excel workbook"),
        ("a.csv.gz", b"\x1f\x8b\x08\0" + bytes(range(256)), "compressed with gzip"),
        ("a.csv", bytes(random.Random(1).randbytes(50_000)), "this is not a text file"),
        ("a.csv", "text,n\nab,1\n".encode("utf-16-le"), "this is not a text file"),
        ("a.parquet", b"text,label\na,1\n", "the name ends as Parquet"),
        ("a.txt", b"just a text without columns\nand more", "the format cannot be told"),
        ("a.json", b'[{"a": 1}, {"a": }]', "not valid JSON: Expecting value"),
        ("a.json", b'[{"a": 1}] x', "not valid JSON: Extra data"),
        ("a.json", b'[{"a": 1} {"a": 2}]', "Expecting ',' delimiter"),
        ("a.json", b'{"a": 1, "b":\n [2]}', "an object with the keys a, b"),
        ("a.json", b'"text"', "a text, not rows"),
        ("a.json", b"[" * 100_000, "cannot be read"),
    ],
)
def test_files_that_are_no_rows(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    error = refused(write(tmp_path / name, content))
    assert said in error.what
    assert name in error.where


def test_a_json_error_has_line_and_column(tmp_path: Path) -> None:
    error = refused(write(tmp_path / "a.json", '[{"a": 1},\n {"a": oops}]'))
    assert error.where.endswith("a.json:2:8")


def test_places_in_a_json_array_are_lines(tmp_path: Path) -> None:
    store = read_rows(write(tmp_path / "a.json", '[\n{"a": 1},\n\n{"a":\n2}, {"a": 3}]\n'))
    assert [store.place(n).rpartition(":")[2] for n in range(3)] == ["2", "4", "5"]


def test_a_large_json_array_is_sent_to_jsonl(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("tunesmith.data.json_rows.WHOLE_BYTES", 10)
    error = refused(write(tmp_path / "a.json", '[{"a": 12345}]'))
    assert "JSONL" in error.fix


def test_broken_jsonl_rows_are_listed_with_their_lines(tmp_path: Path) -> None:
    lines = [json.dumps({"text": f"a{n}"}) for n in range(1000)]
    lines[4], lines[6], lines[8] = "{oops}", '["list"]', '{"text": "half \\ud83d"}'
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    report = read_rows(path).report
    assert report.rows == 997
    assert [place.rpartition(":")[2] for place, _ in report.broken] == ["5", "7", "9"]
    assert "not valid JSON at column 2" in report.broken[0][1]
    assert report.broken[1][1] == "is a list, not an object"
    assert "half a character" in report.broken[2][1]


def test_more_broken_rows_than_accepted_are_an_error_with_places(tmp_path: Path) -> None:
    lines = ["{bad" if n % 20 == 0 else f'{{"n": {n}}}' for n in range(1000)]
    path = write(tmp_path / "a.jsonl", "\n".join(lines))
    error = refused(path)
    assert "50 of 1,000 rows are broken (5.0%)" in error.what
    assert "a.jsonl:1 " in error.what
    assert "a.jsonl:41 " in error.what
    assert error.where.endswith("a.jsonl:1")
    assert "data.broken_rows" in error.fix
    accepted = float(error.fix.rpartition(" ")[2])
    store = read_rows(path, broken_rows=accepted)
    assert (len(store), store.report.broken_count, len(store.report.broken)) == (950, 50, 20)


def test_binary_garbage_in_a_csv_breaks_only_its_lines(tmp_path: Path) -> None:
    rng = random.Random(3)
    lines = [f'"Käse, {n}",{n % 2}'.encode() for n in range(1000)]
    for n in (100, 500):
        lines[n] = b'"\0\x01\xff' + bytes(byte for byte in rng.randbytes(200) if byte not in b"\r\n")
    path = write(tmp_path / "a.csv", b"text,label\n" + b"\n".join(lines) + b"\n")
    store = read_rows(path)
    assert len(store) == 998
    assert store.report.encoding == "utf-8"
    assert [(place.rpartition(":")[2], reason) for place, reason in store.report.broken] == [
        ("102", "holds NUL bytes"),
        ("502", "holds NUL bytes"),
    ]
    assert store[100]["text"] == "Käse, 101"
    assert "broken" in refused(path, broken_rows=0.001).what


def test_garbage_inside_a_quoted_field_breaks_that_row(tmp_path: Path) -> None:
    content = b'text,label\n"one\n\0\0\xff\ntwo",1\nfine,0\n' + b"ok,1\n" * 300
    store = read_rows(write(tmp_path / "a.csv", content))
    assert store[0]["text"] == "fine"
    assert store.report.broken_count == 1
    assert store.report.broken[0][0].endswith(":3")


def test_columns_are_renamed_and_checked(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "Review,stars,text,key\ngreat,5,x,k1\npoor,1,y,k2\n")
    store = read_rows(path, columns={"text": "Review", "label": "stars", "id": "key"})
    assert list(store[0].items()) == [("id", "k1"), ("text", "great"), ("label", "5")]
    assert "Review stands in for the source's own column text" in store.report.notes[0]
    swapped = read_rows(path, columns={"text": "stars", "stars": "text"})
    assert (swapped[0]["text"], swapped[0]["stars"]) == ("5", "x")
    error = refused(path, columns={"text": "review"})
    assert "did you mean 'Review'?" in error.what
    assert "Review, stars, text, key" in error.fix


def test_a_mapped_column_that_no_jsonl_row_has(tmp_path: Path) -> None:
    path = write(tmp_path / "a.jsonl", '{"a": 1}\n{"a": 2, "body": "x"}\n')
    assert values(read_rows(path, columns={"text": "body"})) == [{"a": 1}, {"a": 2, "text": "x"}]
    assert "did you mean 'body'?" in refused(path, columns={"text": "boddy"}).what


def test_limit_reads_the_first_rows_and_says_so(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,m\n" + "".join(f"{n},0\n" for n in range(100)))
    store = read_rows(path, limit=7)
    assert [row["n"] for row in store] == [str(n) for n in range(7)]
    assert "only the first 7 rows" in store.report.notes[0]


def test_missing_and_forbidden_files(tmp_path: Path) -> None:
    write(tmp_path / "train.csv", "a,b\n1,2\n")
    error = refused("trian.csv", relative_to=tmp_path)
    assert "did you mean 'train.csv'?" in error.what
    assert len(read_rows("train.csv", relative_to=tmp_path)) == 1
    assert read_rows("train.csv", relative_to=tmp_path).place(0) == "train.csv:2"
    if os.geteuid():
        (tmp_path / "train.csv").chmod(0)
        assert "no permission" in refused(tmp_path / "train.csv").what


def test_progress_goes_up_to_the_whole(tmp_path: Path) -> None:
    path = write(tmp_path / "a.csv", "n,m\n" + "".join(f"{n},0\n" for n in range(20_000)))
    seen: list[tuple[int, int]] = []
    read_rows(path, on_progress=lambda done, total: seen.append((done, total)))
    size = Path(path).stat().st_size
    assert {total for _, total in seen} == {size}
    assert [done for done, _ in seen] == sorted(done for done, _ in seen)
    assert seen[-1] == (size, size)
    assert len(seen) > 5


def test_iterables_of_anything_else_are_refused() -> None:
    assert len(read_rows({"t": str(n)} for n in range(3))) == 3
    assert "not an iterable of rows" in refused({"text": ["a"]}).what
    assert "no source is named" in refused("").what
    assert "is a str, not a mapping" in refused(["a", "b"]).what


def big_csv(path: Path, megabytes: int) -> None:
    rng = random.Random(0)
    words = [f"word{n}" for n in range(500)]
    block = "".join(f'{n},"{" ".join(rng.choices(words, k=30))}, end",{n % 3}\n' for n in range(4000))
    with path.open("w") as file:
        file.write("n,text,label\n")
        while file.tell() < megabytes * 2**20:
            file.write(block)


def test_a_30_mb_csv_is_read_in_bounded_memory(tmp_path: Path) -> None:
    path = tmp_path / "big.csv"
    big_csv(path, 30)
    size = path.stat().st_size
    start = time.perf_counter()
    read_rows(path)
    assert time.perf_counter() - start < 20
    tracemalloc.start()
    store = read_rows(path, memory_bytes=2**20)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert store.on_disk
    assert peak < size / 3
    assert store[len(store) - 1]["text"].endswith(", end")
    assert store.place(len(store) - 1).endswith(f":{len(store) + 1}")
