"""Recordings as they are read: every format, parts, rates and channels, and what is wrong with one, in words."""

from __future__ import annotations

import struct
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

from tests.fixtures.sounds import save, speechlike, tone
from tunesmith.errors import UserError
from tunesmith.speech import audio
from tunesmith.speech.audio import (
    AUDIO_RATE,
    AudioFault,
    content_of,
    is_audio_name,
    look_at_audio,
    misnamed,
    part_of,
    place_of,
    read_audio,
)

FORMATS: dict[str, tuple[str, int, dict[str, Any]]] = {
    ".wav": ("WAV", 44_100, {}),
    ".flac": ("FLAC", 44_100, {}),
    ".ogg": ("OGG", 44_100, {}),
    ".opus": ("OGG", 48_000, {"format": "OGG", "subtype": "OPUS"}),
    ".mp3": ("MP3", 44_100, {}),
    ".aiff": ("AIFF", 8_000, {}),
    ".au": ("AU", 22_050, {}),
    ".rf64": ("RF64", 48_000, {}),
    ".caf": ("CAF", 48_000, {}),
}


def fault_of(place: Path, *part: float | None) -> str:
    """What reading says, which must be what looking says where the whole is read."""
    with pytest.raises(AudioFault) as read:
        read_audio(place, *part)
    if not part:
        with pytest.raises(AudioFault) as looked:
            look_at_audio(place)
        assert looked.value.reason == read.value.reason
    return read.value.reason


def pitch(wave: np.ndarray, rate: int = AUDIO_RATE) -> float:
    """The frequency that is loudest, in Hz."""
    return float(np.argmax(np.abs(np.fft.rfft(wave * np.hanning(len(wave))))) * rate / len(wave))


@pytest.mark.parametrize("ending", FORMATS)
def test_every_format_is_looked_at_and_read(tmp_path: Path, ending: str) -> None:
    name, rate, options = FORMATS[ending]
    place = save(tmp_path / f"a{ending}", tone(1.5, 440, rate), rate, **options)
    sound = look_at_audio(place)
    assert (sound.format, sound.rate, sound.channels, sound.frames) == (name, rate, 1, round(1.5 * rate))
    assert sound.seconds == 1.5
    assert sound.content == content_of(place)
    wave = read_audio(place)
    assert wave.dtype == np.float32
    assert len(wave) == 1.5 * AUDIO_RATE
    assert pitch(wave) == pytest.approx(440, abs=1)
    assert float(np.sqrt(np.mean(wave**2))) == pytest.approx(0.5 / np.sqrt(2), rel=0.03)


@pytest.mark.parametrize("ending", FORMATS)
def test_a_part_is_what_the_whole_has_there(tmp_path: Path, ending: str) -> None:
    _, rate, options = FORMATS[ending]
    place = save(tmp_path / f"a{ending}", speechlike("rain and snow", rate), rate, **options)
    whole = read_audio(place)
    for start, end in ((0.32, 0.76), (None, 0.5), (0.6, None), (0.0, 0.02)):
        part = read_audio(place, start, end)
        first, last = start or 0.0, end or len(whole) / AUDIO_RATE
        assert len(part) == pytest.approx((last - first) * AUDIO_RATE, abs=1)
        at = round(first * AUDIO_RATE)
        np.testing.assert_allclose(part, whole[at : at + len(part)], atol=2e-5)


@pytest.mark.parametrize("rate", [8_000, 11_025, 16_000, 44_100, 96_000])
@pytest.mark.parametrize("channels", [1, 2, 8])
def test_any_rate_and_number_of_channels(tmp_path: Path, rate: int, channels: int) -> None:
    waves = np.stack([tone(1, 300, rate) * (1 if channel % 2 else 0.5) for channel in range(channels)], axis=1)
    place = save(tmp_path / "a.wav", waves, rate, subtype="PCM_24")
    assert look_at_audio(place).channels == channels
    wave = read_audio(place)
    assert len(wave) == AUDIO_RATE
    assert pitch(wave) == pytest.approx(300, abs=1)
    level = {1: 0.5, 2: 0.75, 8: 0.75}[channels]
    assert float(np.abs(wave[800:-800]).max()) == pytest.approx(0.5 * level, rel=0.01)
    assert len(read_audio(place, rate=24_000)) == 24_000


def test_resampling_leaves_nothing_above_half_the_rate(tmp_path: Path) -> None:
    place = save(tmp_path / "a.wav", tone(1, 300, 48_000) + tone(1, 11_000, 48_000, loud=0.4), 48_000)
    heights = np.abs(np.fft.rfft(read_audio(place)))
    assert heights[300] > 3000
    assert heights[4900:5100].max() < 1  # where 11 kHz would fold to


