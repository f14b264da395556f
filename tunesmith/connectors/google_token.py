"""Tokens for Google's services from the environment, renewed when they end after an hour. It asks for no file."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from pathlib import Path
from urllib.parse import urlencode

from tunesmith.connectors.receipt import Receipt
from tunesmith.errors import UserError
from tunesmith.web.http import Authorize, Client
from tunesmith.web.replies import HttpFault
from tunesmith.web.waiting import Clock

SERVER = "https://oauth2.googleapis.com"
HOW = (
    "set GOOGLE_DRIVE_TOKEN to an access token (gcloud auth print-access-token), or GOOGLE_APPLICATION_CREDENTIALS to "
    "the file that 'gcloud auth application-default login --scopes=https://www.googleapis.com/auth/drive.readonly,"
    "https://www.googleapis.com/auth/cloud-platform' writes"
)
NEEDED = ("client_id", "client_secret", "refresh_token")


def google_token(server: str = SERVER, receipt: Receipt | None = None, clock: Clock | None = None) -> Authorize:
    """Headers with credentials, and how they are renewed.

    ``GOOGLE_DRIVE_TOKEN`` is an access token: it ends after an hour, and the sync then goes on with a new one.
    ``GOOGLE_APPLICATION_CREDENTIALS`` names the file of a user's credentials, which are renewed without end.

    Args:
        server: That renews tokens.
        receipt: Where its requests are counted.
        clock: Whose seconds count.

    Raises:
        UserError: There are no credentials, or none of a kind that is understood.
    """
    given = os.environ.get("GOOGLE_DRIVE_TOKEN", "").strip()
    if given:
        return lambda renew: {"Authorization": f"Bearer {given}"}
    file = os.environ.get("GOOGLE_APPLICATION_CREDENTIALS", "").strip()
    if not file:
        raise UserError("Google Drive needs credentials and there are none", "the environment", HOW)
    return Renewed(_credentials(Path(file)), server, receipt, clock)


class Renewed:
    """Access tokens made from a user's refresh token.

    Args:
        credentials: ``client_id``, ``client_secret`` and ``refresh_token``.
        server: That makes them.
        receipt: Where its requests are counted.
        clock: Whose seconds count.
    """

    def __init__(
        self, credentials: Mapping[str, str], server: str, receipt: Receipt | None, clock: Clock | None
    ) -> None:
        self._credentials, self._token = credentials, ""
        self._client = Client(server, tally=receipt, clock=clock)

    def __call__(self, renew: bool) -> Mapping[str, str]:
        """The headers; a new token if the one before was refused, or there is none yet.

        Raises:
            HttpFault: The refresh token is refused.
        """
        if renew or not self._token:
            form = urlencode({**self._credentials, "grant_type": "refresh_token"}).encode()
            kind = "application/x-www-form-urlencoded"
            try:
                told = self._client.ask("POST", "token", data=form, kind=kind, wants_json=True).json()
            except HttpFault as fault:
                fault.stops, fault.fix = True, HOW
                raise
            finally:
                self._client.close()
            self._token = str(told["access_token"])
        return {"Authorization": f"Bearer {self._token}"}


def _credentials(file: Path) -> dict[str, str]:
    """A user's credentials from their file."""
    where = str(file)
    try:
        told = json.loads(file.read_text(encoding="utf-8"))
    except (OSError, ValueError) as fault:
        raise UserError(f"Google's credentials can't be read ({fault})", where, HOW) from fault
    if isinstance(told, dict) and told.get("type") == "service_account":
        what = "a service account signs its requests with a key, which is not done here"
        raise UserError(what, where, "set GOOGLE_DRIVE_TOKEN to what 'gcloud auth print-access-token' gives for it")
    if not isinstance(told, dict) or not all(isinstance(told.get(name), str) for name in NEEDED):
        raise UserError("Google's credentials lack a refresh token", where, HOW)
    return {name: told[name] for name in NEEDED}
