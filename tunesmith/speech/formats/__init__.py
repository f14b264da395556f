"""Layouts of speech data sets, one module each, behind one door. They know no task and no model."""

from tunesmith.speech.formats.opened import Opened
from tunesmith.speech.formats.opening import open_speech
from tunesmith.speech.formats.shape import SpeechShape

__all__ = ["Opened", "SpeechShape", "open_speech"]
