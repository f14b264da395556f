"""Activations on disk: ragged rows, torn segments, concurrent writers."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
import torch
from torch import Tensor

from tunesmith.model import store as store_module
from tunesmith.model.store import (
    KEY_BYTES,
    ActivationStore,
    LeafLayout,
    cache_entries,
    clear_cache,
    describe_store,
)

LAYOUTS = (LeafLayout((3,), torch.float32, ragged=True), LeafLayout((2,), torch.int64, ragged=False))


def key(number: int) -> bytes:
    return number.to_bytes(KEY_BYTES, "big")


def row(number: int, length: int) -> tuple[Tensor, Tensor]:
    drawn = torch.Generator().manual_seed(number)
    return torch.randn(length, 3, generator=drawn), torch.tensor([number, length])


def fill(folder: Path, numbers: range, *, left: bool = False) -> ActivationStore:
    layouts = (LeafLayout((3,), torch.float32, ragged=True, left=left), LAYOUTS[1])
    found = ActivationStore(folder, layouts)
    for start in range(numbers.start, numbers.stop, 4):
        part = range(start, min(start + 4, numbers.stop))
        lengths = [1 + n % 5 for n in part]
        padded = torch.full((len(part), max(lengths), 3), 99.0)
        for i, (n, length) in enumerate(zip(part, lengths, strict=True)):
            place = slice(max(lengths) - length, None) if left else slice(0, length)
            padded[i, place] = row(n, length)[0]
        found.append([key(n) for n in part], lengths, [padded, torch.stack([row(n, 1 + n % 5)[1] for n in part])])
    found.flush()
    return found


@pytest.mark.parametrize("left", [False, True])
def test_ragged_rows_come_back_as_they_were_with_zeros_for_padding(tmp_path: Path, left: bool) -> None:
    stored = fill(tmp_path, range(23), left=left)
    numbers = [22, 3, 0, 3, 14]
    states, facts = stored.read([key(n) for n in numbers], 5)
    for i, n in enumerate(numbers):
        values, fact = row(n, 1 + n % 5)
        inside = slice(5 - len(values), None) if left else slice(0, len(values))
        outside = slice(0, 5 - len(values)) if left else slice(len(values), None)
        assert torch.equal(states[i, inside], values)
        assert not states[i, outside].any()
        assert torch.equal(facts[i], fact)
    assert len(stored) == 23
    assert key(5) in stored
    assert key(99) not in stored
    with pytest.raises(KeyError):
        stored.read([key(99)], 5)


def test_what_is_read_can_be_written_to_without_harm(tmp_path: Path) -> None:
    stored = fill(tmp_path, range(3))
    stored.read([key(1)], 5)[0].fill_(7.0)
    assert not (stored.read([key(1)], 5)[0] == 7.0).any()


def test_another_process_opens_what_one_wrote(tmp_path: Path) -> None:
    fill(tmp_path, range(9))
    again = ActivationStore(tmp_path, LAYOUTS)
    assert len(again) == 9
    assert torch.equal(again.read([key(8)], 4)[0][0], row(8, 4)[0])


def test_an_open_segment_counts_only_once_it_is_closed(tmp_path: Path) -> None:
    stored = ActivationStore(tmp_path, LAYOUTS)
    stored.append([key(0)], [2], [torch.ones(1, 2, 3), torch.ones(1, 2, dtype=torch.int64)])
    assert key(0) not in stored
    assert len(ActivationStore(tmp_path, LAYOUTS)) == 0
    stored.discard()
    assert list(tmp_path.iterdir()) == []
    stored.flush()
    assert len(stored) == 0


@pytest.mark.parametrize("tear", ["short", "gone", "no index"])
def test_a_torn_segment_holds_no_rows_and_is_recorded_again(tmp_path: Path, tear: str) -> None:
    fill(tmp_path, range(4))
    first = next(tmp_path.glob("*.0.bin"))
    fill(tmp_path, range(4, 8))
    if tear == "short":
        first.write_bytes(first.read_bytes()[:-1])
    elif tear == "gone":
        first.unlink()
    else:
        next(tmp_path.glob(f"{first.name.split('.')[0]}.index.safetensors")).unlink()
    stored = ActivationStore(tmp_path, LAYOUTS)
    assert len(stored) == 4
    assert key(0) not in stored
    again = fill(tmp_path, range(4))
    assert len(again) == 8
    assert torch.equal(again.read([key(0)], 1)[0][0], row(0, 1)[0])


def test_a_segment_is_closed_when_it_is_large(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store_module, "SEGMENT_ROWS", 4)
    stored = fill(tmp_path, range(10))
    assert len(list(tmp_path.glob("*.index.safetensors"))) == 3
    assert len(stored) == 10
    assert torch.equal(stored.read([key(9)], 5)[0][0], row(9, 5)[0])


def test_a_shape_that_was_not_promised_is_refused(tmp_path: Path) -> None:
    stored = ActivationStore(tmp_path, LAYOUTS)
    with pytest.raises(ValueError, match="was promised"):
        stored.append([key(0)], [2], [torch.ones(1, 3, 3), torch.ones(1, 2, dtype=torch.int64)])
    stored.discard()


def test_two_processes_write_into_one_key_at_once(tmp_path: Path) -> None:
    mine = ActivationStore(tmp_path, LAYOUTS)
    writers = [subprocess.Popen([sys.executable, __file__, str(tmp_path), str(start)]) for start in (0, 20)]
    for writer in writers:
        assert writer.wait(120) == 0
    assert len(mine) == 0
    mine.refresh()
    assert len(mine) == 60
    for n in (0, 25, 59):
        length = 1 + n % 5
        assert torch.equal(mine.read([key(n)], length)[0][0], row(n, length)[0])


def test_entries_say_what_they_were_made_from_and_are_cleared(tmp_path: Path) -> None:
    assert cache_entries(tmp_path / "nowhere") == []
    describe_store(tmp_path / "a", {"model": "m"})
    fill(tmp_path / "a", range(3))
    fill(tmp_path / "b", range(30))
    (tmp_path / "stray.txt").write_text("not an entry", encoding="utf-8")
    entries = cache_entries(tmp_path)
    assert [e.folder.name for e in entries] == ["b", "a"]
    assert entries[1].about == {"model": "m"}
    assert clear_cache(tmp_path) == (2, sum(e.bytes for e in entries))
    assert [p.name for p in tmp_path.iterdir()] == ["stray.txt"]


if __name__ == "__main__":
    begin = int(sys.argv[2])
    fill(Path(sys.argv[1]), range(begin, begin + 40))
