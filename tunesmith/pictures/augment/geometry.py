"""Maps of the plane as 3x3 matrices, and what they do to points, boxes and outlines. It knows no pixel values.

Coordinates are continuous and in pixels: a pixel's centre lies at its index plus one half. A matrix maps points of the
source picture to points of the result; the product ``b @ a`` does ``a`` first.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tunesmith.pictures.augment.sample import Outline, Size

HORIZON = 1e-6
"""Points whose third coordinate is below this lie on or behind the horizon of a perspective."""


def translation(across: float, down: float) -> np.ndarray:
    """A shift in pixels."""
    return np.array([[1.0, 0.0, across], [0.0, 1.0, down], [0.0, 0.0, 1.0]])


def scaling(across: float, down: float) -> np.ndarray:
    """A scaling about the origin; negative factors mirror."""
    return np.diag([across, down, 1.0])


def rotation(degrees: float) -> np.ndarray:
    """A rotation about the origin, clockwise on the screen."""
    angle = np.deg2rad(degrees)
    cos, sin = float(np.cos(angle)), float(np.sin(angle))
    return np.array([[cos, -sin, 0.0], [sin, cos, 0.0], [0.0, 0.0, 1.0]])


def about(matrix: np.ndarray, centre: tuple[float, float]) -> np.ndarray:
    """The same map with ``centre`` in the place of the origin."""
    moved: np.ndarray = translation(*centre) @ matrix @ translation(-centre[0], -centre[1])
    return moved


def quarter_turns(turns: int, size: Size) -> tuple[np.ndarray, Size]:
    """So many turns by 90 degrees clockwise: the matrix, which maps pixels onto pixels, and the turned picture's size.

    Args:
        turns: 0 to 3.
        size: Height and width of the picture that is turned.
    """
    height, width = size
    quarter = np.array(
        [
            [[1, 0, 0], [0, 1, 0], [0, 0, 1]],
            [[0, -1, height], [1, 0, 0], [0, 0, 1]],
            [[-1, 0, width], [0, -1, height], [0, 0, 1]],
            [[0, 1, 0], [-1, 0, width], [0, 0, 1]],
        ],
        dtype=np.float64,
    )[turns]
    return quarter, (width, height) if turns % 2 else (height, width)


def from_corners(source: np.ndarray, target: np.ndarray) -> np.ndarray:
    """The perspective that maps four points to four others.

    Args:
        source: float [4, 2], no three of them on a line.
        target: float [4, 2], where they go.
    """
    x, y = source[:, 0], source[:, 1]
    one, none = np.ones(4), np.zeros(4)
    first = np.stack([x, y, one, none, none, none, -x * target[:, 0], -y * target[:, 0]], 1)
    second = np.stack([none, none, none, x, y, one, -x * target[:, 1], -y * target[:, 1]], 1)
    found = np.linalg.solve(np.concatenate([first, second]), np.concatenate([target[:, 0], target[:, 1]]))
    return np.append(found, 1.0).reshape(3, 3)


def corners(boxes: np.ndarray) -> np.ndarray:
    """The four corners of each box: [n, 4] to float64 [n, 4, 2], around the box."""
    return boxes.astype(np.float64)[:, [[0, 1], [2, 1], [2, 3], [0, 3]]]


def lifted(points: np.ndarray, matrix: np.ndarray) -> np.ndarray:
    """Points [..., 2] through a matrix as homogeneous coordinates [..., 3], not divided."""
    lift: np.ndarray = points @ matrix[:, :2].T + matrix[:, 2]
    return lift


def map_points(matrix: np.ndarray, points: np.ndarray) -> np.ndarray:
    """Points [..., 2] through a matrix; they must lie before the horizon."""
    lift = lifted(points, matrix)
    found: np.ndarray = lift[..., :2] / lift[..., 2:]
    return found


def is_upright(matrix: np.ndarray) -> bool:
    """Whether a matrix keeps rows as rows and columns as columns: scaling, mirroring and shifting alone."""
    turned = abs(matrix[0, 1]) + abs(matrix[1, 0])
    return bool(turned < 1e-9 * (abs(matrix[0, 0]) + abs(matrix[1, 1])) and is_affine(matrix))


def is_affine(matrix: np.ndarray) -> bool:
    """Whether a matrix keeps parallels parallel."""
    return bool(abs(matrix[2, 0]) + abs(matrix[2, 1]) < 1e-12 * abs(matrix[2, 2]))


def move_boxes(
    matrix: np.ndarray, boxes: np.ndarray, size: Size, outlines: Sequence[Outline] | None = None
) -> tuple[np.ndarray, np.ndarray, tuple[Outline, ...] | None]:
    """Boxes through a matrix and cut at the edges of the result.

    A box becomes the bounding box of what is left of its corners' polygon after cutting, or of its object's outline
    where that is known. The polygon is cut as such, so the box holds nothing that does not show.

    Args:
        matrix: From source to result.
        boxes: [n, 4].
        size: Of the result.
        outlines: Of the n objects, if known; one without rings is taken for a full box.

    Returns:
        Boxes float32 [n, 4] (zeros where nothing is left), the share of each object's area that is left float64 [n],
        and the outlines as cut.
    """
    n = len(boxes)
    rings = corners(boxes)
    if outlines is None:
        points = lifted(rings, matrix)
        if _inside(points, size):
            flat = points[..., :2] / points[..., 2:]
            return np.concatenate([flat.min(1), flat.max(1)], 1).astype(np.float32), np.ones(n), None
    out, shares, cut = np.zeros((n, 4), dtype=np.float32), np.zeros(n), []
    for i in range(n):
        known = tuple(outlines[i]) if outlines is not None else ()
        pieces, shares[i] = _cut_outline(known or (rings[i],), matrix, size)
        if pieces:
            points = np.concatenate(pieces)
            out[i] = (*points.min(0), *points.max(0))
        cut.append(tuple(piece.astype(np.float32) for piece in pieces) if known else ())
    # Where a side meets an edge is exact but for rounding.
    out = np.clip(out, 0, np.array([size[1], size[0], size[1], size[0]], dtype=np.float32))
    return out, shares, tuple(cut) if outlines is not None else None


def _inside(points: np.ndarray, size: Size) -> bool:
    """Whether homogeneous points all lie before the horizon and within the picture."""
    w = points[..., 2]
    if not (w > HORIZON).all():
        return False
    x, y = points[..., 0], points[..., 1]
    return bool((x >= 0).all() and (y >= 0).all() and (x <= w * size[1]).all() and (y <= w * size[0]).all())


def _cut_outline(rings: Outline, matrix: np.ndarray, size: Size) -> tuple[list[np.ndarray], float]:
    """Rings through a matrix and cut: what is left of them [points, 2], and which share of the area."""
    # The share is taken in the source: behind a horizon the result would have no area to compare with.
    back = np.linalg.inv(matrix)
    pieces, before, after = [], 0.0, 0.0
    for given in rings:
        ring = np.asarray(given, dtype=np.float64)
        points = lifted(ring, matrix)
        area = _area(ring)
        before += area
        if not _inside(points, size):
            points = _cut(points, size)
            if len(points) < 3:
                continue
            area = _area(map_points(back, points[:, :2] / points[:, 2:]))
        after += area
        pieces.append(points[:, :2] / points[:, 2:])
    return pieces, min(1.0, after / before) if before > 0 else 0.0


def _area(ring: np.ndarray) -> float:
    x, y = ring[:, 0] - ring[0, 0], ring[:, 1] - ring[0, 1]
    return 0.5 * abs(float(x @ np.roll(y, -1) - y @ np.roll(x, -1)))


def _cut(points: np.ndarray, size: Size) -> np.ndarray:
    """A polygon in homogeneous coordinates [points, 3], cut at the horizon and at the picture's four edges.

    One edge after the other takes away what lies outside (Sutherland and Hodgman, 1974); in homogeneous coordinates
    every edge is a plane, and where a side meets it is exact under a perspective too.
    """
    height, width = size
    # The four edges hold off what lies behind; the first plane keeps from dividing by nothing.
    planes = ((0, 0, 1, HORIZON), (1, 0, 0, 0), (-1, 0, width, 0), (0, 1, 0, 0), (0, -1, height, 0))
    for x, y, w, beyond in planes:
        depth = points @ np.array([x, y, w], dtype=np.float64) - beyond
        keep = depth >= 0
        if keep.all():
            continue
        if not keep.any():
            return points[:0]
        after = np.roll(depth, -1)
        crosses = keep != (after >= 0)
        step = np.where(crosses, depth / np.where(crosses, depth - after, 1.0), 0.0)[:, None]
        met = points + step * (np.roll(points, -1, 0) - points)
        # Each point that is kept, followed by where the side after it meets the edge.
        both = np.stack([points, met], 1).reshape(-1, 3)
        points = both[np.stack([keep, crosses], 1).ravel()]
    return points
