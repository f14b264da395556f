"""The row store: same rows in memory and on disk, stable ids, places, values that are no JSON."""

from __future__ import annotations

import errno
from array import array
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest
from PIL import Image

from tunesmith.data.digest import canonical_json, canonical_texts, content_digest
from tunesmith.data.source import read_rows
from tunesmith.data.store import StoreBuilder
from tunesmith.errors import UserError


def numbered(count: int) -> list[dict[str, object]]:
    return [
        {"text": f"row {n} \u00e4\u2028\U0001f600", "n": n, "x": n / 3, "tags": ["a", None, {"b": True}]}
        for n in range(count)
    ]


def test_rows_are_the_same_in_memory_and_on_disk() -> None:
    rows = numbered(500)
    small, spooled = read_rows(rows), read_rows(rows, memory_bytes=1000)
    assert (small.on_disk, spooled.on_disk) == (False, True)
    assert list(small) == list(spooled)
    assert small.digest == spooled.digest
    assert [{k: v for k, v in row.items() if k != "id"} for row in spooled] == rows
    assert list(spooled[7]) == ["id", "text", "n", "x", "tags"]
    assert spooled[-1]["n"] == 499
    assert [row["n"] for row in spooled[10:20:3]] == [10, 13, 16, 19]
    for index in (500, -501):
        with pytest.raises(IndexError):
            spooled[index]


def test_a_row_that_a_caller_changes_stays_as_it_was() -> None:
    store = read_rows([{"text": "a", "tags": [1]}])
    row = dict(store[0])
    row["tags"].append(2)
    row["text"] = "b"
    assert (store[0]["text"], store[0]["tags"]) == ("a", [1])


def test_threads_read_the_spool_at_once() -> None:
    store = read_rows(numbered(2000), memory_bytes=1000)
    with ThreadPoolExecutor(8) as pool:
        found = list(pool.map(lambda n: store[n]["n"], [n * 7 % 2000 for n in range(8000)]))
    assert found == [n * 7 % 2000 for n in range(8000)]


def test_the_digest_depends_on_order_and_content() -> None:
    a, b, c = {"t": "a"}, {"t": "b"}, {"t": "c"}
    digests = {read_rows(rows).digest for rows in ([a, b], [b, a], [a, c], [a], [a, b, c])}
    assert len(digests) == 5
    assert read_rows([a, b]).digest == read_rows(iter([a, b])).digest


def test_ids_are_content_digests_numbered_where_rows_repeat() -> None:
    store = read_rows([{"t": "a"}, {"t": "b"}, {"t": "a"}, {"t": "a"}])
    ids = [row["id"] for row in store]
    assert len(ids[0]) == 16
    assert ids[2:] == [f"{ids[0]}-2", f"{ids[0]}-3"]
    assert len(set(ids)) == 4
    assert ids[1] == read_rows([{"t": "b"}])[0]["id"], "an id does not depend on the other rows"


def test_the_order_of_the_columns_does_not_change_an_id() -> None:
    one, two = read_rows([{"a": 1, "b": 2}])[0], read_rows([{"b": 2, "a": 1}])[0]
    assert one["id"] == two["id"]
    assert list(one) == ["id", "a", "b"]


def test_ids_of_the_data_are_used_where_they_are_unique() -> None:
    store = read_rows([{"text": "x", "id": 17}, {"text": "y", "id": 18}])
    assert [row["id"] for row in store] == ["17", "18"]
    assert list(store[0]) == ["id", "text"]
    assert store.report.notes == ()


@pytest.mark.parametrize(
    ("ids", "said"),
    [((7, 7), "1 values are repeated"), ((7, None), "1 rows have none"), (("", "b"), "1 rows have none")],
)
def test_ids_of_the_data_that_cannot_name_rows_are_kept_beside(ids: tuple[object, object], said: str) -> None:
    store = read_rows([{"id": ids[0], "text": "x"}, {"id": ids[1], "text": "y"}])
    assert len({row["id"] for row in store}) == 2
    assert all(len(row["id"]) == 16 for row in store)
    assert [row["original_id"] for row in store] == list(ids)
    assert said in store.report.notes[0]


