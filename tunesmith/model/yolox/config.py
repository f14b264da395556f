"""The shape of a YOLOX network and its config.json; it knows no tensor, no picture and no task."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from tunesmith.errors import UserError

MODEL_TYPE = "yolox"
STRIDES = (8, 16, 32)
"""Pixels between the anchor points of each level of the head."""
WIDEST_STRIDE = STRIDES[-1]


@dataclass(frozen=True)
class YoloxConfig:
    """What decides the names and shapes of a YOLOX network (arXiv:2107.08430, section 3).

    Args:
        classes: Number of classes.
        depth: Multiplies the bottlenecks of a stage.
        width: Multiplies the channels.
        depthwise: Whether 3x3 convolutions are a depthwise and a pointwise one (nano).
        size: Height and width in pixels that pictures are brought to; multiples of 32. The network itself takes any.
        names: Class names in the order of the outputs; empty where they are not known.

    Raises:
        UserError: A value that no network can have.
    """

    classes: int
    depth: float = 0.33
    width: float = 0.375
    depthwise: bool = False
    size: tuple[int, int] = (416, 416)
    names: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if self.classes < 1:
            raise UserError(f"a YOLOX network needs at least one class, not {self.classes}", "", "name the classes")
        if not (self.depth > 0 and self.width > 0 and int(64 * self.width) >= 2):
            what = f"a YOLOX network can't have depth {self.depth} and width {self.width}"
            raise UserError(what, "config.json", "take those of a variant, such as depth 0.33 and width 0.375")
        if any(side < WIDEST_STRIDE or side % WIDEST_STRIDE for side in self.size):
            height, width = self.size
            what = f"YOLOX takes pictures whose sides are multiples of {WIDEST_STRIDE} pixels, not {height} x {width}"
            raise UserError(what, "size", f"write a multiple of {WIDEST_STRIDE}, such as 416 or 640")
        if self.names and len(self.names) != self.classes:
            what = f"{len(self.names)} class names for {self.classes} classes"
            raise UserError(what, "config.json", "give as many names as classes")

    @classmethod
    def of(cls, variant: str, classes: int, names: tuple[str, ...] = ()) -> YoloxConfig:
        """The shape of a published variant: nano, tiny, s, m, l or x.

        Raises:
            UserError: There is no such variant.
        """
        if variant not in VARIANTS:
            known = ", ".join(VARIANTS)
            raise UserError(f"there is no YOLOX variant '{variant}'", "variant", f"write one of: {known}")
        return replace(VARIANTS[variant], classes=classes, names=names)

    def with_classes(self, classes: int, names: tuple[str, ...] = ()) -> YoloxConfig:
        """The same shape for other classes."""
        return replace(self, classes=classes, names=names)

    def to_json(self) -> dict[str, Any]:
        """What config.json holds."""
        found: dict[str, Any] = {
            "model_type": MODEL_TYPE,
            "architectures": ["Yolox"],
            "num_labels": self.classes,
            "depth": self.depth,
            "width": self.width,
            "depthwise": self.depthwise,
            "image_size": list(self.size),
        }
        if self.names:
            found["id2label"] = {str(i): name for i, name in enumerate(self.names)}
        return found

    @classmethod
    def from_json(cls, values: Mapping[str, Any], where: str = "config.json") -> YoloxConfig:
        """The shape that a config.json describes.

        Raises:
            UserError: It describes another model, lacks a value or holds one of another kind.
        """
        kind = values.get("model_type")
        if kind != MODEL_TYPE:
            raise UserError(f"this is a model of type '{kind}', not '{MODEL_TYPE}'", where, "name a YOLOX model")
        try:
            table = {int(i): str(name) for i, name in values.get("id2label", {}).items()}
            height, width = values["image_size"]
            return cls(
                classes=int(values["num_labels"]),
                depth=float(values["depth"]),
                width=float(values["width"]),
                depthwise=bool(values["depthwise"]),
                size=(int(height), int(width)),
                names=tuple(table[i] for i in range(len(table))),
            )
        except (KeyError, TypeError, ValueError, AttributeError) as fault:
            what = f"config.json does not describe a YOLOX network: {type(fault).__name__} at {fault}"
            raise UserError(what, where, "fetch the model again") from None

    @classmethod
    def read(cls, folder: Path) -> YoloxConfig:
        """The shape of the model in a folder.

        Raises:
            UserError: There is no config.json, it is not JSON, or it describes something else.
        """
        file = folder / "config.json"
        try:
            values = json.loads(file.read_text(encoding="utf-8"))
        except FileNotFoundError:
            raise UserError(f"'{folder}' has no config.json", str(folder), "name a folder with a model") from None
        except (UnicodeDecodeError, json.JSONDecodeError) as fault:
            raise UserError(f"config.json is not JSON: {fault}", str(file), "fetch the model again") from None
        if not isinstance(values, dict):
            raise UserError("config.json is not a JSON object", str(file), "fetch the model again")
        return cls.from_json(values, str(file))


VARIANTS: Mapping[str, YoloxConfig] = {
    "nano": YoloxConfig(80, 0.33, 0.25, True, (416, 416)),
    "tiny": YoloxConfig(80, 0.33, 0.375, False, (416, 416)),
    "s": YoloxConfig(80, 0.33, 0.50, False, (640, 640)),
    "m": YoloxConfig(80, 0.67, 0.75, False, (640, 640)),
    "l": YoloxConfig(80, 1.0, 1.0, False, (640, 640)),
    "x": YoloxConfig(80, 1.33, 1.25, False, (640, 640)),
}
"""The published shapes, for the 80 classes of COCO."""
