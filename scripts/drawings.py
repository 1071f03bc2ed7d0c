#!/usr/bin/env python3
"""Sixty small drawings of coloured cats, dogs, houses and trees, each beside its caption: a folder to try one's own pictures with.

    python3 scripts/drawings.py --out pictures [--count 60] [--seed 0] [--side 64]

Every (thing, colour) comes equally often, each time of another size and place, on a grey or white ground. Needs nothing but Python.
"""

import argparse
import os
import random
import struct
import zlib

COLOURS = {
    "red": (220, 40, 45),
    "blue": (40, 60, 220),
    "green": (40, 170, 65),
    "yellow": (230, 180, 35),
    "purple": (140, 60, 180),
}
BROWN, DARK = (92, 62, 44), (40, 40, 44)
SAMPLES = 3  # a side: edges are means of nine points


def ellipse(x, y, cx, cy, rx, ry):
    return ((x - cx) / rx) ** 2 + ((y - cy) / ry) ** 2 <= 1


def box(x, y, left, top, right, bottom):
    return left <= x <= right and top <= y <= bottom


def triangle(x, y, a, b, c):
    def side(p, q):
        return (q[0] - p[0]) * (y - p[1]) - (q[1] - p[1]) * (x - p[0])

    signs = [side(a, b), side(b, c), side(c, a)]
    return all(s >= 0 for s in signs) or all(s <= 0 for s in signs)


# Each thing says the colour at a point of its own square, sides from -1 to 1, or None where there is none of it.
def cat(x, y, colour):
    if ellipse(x, y, -0.22, -0.42, 0.07, 0.07) or ellipse(x, y, 0.22, -0.42, 0.07, 0.07):
        return DARK
    ears = triangle(x, y, (-0.5, -0.5), (-0.45, -1.0), (-0.1, -0.7)) or triangle(x, y, (0.5, -0.5), (0.45, -1.0), (0.1, -0.7))
    if ears or ellipse(x, y, 0, -0.4, 0.5, 0.42) or ellipse(x, y, 0, 0.45, 0.62, 0.55):
        return colour
    tail = ellipse(x, y, 0.75, 0.4, 0.25, 0.45) and not ellipse(x, y, 0.68, 0.34, 0.14, 0.36)
    return colour if tail else None


def dog(x, y, colour):
    if ellipse(x, y, 0.62, -0.42, 0.07, 0.07) or ellipse(x, y, 0.97, -0.28, 0.08, 0.07):
        return DARK
    if ellipse(x, y, 0.3, -0.25, 0.14, 0.34):  # a hanging ear
        return tuple(int(0.6 * value) for value in colour)
    legs = any(box(x, y, left, 0.3, left + 0.2, 0.95) for left in (-0.75, -0.45, 0.1, 0.38))
    body = box(x, y, -0.78, -0.15, 0.6, 0.45) or ellipse(x, y, 0.55, -0.35, 0.36, 0.34) or box(x, y, 0.6, -0.36, 1.0, -0.1)
    tail = triangle(x, y, (-0.7, -0.1), (-1.0, -0.75), (-0.6, 0.1))
    return colour if legs or body or tail else None


def house(x, y, colour):
    if triangle(x, y, (-1.0, -0.1), (1.0, -0.1), (0, -0.95)):
        return BROWN
    if box(x, y, -0.15, 0.35, 0.2, 0.95):
        return DARK
    if box(x, y, 0.4, 0.1, 0.68, 0.4) or box(x, y, -0.65, 0.1, -0.37, 0.4):
        return (250, 240, 190)
    return colour if box(x, y, -0.82, -0.1, 0.82, 0.95) else None


def tree(x, y, colour):
    if any(ellipse(x, y, cx, cy, 0.5, 0.48) for cx, cy in ((-0.4, -0.2), (0.4, -0.2), (0, -0.5))):
        return colour
    return BROWN if box(x, y, -0.14, -0.1, 0.14, 0.98) else None


THINGS = {"cat": cat, "dog": dog, "house": house, "tree": tree}


def draw(thing, colour, side, rng):
    """Rows of pixels, three bytes each."""
    size = rng.uniform(0.52, 0.78)
    cx, cy = (rng.uniform(size - 1, 1 - size) * 0.8 for _ in range(2))
    flip = rng.choice((-1, 1))
    ground = (rng.choice((196, 222, 248)) + rng.randrange(-6, 7),) * 3
    rows = bytearray()
    for row in range(side):
        for column in range(side):
            total = [0, 0, 0]
            for i in range(SAMPLES * SAMPLES):
                x = 2 * (column + (i % SAMPLES + 0.5) / SAMPLES) / side - 1
                y = 2 * (row + (i // SAMPLES + 0.5) / SAMPLES) / side - 1
                seen = THINGS[thing](flip * (x - cx) / size, (y - cy) / size, COLOURS[colour]) or ground
                total = [t + s for t, s in zip(total, seen)]
            rows.extend(min(255, round(t / SAMPLES**2)) for t in total)
    return bytes(rows)


def png(rows, side):
    def chunk(kind, body):
        return struct.pack(">I", len(body)) + kind + body + struct.pack(">I", zlib.crc32(kind + body))

    lines = b"".join(b"\0" + rows[3 * side * i : 3 * side * (i + 1)] for i in range(side))
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", zlib.compress(lines, 9)) + chunk(b"IEND", b"")


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--out", required=True)
    parser.add_argument("--count", type=int, default=60)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--side", type=int, default=64)
    args = parser.parse_args()
    os.makedirs(args.out, exist_ok=True)
    rng = random.Random(args.seed)
    pairs = [(thing, colour) for thing in THINGS for colour in COLOURS]
    for index in range(args.count):
        thing, colour = pairs[index % len(pairs)]
        stem = os.path.join(args.out, f"{index:03}-{colour}-{thing}")
        with open(stem + ".png", "wb") as file:
            file.write(png(draw(thing, colour, args.side, rng), args.side))
        with open(stem + ".txt", "w", encoding="utf-8") as file:
            file.write(f"a {colour} {thing}\n")
    print(f"{args.count} pictures with captions in {args.out}")


if __name__ == "__main__":
    main()
