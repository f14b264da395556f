"""The tasks: one file a modality. None imports another; all of them stand on ``tunesmith.task``."""