@pytest.mark.parametrize("subtype", ["PCM_U8", "PCM_16", "PCM_24", "PCM_32", "FLOAT", "DOUBLE", "ULAW", "ALAW"])
def test_every_coding_of_wav_has_one_scale(tmp_path: Path, subtype: str) -> None:
    wave = read_audio(save(tmp_path / "a.wav", tone(0.5, 440), AUDIO_RATE, subtype=subtype))
    np.testing.assert_allclose(wave, tone(0.5, 440), atol=0.03)


def test_three_hours_are_neither_looked_at_nor_cut_in_memory(tmp_path: Path) -> None:
    place, seconds, rate = tmp_path / "long.wav", 3 * 3600, 8_000
    size = seconds * rate
    head = b"RIFF" + struct.pack("<I", 36 + size) + b"WAVEfmt " + struct.pack("<IHHIIHH", 16, 1, 1, rate, rate, 1, 8)
    with place.open("wb") as stream:
        stream.write(head + b"data" + struct.pack("<I", size))
        stream.truncate(44 + size)
        stream.seek(44 + 2 * 3600 * rate)
        stream.write(np.uint8(128 + 60 * np.sin(2 * np.pi * 500 * np.arange(rate) / rate)).tobytes())
    tracemalloc.start()
    try:
        sound = look_at_audio(place)
        part = read_audio(place, 7200, 7201)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert sound.seconds == seconds
    assert pitch(part) == pytest.approx(500, abs=1)
    assert peak < 8 * 2**20
    assert len(read_audio(place, 10_799, 10_800)) == AUDIO_RATE


def test_many_channels_are_read_in_pieces(tmp_path: Path) -> None:
    place, rate = tmp_path / "wide.wav", 96_000
    with soundfile.SoundFile(place, "w", rate, 8, "PCM_16") as stream:
        for second in range(20):
            stream.write(np.tile(tone(1, 200 + 10 * second, rate)[:, None], (1, 8)))
    tracemalloc.start()
    try:
        wave = read_audio(place)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert len(wave) == 20 * AUDIO_RATE
    assert pitch(wave[-AUDIO_RATE:]) == pytest.approx(390, abs=1)
    assert peak < 48 * 2**20  # all of it at once would be 61 MB before it is averaged


def test_the_digest_tells_contents_apart(tmp_path: Path) -> None:
    first, second = save(tmp_path / "a.wav", tone(0.2, 300)), save(tmp_path / "b" / "a.wav", tone(0.2, 301))
    looks = [look_at_audio(place).content for place in (first, second)]
    assert looks[0] != looks[1]
    assert {len(content) for content in looks} == {16}
    folders = (first.parent, second.parent)
    assert place_of({"audio": "a.wav"}, folders) == first
    assert [place_of({"audio": "a.wav", "content": content}, folders) for content in looks] == [first, second]
    assert place_of({"audio": "c.wav"}, folders) is None
    assert place_of({"audio": "x" * 5000}, folders) is None


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg", ".opus", ".mp3", ".aiff", ".au", ".rf64"])
@pytest.mark.parametrize("share", [0.3, 0.6, 0.95])
def test_a_truncated_recording_is_refused(tmp_path: Path, ending: str, share: float) -> None:
    _, rate, options = FORMATS[ending]
    place = save(tmp_path / f"a{ending}", speechlike("the rain and the snow", rate), rate, **options)
    content = place.read_bytes()
    place.write_bytes(content[: int(share * len(content))])
    assert fault_of(place).startswith("is truncated: ")


