"""Which files are documents, by their names. It opens none."""

from __future__ import annotations

from pathlib import PurePosixPath

TEXT_KINDS = ("text", "markdown", "csv", "tsv", "jsonl", "json")
"""Read as they are; every other kind is converted."""

_SUFFIXES = {
    "markdown": ".md .markdown .mdown .mkd .mdx .qmd",
    "html": ".html .htm .xhtml",
    "csv": ".csv",
    "tsv": ".tsv .tab",
    "jsonl": ".jsonl .ndjson",
    "json": ".json",
    "pdf": ".pdf",
    "docx": ".docx .docm .dotx",
    "pptx": ".pptx .pptm .ppsx",
    "xlsx": ".xlsx .xlsm .xltx",
    "eml": ".eml",
    "mbox": ".mbox .mbx",
    "text": ".txt .text .log .rst .adoc .asciidoc .org .tex .srt .vtt .yaml .yml .toml .ini .cfg .conf .sql .py .sh "
    ".js .ts .java .c .h .cpp .hpp .cs .go .rs .rb .php .r .jl .lua .pl .kt .swift .xml .po",
}
KINDS = {suffix: kind for kind, suffixes in _SUFFIXES.items() for suffix in suffixes.split()}
_FIXES = {
    **dict.fromkeys((".doc", ".rtf", ".odt", ".pages", ".wpd"), "save it as DOCX or PDF"),
    **dict.fromkeys((".ppt", ".odp", ".key"), "save it as PPTX or PDF"),
    **dict.fromkeys((".xls", ".xlsb", ".ods", ".numbers"), "save it as XLSX or CSV"),
    **dict.fromkeys((".zip", ".gz", ".bz2", ".xz", ".zst", ".7z", ".rar", ".tar", ".tgz"), "unpack it beside it"),
    **dict.fromkeys((".epub", ".mobi", ".djvu", ".ps"), "convert it to PDF or HTML"),
    ".msg": "save the message as .eml",
    ".parquet": "write it as JSONL or CSV",
    **dict.fromkeys((".png", ".jpg", ".jpeg", ".gif", ".webp", ".tif", ".tiff", ".bmp"), "read its text by OCR first"),
    **dict.fromkeys((".mp3", ".wav", ".flac", ".ogg", ".m4a", ".mp4", ".mov", ".mkv"), "transcribe it first"),
}


def kind_of(name: str) -> str:
    """The kind of document that a file's name tells; empty if it tells none. A name without ending is a text."""
    suffix = PurePosixPath(name).suffix.lower()
    return "text" if not suffix else KINDS.get(suffix, "")


def refusal(name: str) -> tuple[str, str]:
    """Why a file of this name is not read, and the fix."""
    suffix = PurePosixPath(name).suffix.lower()
    return f"files that end in {suffix} are not read", _FIXES.get(
        suffix, "save it as text, HTML or PDF if it is a text"
    )
