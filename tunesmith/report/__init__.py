"""The report: a run directory in, one self-contained HTML page and a model card out.

It knows no task, no model and no torch: whatever it shows stands in a file of the run.
"""

from __future__ import annotations

from tunesmith.report.card import write_card
from tunesmith.report.page import write_report

__all__ = ["write_card", "write_report"]