def test_a_part_before_the_cut_of_a_flac_can_be_had_but_none_after(tmp_path: Path) -> None:
    place = save(tmp_path / "a.flac", speechlike("the rain and the snow and the wind" * 4))
    content = place.read_bytes()
    place.write_bytes(content[: len(content) // 2])
    assert len(read_audio(place, 0.1, 0.3)) == 0.2 * AUDIO_RATE
    with pytest.raises(AudioFault, match=r"cannot be decoded|is truncated"):
        read_audio(place, 8, 9)


def varying_mp3(place: Path) -> bytes:
    """An MP3 of varying bit rate, five seconds; its first frame is the header with the length."""
    wave = np.concatenate(
        [np.random.default_rng(0).normal(0, 0.2, 22_050), np.zeros(4 * 44_100), tone(0.5, 400, 44_100)]
    )
    soundfile.write(place, wave, 44_100, format="MP3", bitrate_mode="VARIABLE", compression_level=0.5)
    return place.read_bytes()


def test_an_mp3_without_its_length_is_not_cut_short_in_silence(tmp_path: Path) -> None:
    place = tmp_path / "a.mp3"
    content = varying_mp3(place)
    assert look_at_audio(place).seconds == pytest.approx(5, abs=0.1)
    assert b"Xing" in content[:200]
    place.write_bytes(content[content.index(content[:2], 4) :])
    assert "is an MP3 of varying bit rate whose header does not say its length" in fault_of(place)


def test_an_mp3_of_constant_rate_needs_no_length(tmp_path: Path) -> None:
    place = tmp_path / "a.mp3"
    soundfile.write(place, tone(4, 400, 44_100), 44_100, format="MP3", bitrate_mode="CONSTANT", compression_level=0.7)
    assert b"Info" in place.read_bytes()[:200]
    content = place.read_bytes()
    place.write_bytes(content[content.index(content[:2], 4) :])
    assert look_at_audio(place).seconds == pytest.approx(4, abs=0.1)
    assert len(read_audio(place)) == pytest.approx(4 * AUDIO_RATE, abs=0.1 * AUDIO_RATE)


def test_joined_mp3s_whose_header_knows_the_first_only_are_refused(tmp_path: Path) -> None:
    place = save(tmp_path / "a.mp3", speechlike("sun", 44_100), 44_100)
    place.write_bytes(place.read_bytes() * 2)
    assert "is an MP3 with a wrong header" in fault_of(place)


def test_an_mp3_with_a_tag_and_a_picture_in_it_is_read(tmp_path: Path) -> None:
    place = save(tmp_path / "a.mp3", tone(1, 400, 44_100), 44_100)
    tag = b"ID3\x04\0\0" + bytes([0, 0, 0x40, 0]) + b"\xff\xfb\x90\xc4" * 2048
    place.write_bytes(tag + place.read_bytes() + b"TAG" + bytes(125))
    assert look_at_audio(place).seconds == pytest.approx(1, abs=0.001)
    assert pitch(read_audio(place)) == pytest.approx(400, abs=1)


@pytest.mark.parametrize(
    ("name", "content", "said"),
    [
        ("a.wav", b"", "is empty (0 bytes)"),
        ("a.wav", b"hello, this is a text\n", "is a text file, not a recording"),
        ("a.wav", "grüße, ein Text\n".encode(), "is a text file, not a recording"),
        ("a.wav", bytes(900), "holds zeros only: it was not written whole"),
        ("a.wav", b"RIFF\x24\0\0\0WAVEfmt \x10\0\0\0", "has a header and no samples: it was not written whole"),
        ("a.wav", b"<!DOCTYPE html><p>404", "is a web page, not a recording"),
        ("a.flac", b"version https://git-lfs.github.com/spec/v1\n", "is a Git LFS pointer"),
        ("a.mp3", bytes(range(256)) * 9, "is named .mp3, but its header is not one of a known format"),
        ("a.mp3", b"ID3\x03\0\0\0\0\0\x0a" + bytes(5000), "has a tag of an MP3 and no frame of one"),
        ("a.bin", bytes(range(1, 256)) * 9, "has no header one of a known format"),
        ("a.m4a", b"\0\0\0\x20ftypM4A \0\0", "is MP4 or M4A (AAC), which is not read: convert it to WAV or FLAC"),
        ("a.mp4", b"\0\0\0\x20ftypisom\0\0", "ffmpeg -i a.mp4 a.flac"),
        ("a.webm", b"\x1a\x45\xdf\xa3abc", "is WebM or Matroska, which is not read"),
        ("a.aac", b"\xff\xf1\x50\x80\0\x1f\xfc", "is AAC (ADTS), which is not read"),
        ("a.wav", b"RIFF\x24\0\0\0AVI LIST", "is RIFF, but not WAV"),
        ("a.flac", b"fLaC" + bytes(60), "begins as FLAC (64 bytes), but cannot be decoded"),
        ("a.jpg", b"\xff\xd8\xff\xe0\0\x10JFIF", "is a JPEG picture, not a recording"),
    ],
)
def test_what_is_no_recording_is_said(tmp_path: Path, name: str, content: bytes, said: str) -> None:
    (tmp_path / name).write_bytes(content)
    assert said in fault_of(tmp_path / name)


def test_missing_files_and_folders_are_said(tmp_path: Path) -> None:
    assert fault_of(tmp_path / "none.wav") == "is not there"
    assert fault_of(tmp_path) == "is a folder"


@pytest.mark.parametrize("ending", [".wav", ".flac", ".ogg"])
def test_a_recording_of_no_length_is_said(tmp_path: Path, ending: str) -> None:
    place = save(tmp_path / f"a{ending}", np.zeros(0, np.float32))
    assert (
        fault_of(place)
        == {
            ".wav": "has a header and no samples (0 seconds)",
            ".flac": "is empty (0 bytes)",
            ".ogg": "has a header and no samples (0 seconds)",
        }[ending]
    )


def test_a_streamed_wav_that_never_knew_its_length_is_read(tmp_path: Path) -> None:
    place = save(tmp_path / "a.wav", tone(1, 400))
    content = bytearray(place.read_bytes())
    content[4:8] = content[40:44] = b"\xff\xff\xff\xff"
    place.write_bytes(content)
    assert look_at_audio(place).seconds == 1
    assert pitch(read_audio(place)) == pytest.approx(400, abs=1)


def test_samples_that_are_no_numbers_are_refused(tmp_path: Path) -> None:
    for bad in (np.nan, np.inf):
        wave = tone(1, 400)
        wave[12_000] = bad
        place = save(tmp_path / "a.wav", wave, subtype="FLOAT")
        with pytest.raises(AudioFault, match=r"no numbers, the first at 0.75 seconds"):
            read_audio(place)
        assert len(read_audio(place, 0, 0.5)) == 8000


def test_samples_that_were_never_scaled_are_refused_and_a_little_too_loud_ones_cut(tmp_path: Path) -> None:
    place = save(tmp_path / "a.wav", 32_000 * tone(1, 400), subtype="FLOAT")
    with pytest.raises(AudioFault, match="holds samples up to 16,000 where -1 to 1 is expected"):
        read_audio(place)
    loud = read_audio(save(tmp_path / "a.wav", 2.4 * tone(1, 400), subtype="FLOAT"))
    assert float(loud.max()) == 1
    assert float(loud.min()) == -1


def test_a_content_under_another_name_is_read_and_named(tmp_path: Path) -> None:
    place = save(tmp_path / "a.flac", tone(1, 400)).rename(tmp_path / "a.mp3")
    sound = look_at_audio(place)
    assert sound.format == "FLAC"
    assert misnamed(place.name, sound) == "a.mp3 is FLAC"
    assert misnamed("a.FLAC", sound) is None
    assert pitch(read_audio(place)) == pytest.approx(400, abs=1)
    raw = save(tmp_path / "b.wav", tone(1, 500)).rename(tmp_path / "b.raw")
    assert pitch(read_audio(raw)) == pytest.approx(500, abs=1)
    assert is_audio_name("x/Y.WAV")
    assert is_audio_name("a.m4a")
    assert not is_audio_name("a.txt")


@pytest.mark.parametrize(
    ("start", "end", "said"),
    [
        (2.0, 1.0, "has a part that ends (1 s) where or before it starts (2 s)"),
        (1.0, 1.0, "has a part that ends (1 s) where or before it starts (1 s)"),
        (-1.0, 1.0, "has 3.00 seconds, and the part from -1 to 1 lies outside"),
        (3.0, 4.0, "has 3.00 seconds, and the part from 3 to 4 lies outside"),
        (2.0, 3.2, "has 3.00 seconds, and the part from 2 to 3.2 lies outside"),
        (float("nan"), 1.0, "has no part from nan to 1.0 seconds"),
        (1.00001, 1.00002, "holds no sample"),
    ],
)
def test_a_part_that_is_none_is_refused(tmp_path: Path, start: float, end: float, said: str) -> None:
    place = save(tmp_path / "a.wav", tone(3, 400))
    assert said in fault_of(place, start, end)


def test_a_part_may_end_a_moment_too_late() -> None:
    assert part_of(3.0, 1.0, 3.05) == (1.0, 3.0)
    assert part_of(3.0, None, None) == (0.0, 3.0)


def test_an_impossible_header_is_refused(tmp_path: Path) -> None:
    place = save(tmp_path / "a.wav", tone(0.1, 400))
    content = bytearray(place.read_bytes())
    content[24:28] = struct.pack("<I", 3)
    place.write_bytes(content)
    assert fault_of(place) == "says it has 3 samples a second: its header is wrong"


def test_a_missing_package_is_an_error_with_a_fix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    place = save(tmp_path / "a.wav", tone(0.1, 400))
    monkeypatch.setitem(__import__("sys").modules, "soundfile", None)
    with pytest.raises(UserError) as error:
        read_audio(place)
    assert error.value.fix == 'pip install "tunesmith[audio]"'
    assert audio.AUDIO_RATE == 16_000
