"""Generated films with a bright spot and a box around it, and their table; no torch is needed."""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
import PIL.Image

HEIGHT, WIDTH = 200, 160
SPOT = 24
HEADER = ("file", "case", "side", "view", "left", "top", "right", "bottom")


def write_films(folder: Path, count: int, seed: int = 3) -> Path:
    """Write films of as many women, and return the table; every second chest wall is right."""
    random = np.random.default_rng(seed)
    (folder / "images").mkdir(parents=True, exist_ok=True)
    rows = list[tuple[object, ...]]()
    for number in range(count):
        side = "LR"[number % 2]
        y, x = np.mgrid[0:HEIGHT, 0:WIDTH]
        inside = (x / 120) ** 2 + ((y - HEIGHT / 2) / 85) ** 2 < 1
        texture = np.kron(random.normal(120, 12, (HEIGHT // 8, WIDTH // 8)), np.ones((8, 8)))
        film = np.where(inside, texture, random.normal(25, 4, (HEIGHT, WIDTH)))
        top, left = int(random.integers(50, HEIGHT - 80)), int(random.integers(8, 60))
        film[top : top + SPOT, left : left + SPOT] += 90
        if side == "R":
            film, left = film[:, ::-1], WIDTH - left - SPOT
        path = folder / "images" / f"{number}.png"
        PIL.Image.fromarray(np.clip(film, 0, 255).astype(np.uint8)).save(path)
        edges = (left / WIDTH, top / HEIGHT, (left + SPOT) / WIDTH, (top + SPOT) / HEIGHT)
        rows.append((path.name, f"case {number}", side, "CC", *(f"{edge:.4f}" for edge in edges)))
    table = folder / "boxes.csv"
    with table.open("w", newline="", encoding="utf-8") as file:
        csv.writer(file).writerows([HEADER, *rows])
    return table
