"""What a diagnosis needs, from names: the documents' index, what tunes the model. It asks nothing."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from tunesmith.asking.model import Progress
from tunesmith.asking.opening import ENDPOINT, open_model
from tunesmith.diagnose.pilot import Pilots
from tunesmith.errors import UserError
from tunesmith.journey import Hooks
from tunesmith.retrieval.document import Searcher

if TYPE_CHECKING:
    from tunesmith.asking.model import Model

INDEX_FILE = "index.sqlite"


def open_documents(place: Path, out: Path, encoder: str, progress: Progress | None = None) -> Searcher:
    """What searches the documents: an index that is there already, else one that is made (or brought up to date) now.

    Args:
        place: A folder or file of documents, or an index.
        out: Where a new index goes, as ``index`` below it.
        encoder: As `tunesmith index` takes it.
        progress: Receives what is being done.

    Raises:
        UserError: There is nothing to read, or it can't be indexed.
    """
    from tunesmith.retrieval.search import open_index

    if (place / INDEX_FILE).is_file():
        return open_index(place, encoder=encoder)
    from tunesmith.retrieval.indexing import build_index
    from tunesmith.retrieval.reading import FolderSource

    folder = out / "index"
    build_index(folder, [FolderSource(place)], encoder=encoder, progress=progress)
    return open_index(folder)


def tuner_of(name: str, out: Path, *, device: str = "auto", hooks: Hooks | None = None) -> Pilots | None:
    """What tunes the model of this name; None where it can't be tuned here: an endpoint, or what was tuned already."""
    folder = Path(name).expanduser()
    tuned = (folder / "recipe.json").is_file() or (
        (folder / "adapter_config.json").is_file() and not (folder / "config.json").is_file()
    )
    if name.startswith(ENDPOINT) or tuned:
        return None

    def opened(run: str) -> Model:
        return open_model(run, device=device)

    return Pilots(name, out / "pilots", opened, hooks or Hooks(), device=device)


def need_place(out: Path) -> Path:
    """The folder that a diagnosis writes to, made where it is missing.

    Raises:
        UserError: It can't be made, or a file stands there.
    """
    try:
        out.mkdir(parents=True, exist_ok=True)
    except OSError as fault:
        raise UserError(f"the folder can't be made: {fault.strerror}", str(out), "choose another --out") from fault
    return out
