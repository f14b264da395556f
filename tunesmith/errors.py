"""What went wrong, where, and the fix: the one exception a person is meant to read, and the exit codes.

It knows nothing of recipes, models or terminals.
"""

from __future__ import annotations

from dataclasses import dataclass, field

EXIT_DONE = 0
EXIT_FINDINGS = 1
EXIT_COULD_NOT_RUN = 2
EXIT_INTERRUPTED = 130
EXIT_TERMINATED = 143


@dataclass(eq=False)
class UserError(Exception):
    """A fault that a person can mend.

    Args:
        what: The thing at fault and what is wrong with it, in one sentence.
        where: A place one can go to: ``recipe.yaml:9:3``, ``rows.csv:17``, a folder, a model id.
        fix: What to do, as an instruction.
        code: The exit code of a command that ends by it.
    """

    what: str
    where: str = ""
    fix: str = ""
    code: int = field(default=EXIT_COULD_NOT_RUN, kw_only=True)

    def __str__(self) -> str:
        lines = [f"error: {self.what}"]
        if self.where:
            lines.append(f"  --> {self.where}")
        if self.fix:
            lines.append(f"  fix: {self.fix}")
        return "\n".join(lines)


class Interrupted(UserError):
    """The run was asked to stop (Ctrl-C, SIGTERM) and saved itself first."""
