"""One process that forks workers, and one base for their jobs; made where a test asks for them."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.server.forking import Forking


@pytest.fixture(scope="session")
def forking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Forking]:
    found = Forking(tmp_path_factory.mktemp("forking"))
    yield found
    found.close()


@pytest.fixture(scope="session")
def small_base(forking: Forking, tmp_path_factory: pytest.TempPathFactory) -> str:
    """A decoder of random weights."""
    folder = tmp_path_factory.mktemp("base") / "tiny"
    forking.call("tests.server.job_world:make_base", str(folder))
    return str(folder)
