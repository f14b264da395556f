"""YOLOX: network, losses and preprocessing, written from the papers; it knows no task, no starter and no recipe."""

from tunesmith.model.yolox.config import VARIANTS, YoloxConfig
from tunesmith.model.yolox.loss import Assignment, assign, count, loss_sums
from tunesmith.model.yolox.network import Decoded, Outputs, Parts, Yolox, boxes_of, decode, parts
from tunesmith.model.yolox.preprocessing import preprocessor_config, write_preprocessor

__all__ = [
    "VARIANTS",
    "Assignment",
    "Decoded",
    "Outputs",
    "Parts",
    "Yolox",
    "YoloxConfig",
    "assign",
    "boxes_of",
    "count",
    "decode",
    "loss_sums",
    "parts",
    "preprocessor_config",
    "write_preprocessor",
]
