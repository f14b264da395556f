"""The checks behind ``check_task``: what a task has to keep for the engine's promises to hold. No modality is known."""
