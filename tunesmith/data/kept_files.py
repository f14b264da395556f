"""Files that stand inside rows, written out once, named by their content. It knows no kind of file."""

from __future__ import annotations

import hashlib
import os
import tempfile
from functools import cached_property
from pathlib import Path

from tunesmith.errors import UserError
from tunesmith.machine import cache_folder


class KeptFiles:
    """A folder of files by the digest of their bytes; what is there already is not written again.

    Args:
        folder: By default one of this kind's name in the cache folder.
        kind: What the files are, in the plural: ``pictures``.

    Attributes:
        used: Whether any file was taken.
    """

    def __init__(self, folder: Path | None = None, *, kind: str = "files") -> None:
        self._folder, self.kind = folder, kind
        self.used = False

    @cached_property
    def folder(self) -> Path:
        """Where the files lie; names in rows are relative to it."""
        return self._folder or cache_folder() / self.kind

    def write(self, content: bytes, suffix: str) -> str:
        """The name of a file with this content, which ends so.

        Raises:
            UserError: The folder takes no more.
        """
        self.used = True
        digest = hashlib.blake2b(content, digest_size=16).hexdigest()
        name = f"{digest[:2]}/{digest}{suffix}"
        path = self.folder / name
        if path.is_file() and path.stat().st_size == len(content):
            return name
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            handle, other = tempfile.mkstemp(dir=path.parent, prefix=".writing-")
            try:
                with os.fdopen(handle, "wb") as file:
                    file.write(content)
                Path(other).replace(path)
            except BaseException:
                Path(other).unlink(missing_ok=True)
                raise
        except OSError as error:
            raise UserError(
                f"{self.kind} that stand inside rows are written to files, and the folder takes none "
                f"({error.strerror})",
                str(self.folder),
                "make space there, or set the environment variable TUNESMITH_CACHE to another folder",
            ) from error
        return name
