"""Layouts of pictures with captions, one module each, behind one door. They know no task and no model."""

from tunesmith.diffusion.formats.opening import open_captions
from tunesmith.diffusion.formats.shape import CaptionShape

__all__ = ["CaptionShape", "open_captions"]
