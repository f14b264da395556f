"""Files that come in parts: begun, filled, made whole, given up. It knows no route.

Parts lie on the disk until the upload ends, so that it goes on after a restart of the server. Completing one is done
once: whoever completes it again, with the same parts, gets the same file.
"""

from __future__ import annotations

import hashlib
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.server.faults import ApiFault
from tunesmith.server.files_api import check_purpose, known_of
from tunesmith.server.security import PART_BYTES
from tunesmith.server.upload_form import bare_name
from tunesmith.server.upload_tables import PENDING

if TYPE_CHECKING:
    from tunesmith.server.kept import Part, Upload
    from tunesmith.server.store import Store

SECONDS = 3600
"""After these an upload that was not completed is given up, as in the hosted API."""
MOST_PARTS = 10_000
SPARE = 2
"""Times the size of the file that its parts may have together: one whose answer was lost comes twice."""
READ_BYTES = 1 << 20


class Uploads:
    """The uploads of a store. Safe to use from several threads.

    Args:
        store: Where they are kept.
        most_bytes: Of one file.
        monotonic: Seconds of a clock that never jumps.
    """

    def __init__(self, store: Store, most_bytes: int, *, monotonic: Callable[[], float] = time.monotonic) -> None:
        self.store, self.most_bytes, self._monotonic = store, most_bytes, monotonic
        self._seen: dict[str, float] = {}

    def give_up_old(self) -> None:
        """Take away what waits too long for its parts; not within a transaction, for files go with it."""
        for upload in self.store.pending_uploads(self.store.now()):
            if self._is_over(upload):
                self._end(upload, "expired")

    def begin(self, *, filename: str, purpose: str, size: int, expires: bool) -> Upload:
        """A new upload.

        Args:
            filename: As the client calls the file.
            purpose: What the file is for.
            size: Bytes that it is to have.
            expires: Whether the client wants the file to expire, which is not applied.

        Raises:
            ApiFault: 400 for a purpose that is not used here, 413 where the file is longer than is taken.
        """
        check_purpose(purpose)
        if size > self.most_bytes:
            what = f"a file may have {self.most_bytes:,} bytes here, and this one has {size:,}: split it, or start the"
            raise ApiFault(413, f"{what} server with a larger --upload-mib", param="bytes", code="file_too_large")
        data = {"expires": True} if expires else {}
        made = self.store.add_upload(filename=bare_name(filename), purpose=purpose, size=size, seconds=SECONDS, **data)
        self._seen[made.id] = self._monotonic()
        return made

    def add(self, upload_id: str, place: Path, size: int) -> Part:
        """Take a part over.

        Args:
            upload_id: Of which upload.
            place: The part, whole and synced; it is moved from there.
            size: Its bytes.

        Raises:
            ApiFault: 404, there is no such upload; 400, it has ended, or the part is none; 413, it is too long.
        """
        if not size:
            raise ApiFault(400, "a part has at least one byte", param="data", code="invalid_value")
        if size > PART_BYTES:
            what = f"a part has at most {PART_BYTES:,} bytes, and this one has {size:,}"
            raise ApiFault(413, what, param="data", code="body_too_large")
        self._waiting(upload_id, "take another part")
        with self.store.transaction():
            upload, there = self.store.get_upload(upload_id), self.store.parts_of(upload_id)
            if upload.status != PENDING:
                raise _ended(upload, "take another part")
            if sum(part.bytes for part in there) + size > SPARE * upload.bytes or len(there) >= MOST_PARTS:
                what = f"{upload.id} is to have {upload.bytes:,} bytes, and has {len(there):,} parts of more already"
                raise ApiFault(400, f"{what}: complete it, or cancel it", param="data", code="upload_full")
            return self.store.add_part(upload_id, place, size)

    def cancel(self, upload_id: str) -> Upload:
        """Give an upload up; once more changes nothing.

        Raises:
            ApiFault: 404, there is none; 400, it has ended otherwise.
        """
        upload = self._looked_at(upload_id)
        if upload.status == PENDING:
            upload = self._end(upload, "cancelled")
        if upload.status != "cancelled":
            raise _ended(upload, "be cancelled")
        return upload

    def complete(self, upload_id: str, part_ids: Sequence[str], md5: str | None) -> Upload:
        """Make the file of its parts, in this order.

        Args:
            upload_id: The upload.
            part_ids: Its parts; others that it has are dropped.
            md5: Of the whole content, in hexadecimal; None does not check it.

        Raises:
            ApiFault: 404, there is no such upload; 400, it has ended, a part is none of it, its size or its digest is
                another, or its content is none for its purpose; it waits on then. 507, the disk is full.
        """
        self._looked_at(upload_id)
        with self.store.transaction():
            # Both at once: whoever ends it meanwhile takes the parts away with it.
            upload = self.store.get_upload(upload_id)
            if upload.status != PENDING:
                return _again(upload, part_ids, md5)
            parts = self._named(upload, part_ids)
        draft = self.store.upload_path()
        try:
            done = self._made(upload, parts, md5, draft)
        except FileNotFoundError:
            done = self.store.get_upload(upload_id)
            if done.status == PENDING:
                raise
        finally:
            draft.unlink(missing_ok=True)
        return _again(done, part_ids, md5)

    def _made(self, upload: Upload, parts: Sequence[Part], md5: str | None, draft: Path) -> Upload:
        """The upload with its file, which comes to be together with the word that it is whole.

        Raises:
            ApiFault: The parts' digest is another, or their content is none for its purpose.
            FileNotFoundError: Somebody else has ended it meanwhile, and its parts are gone.
        """
        found = self._joined(parts, draft)
        if md5 is not None and md5.lower() != found:
            what = f"the parts' md5 is {found}, not {md5.lower()}: send the part anew that was damaged on its way"
            raise ApiFault(400, what, param="md5", code="md5_mismatch")
        names = {"filename": upload.filename, "purpose": upload.purpose}
        known = known_of(draft, **names, expires=bool(upload.data.get("expires")))
        with self.store.transaction():
            there = self.store.parts_of(upload.id)
            done = self.store.get_upload(upload.id)
            if done.status == PENDING:
                file = self.store.add_file(draft, **names, **known)
                ids = [part.id for part in parts]
                done = (
                    self.store.end_upload(upload.id, "completed", file=file.public(), part_ids=ids, md5=found) or done
                )
        self._forget(upload.id, there)
        return done

    def _named(self, upload: Upload, part_ids: Sequence[str]) -> list[Part]:
        """The parts that a client names, checked against what the upload is to be."""
        there = {part.id: part for part in self.store.parts_of(upload.id)}
        for number, name in enumerate(part_ids):
            if name not in there or name in part_ids[:number]:
                why = "is no part of it" if name not in there else "is named twice"
                what = f"{name[:100]!a} {why}: name each part of {upload.id} once, in the order of the content"
                raise ApiFault(400, what, param="part_ids", code="invalid_part")
        size = sum(there[name].bytes for name in part_ids)
        if size != upload.bytes:
            what = f"the parts have {size:,} bytes, and {upload.id} was begun for {upload.bytes:,}"
            raise ApiFault(400, f"{what}: send what is missing, or begin anew", param="part_ids", code="invalid_size")
        return [there[name] for name in part_ids]

    def _joined(self, parts: Sequence[Part], draft: Path) -> str:
        """Write the parts' contents one after the other; the md5 of it, in hexadecimal."""
        digest = hashlib.md5(usedforsecurity=False)
        with os.fdopen(os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            for part in parts:
                with (self.store.parts / part.id).open("rb") as content:
                    while block := content.read(READ_BYTES):
                        digest.update(block)
                        file.write(block)
            file.flush()
            os.fsync(file.fileno())
        return digest.hexdigest()

    # How uploads end

    def _waiting(self, upload_id: str, verb: str) -> Upload:
        upload = self._looked_at(upload_id)
        if upload.status != PENDING:
            raise _ended(upload, verb)
        return upload

    def _looked_at(self, upload_id: str) -> Upload:
        """An upload as it is now: one whose time is over has expired."""
        upload = self.store.get_upload(upload_id)
        return self._end(upload, "expired") if upload.status == PENDING and self._is_over(upload) else upload

    def _is_over(self, upload: Upload) -> bool:
        # A clock that jumps ahead must not take an upload away from one who is still sending: as much time has to have
        # passed since this process first saw it.
        since = self._seen.setdefault(upload.id, self._monotonic())
        return self.store.now() >= upload.expires and self._monotonic() - since >= SECONDS

    def _end(self, upload: Upload, status: str) -> Upload:
        with self.store.transaction():
            there = self.store.parts_of(upload.id)
            ended = self.store.end_upload(upload.id, status)
        self._forget(upload.id, there)
        return ended or self.store.get_upload(upload.id)

    def _forget(self, upload_id: str, parts: Sequence[Part]) -> None:
        """Take away what an upload that has ended had on the disk."""
        self.store.remove_parts(parts)
        self._seen.pop(upload_id, None)


def _again(upload: Upload, part_ids: Sequence[str], md5: str | None) -> Upload:
    """An upload that is completed, for one who completes it, once more or at the same time as another."""
    if upload.status != "completed":
        raise _ended(upload, "be completed")
    if list(part_ids) != upload.data["part_ids"] or (md5 is not None and md5.lower() != upload.data["md5"]):
        what = f"{upload.id} was completed with other parts or another md5: its file is {upload.data['file']['id']}"
        raise ApiFault(400, what, param="part_ids", code="upload_has_ended")
    return upload


def _ended(upload: Upload, verb: str) -> ApiFault:
    what = f"{upload.id} can't {verb}: it is {upload.status}; begin a new one with POST /v1/uploads"
    return ApiFault(400, what, param="upload_id", code="upload_has_ended")
