"""Speech sources read through the door that a run uses, and errors as a person sees them."""

from __future__ import annotations

from typing import Any

import pytest

from tests.fixtures.sounds import (
    sentences,
)
from tunesmith.data.source import RowStore, read_rows
from tunesmith.errors import UserError
from tunesmith.speech.formats import SpeechShape


def read(source: Any, **options: Any) -> tuple[RowStore, SpeechShape]:
    shape = options.pop("shape", None) or SpeechShape()
    return read_rows(source, shape=shape, **options), shape


def fault(source: Any, **options: Any) -> str:
    """The error as a person sees it."""
    with pytest.raises(UserError) as error:
        read(source, **options)
    assert error.value.fix
    return str(error.value)


def notes(store: RowStore) -> str:
    return "\n".join(store.report.notes)


EXPECTED = sentences(4)
