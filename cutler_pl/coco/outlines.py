"""Masks as polygons: rings along the edges of pixels, so that whoever fills them by pixel centers gets the mask back.

A hole is joined to the outline around it by a bridge, a way there and back along one line, which has no area: a single
ring then says all. Pixels that touch at a corner only are parts of their own.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from jaxtyping import Int32, Int64, UInt8

from cutler_pl.coco import rle as run_lengths
from cutler_pl.coco.schema import RLE
from cutler_pl.runtime.numba_jit import njit_cached


class Crop(NamedTuple):
    """The pixels of a mask within its extent, with a border of zeros, whose upper-left pixel is at `left`, `top`."""

    left: int
    top: int
    pixels: UInt8[np.ndarray, "height width"]


def crops(masks: Sequence[RLE]) -> list[Crop | None]:
    """The extent of each mask, of one image; None for one without pixels.

    Raises:
        ValueError: Counts do not add up to their size.
    """
    sizes = run_lengths.sizes_hw(masks)
    scanned = run_lengths.scan([mask["counts"] for mask in masks], sizes)
    if not scanned.consistent.all():
        raise ValueError("run lengths do not add up to their size")
    found: list[Crop | None] = []
    for mask, area, box in zip(masks, scanned.areas.tolist(), scanned.boxes.tolist(), strict=True):
        if not area:
            found.append(None)
            continue
        left, top, right, bottom = box
        pixels = np.zeros((bottom - top + 2, right - left + 2), dtype=np.uint8)
        njit_cached(_draw)(run_lengths.counts(mask), mask["size"][0], left, top, pixels)
        found.append(Crop(left - 1, top - 1, pixels))
    return found


def rings(crop: Crop, *, joined: bool = False) -> list[Int32[np.ndarray, "points 2"]]:
    """One ring of xy points for each part of a mask, its holes bridged; clockwise as seen on the screen.

    Args:
        crop: The mask.
        joined: Bridge the parts, too: one ring in all.
    """
    points, ends = njit_cached(_trace)(crop.pixels, joined)
    points += np.array([crop.left, crop.top], dtype=np.int32)
    return np.split(points, ends[:-1])


def _draw(
    counts: Int64[np.ndarray, " runs"], height: int, left: int, top: int, pixels: UInt8[np.ndarray, "h w"]
) -> None:
    """Draw the runs of a mask, whose extent begins at `left`, `top`, inside the border."""
    start = 0
    for index, count in enumerate(counts):
        if index % 2:
            for pixel in range(start, start + count):
                pixels[pixel % height - top + 1, pixel // height - left + 1] = 1
        start += count


def _trace(
    mask: UInt8[np.ndarray, "height width"], joined: bool
) -> tuple[Int32[np.ndarray, "points 2"], Int64[np.ndarray, " rings"]]:
    """Points of all rings, and where each ends.

    Every edge between a pixel of the mask and one outside is a step with the mask on its right. The steps are nodes of
    linked rings; a bridge splices two rings by a copy of either end.
    """
    height, width = mask.shape
    edges = 0
    for y in range(1, height - 1):
        for x in range(1, width - 1):
            if mask[y, x]:
                edges += 4 - mask[y - 1, x] - mask[y + 1, x] - mask[y, x - 1] - mask[y, x + 1]
    most = edges // 4 + 1
    nodes = np.empty((edges + 2 * most, 2), dtype=np.int32)
    following, previous = np.empty(len(nodes), dtype=np.int64), np.empty(len(nodes), dtype=np.int64)
    node_at = np.empty((height + 1, width + 1), dtype=np.int64)
    visited = np.zeros((height, width), dtype=np.bool_)
    first, is_hole = np.empty(most + 1, dtype=np.int64), np.empty(most, dtype=np.bool_)
    count = num_rings = 0
    for top in range(1, height - 1):
        for start in range(1, width - 1):
            if not mask[top, start] or mask[top - 1, start] or visited[top, start]:
                continue
            first[num_rings] = count
            y, x, dy, dx, area = top, start, 0, 1, 0
            while True:
                if dx == 1:
                    visited[y, x] = True
                nodes[count, 0], nodes[count, 1] = x, y
                node_at[y, x] = count
                previous[count], following[count] = count - 1, count + 1
                count += 1
                y, x = y + dy, x + dx
                area += x * dy
                # the pixels ahead, right and left of the way
                if not mask[y + (dy + dx - 1) // 2, x + (dx - dy - 1) // 2]:
                    dy, dx = dx, -dy
                elif mask[y + (dy - dx - 1) // 2, x + (dx + dy - 1) // 2]:
                    dy, dx = -dx, dy
                if y == top and x == start and dx == 1:
                    break
            previous[first[num_rings]], following[count - 1] = count - 1, first[num_rings]
            is_hole[num_rings] = area < 0
            num_rings += 1
    first[num_rings] = count
    for ring in range(num_rings):
        source = target = first[ring]
        if is_hole[ring]:  # straight up from its upper-left corner, until a ring is met
            for node in range(first[ring], first[ring + 1]):
                if nodes[node, 1] < nodes[source, 1] or (
                    nodes[node, 1] == nodes[source, 1] and nodes[node, 0] < nodes[source, 0]
                ):
                    source = node
            x, y = nodes[source, 0], nodes[source, 1] - 1
            while mask[y - 1, x - 1] and mask[y - 1, x]:
                y -= 1
            target = node_at[y, x]
        elif joined and ring:  # to the nearest of the nodes before, of which far ones are not looked at
            nearest = np.int64(2**62)
            for node in range(first[ring], first[ring + 1], 1 + (first[ring + 1] - first[ring]) // 1024):
                for other in range(max(0, first[ring] - 4096), first[ring]):
                    apart = np.int64(nodes[node, 0] - nodes[other, 0]) ** 2
                    apart += np.int64(nodes[node, 1] - nodes[other, 1]) ** 2
                    if apart < nearest:
                        nearest, source, target = apart, node, other
        if target != source:
            nodes[count], nodes[count + 1] = nodes[source], nodes[target]
            before, behind = previous[source], following[target]
            following[before], previous[count] = count, before
            following[count], previous[count + 1] = count + 1, count
            following[count + 1], previous[behind] = behind, count + 1
            following[target], previous[source] = source, target
            count += 2
    points, ends, kept, num_ends = np.empty((count, 2), dtype=np.int32), np.empty(num_rings, dtype=np.int64), 0, 0
    for ring in range(num_rings):
        if is_hole[ring] or (joined and ring):
            continue
        node = first[ring]
        while True:
            here, ahead, back = nodes[node], nodes[following[node]], nodes[previous[node]]
            ax, ay, bx, by = ahead[0] - here[0], ahead[1] - here[1], here[0] - back[0], here[1] - back[1]
            straight = ax * by == ay * bx and ax * bx + ay * by > 0
            if not straight:
                points[kept] = here
                kept += 1
            node = following[node]
            if node == first[ring]:
                break
        ends[num_ends] = kept
        num_ends += 1
    return points[:kept], ends[:num_ends]