def test_values_that_are_no_json_survive_beside_a_spool() -> None:
    picture = Image.new("RGB", (4, 3), (1, 2, 3))
    rows = [*numbered(50), {"text": "p", "picture": picture, "raw": b"\0\xff", "wave": np.arange(5)}, *numbered(50)]
    store = read_rows(rows, memory_bytes=1000)
    row = store[50]
    assert store.on_disk
    assert row["picture"] is picture
    assert row["raw"] == b"\0\xff"
    assert row["wave"].tolist() == [0, 1, 2, 3, 4]
    assert store[51]["text"] == rows[51]["text"]
    other = read_rows(
        [{"text": "p", "picture": Image.new("RGB", (4, 3), (1, 2, 4)), "raw": b"\0\xff", "wave": np.arange(5)}]
    )
    assert other[0]["id"] != row["id"], "pictures of other content give other ids"


def test_numpy_scalars_tuples_and_dates_become_json() -> None:
    import datetime as dt

    row = read_rows([{"n": np.int64(3), "x": np.float32(0.5), "t": (1, 2), "d": dt.date(2024, 5, 6), 5: "five"}])[0]
    assert (row["n"], row["x"], row["t"], row["d"], row["5"]) == (3, 0.5, [1, 2], "2024-05-06", "five")
    assert type(row["n"]) is int


def test_pictures_that_outgrow_memory_are_refused() -> None:
    builder = StoreBuilder(pinned_bytes=1000)
    builder.open("rows", " row ")
    builder.append({"raw": b"x" * 900}, 1, is_json=False)
    with pytest.raises(UserError, match="more than 1,000 bytes of memory"):
        builder.append({"raw": b"x" * 900}, 2, is_json=False)


def test_a_value_without_content_breaks_its_row_only() -> None:
    store = read_rows([{"x": 1}, {"x": object()}], broken_rows=0.5)
    assert len(store) == 1
    assert store.report.broken == (
        ("rows row 2", "holds a value of type object, which has no content to compare rows by"),
    )


def test_a_full_temporary_folder_is_one_error(monkeypatch: pytest.MonkeyPatch) -> None:
    def full(**_: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr("tunesmith.data.store.tempfile.TemporaryFile", full)
    with pytest.raises(UserError, match="No space left") as caught:
        read_rows(numbered(100), memory_bytes=1000)
    assert "TMPDIR" in caught.value.fix


def test_a_view_keeps_order_and_places() -> None:
    store = read_rows(numbered(10))
    view = store.take(array("q", [5, 2, 9]))
    assert [row["n"] for row in view] == [5, 2, 9]
    assert (len(view), view.place(1), view[1:].place(0)) == (3, "rows row 3", "rows row 3")
    assert view[-1]["n"] == 9


def test_content_digest_tells_the_named_columns_only() -> None:
    row = {"id": "1", "text": "a", "label": "x"}
    assert content_digest(row, ["text"]) == content_digest({**row, "id": "2", "label": "y"}, ["text"])
    assert content_digest(row, ["text"]) != content_digest({**row, "text": "b"}, ["text"])
    assert content_digest({"text": None}, ["text"]) == content_digest({}, ["text"])
    assert content_digest({"text": 1}, ["text"]) != content_digest({"text": "1"}, ["text"])
    assert len(content_digest(row, ["text", "label"])) == 16


def test_the_fast_way_for_texts_gives_the_same_json() -> None:
    row = {"b": 'say "hi"\\\n\t\x01\x7f', "a": "ä\u2028😀", "": "", "é": "x"}
    assert canonical_texts(row) == canonical_json(row)
    with pytest.raises(UnicodeEncodeError):
        canonical_texts({"a": "\udc80"})
