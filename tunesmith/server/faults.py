"""Faults as the API says them, in OpenAI's error shape. It knows no route."""

from __future__ import annotations

from typing import Any

TYPES = {400: "invalid_request_error", 401: "invalid_request_error", 403: "invalid_request_error",
         404: "invalid_request_error", 405: "invalid_request_error", 409: "conflict_error",
         413: "invalid_request_error", 415: "invalid_request_error", 422: "invalid_request_error",
         429: "rate_limit_error", 500: "server_error", 503: "server_error", 504: "server_error",
         507: "server_error"}  # fmt: skip


class ApiFault(Exception):
    """What a client asked cannot be done.

    Args:
        status: HTTP status.
        message: What is wrong, where, and the fix, in one text.
        param: The field of the request that is at fault.
        code: In snake_case, as the hosted API has it where it has one: ``model_not_found``, ``invalid_file_format``.
        retry_after: Seconds after which it may be asked again; sets Retry-After.
    """

    def __init__(
        self,
        status: int,
        message: str,
        *,
        param: str | None = None,
        code: str | None = None,
        retry_after: float | None = None,
    ) -> None:
        super().__init__(message)
        self.status, self.message, self.param, self.code, self.retry_after = status, message, param, code, retry_after

    def body(self) -> dict[str, Any]:
        """The JSON that is answered."""
        kind = TYPES.get(self.status, "invalid_request_error")
        return {"error": {"message": self.message, "type": kind, "param": self.param, "code": self.code}}
