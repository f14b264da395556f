"""How a task is found by its name: through the entry points of installed packages. It knows no task itself."""

from __future__ import annotations

from difflib import get_close_matches
from importlib.metadata import EntryPoint, entry_points

from tunesmith.errors import UserError
from tunesmith.task import Task

ENTRY_POINTS = "tunesmith.tasks"


def _installed() -> dict[str, EntryPoint]:
    return {point.name: point for point in entry_points(group=ENTRY_POINTS)}


def task_names() -> list[str]:
    """Names of all installed tasks, ours and other people's."""
    return sorted(_installed())


def find_task(name: str, where: str = "recipe: task") -> type[Task]:
    """The task class called ``name``.

    Raises:
        UserError: No installed package brings it, or its package does not load.
    """
    installed = _installed()
    if name not in installed:
        near = get_close_matches(name, installed, n=1)
        known = ", ".join(sorted(installed))
        fix = f"write '{near[0]}'" if near else f"write one of: {known}; or install the package that brings it"
        raise UserError(f"task: no task is called {name!r}", where, fix)
    try:
        found = installed[name].load()
    except (ImportError, AttributeError) as fault:
        package = installed[name].dist
        raise UserError(
            f"task {name!r} does not load: {fault}",
            installed[name].value,
            f"reinstall or update {package.name if package else 'the package that brings it'}",
        ) from fault
    if not (isinstance(found, type) and issubclass(found, Task)):
        raise UserError(
            f"task {name!r} is no subclass of tunesmith.task.Task", installed[name].value, "mend its entry point"
        )
    return found
