"""Formats of picture data sets, one module each, behind one door. They know no task and no model."""

from tunesmith.pictures.formats.opened import Kind, Opened
from tunesmith.pictures.formats.opening import open_pictures
from tunesmith.pictures.formats.shape import PictureShape

__all__ = ["Kind", "Opened", "PictureShape", "open_pictures"]
