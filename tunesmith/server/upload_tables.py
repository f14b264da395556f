"""What the database keeps of uploads in parts, and where the parts lie. It decides nothing."""

from __future__ import annotations

import secrets
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from tunesmith.server.database import Database, as_json, new_id, sync_folder
from tunesmith.server.faults import ApiFault
from tunesmith.server.kept import Part, Upload, part_of, upload_of

PENDING = "pending"
UPLOADING = ".uploading-"


class UploadTables(Database):
    """The uploads of a store.

    Attributes:
        parts: Folder of the parts of uploads that have not ended.
    """

    parts: Path

    def part_path(self) -> Path:
        """Where a part may be written before it is whole; `add_part` moves it from there."""
        return self.parts / (UPLOADING + secrets.token_hex(16))

    def add_upload(self, *, filename: str, purpose: str, size: int, seconds: int, **data: Any) -> Upload:
        """A new upload that waits for its parts.

        Args:
            filename: As the client calls the file.
            purpose: What the file is for.
            size: Bytes that it is to have.
            seconds: How long it is waited for.
            data: What else is to be known, JSON.
        """
        name = new_id("upload", "_")
        texts = {"filename": filename, "purpose": purpose, "status": PENDING}
        now = self.now()
        self._insert("upload", id=name, created=now, expires=now + seconds, bytes=size, data=as_json(data), **texts)
        return self.get_upload(name)

    def get_upload(self, upload_id: str) -> Upload:
        """An upload by its id.

        Raises:
            ApiFault: 404, there is none.
        """
        row = self._one("SELECT * FROM upload WHERE id = ?", upload_id)
        if row is None:
            what = f"No such Upload object: {upload_id[:100]}. Begin one with POST /v1/uploads"
            raise ApiFault(404, what, param="upload_id", code="upload_not_found")
        return upload_of(row)

    def pending_uploads(self, before: int) -> list[Upload]:
        """Uploads that wait for parts and expire at this second or before it."""
        rows = self._all("SELECT * FROM upload WHERE status = ? AND expires <= ?", PENDING, before)
        return [upload_of(row) for row in rows]

    def end_upload(self, upload_id: str, status: str, **data: Any) -> Upload | None:
        """End an upload that waits for parts, and forget its parts; None where it has ended already.

        The parts' files stay: `remove_parts` takes them when this is certain.
        """
        with self.transaction():
            now = self.get_upload(upload_id)
            if now.status != PENDING:
                return None
            self._db.execute(
                "UPDATE upload SET status = ?, data = ? WHERE id = ?",
                (status, as_json({**now.data, **data}), upload_id),
            )
            self._db.execute("DELETE FROM upload_part WHERE upload = ?", (upload_id,))
            return self.get_upload(upload_id)

    def add_part(self, upload_id: str, source: Path, size: int) -> Part:
        """Take a whole part over by moving it; after this it outlives a loss of power.

        Args:
            upload_id: Of which upload.
            source: The part, on the same disk; its content has been synced by whoever wrote it.
            size: Its bytes.
        """
        name = new_id("part", "_")
        place = self.parts / name
        source.replace(place)
        try:
            sync_folder(self.parts)
            self._insert("upload_part", id=name, upload=upload_id, bytes=size)
        except BaseException:
            place.unlink(missing_ok=True)
            raise
        row = self._one("SELECT * FROM upload_part WHERE id = ?", name)
        assert row is not None, "it was just written"
        return part_of(row)

    def parts_of(self, upload_id: str) -> list[Part]:
        """The parts of an upload, in the order in which they came."""
        rows = self._all("SELECT * FROM upload_part WHERE upload = ? ORDER BY number", upload_id)
        return [part_of(row) for row in rows]

    def remove_parts(self, parts: Sequence[Part]) -> None:
        """Take the files of parts that nothing names any more from the disk."""
        for part in parts:
            (self.parts / part.id).unlink(missing_ok=True)
