"""Render the sample images that README and the tests use: a small ray-traced still life, made by this project.

`python tests/samples/make_samples.py` writes them beside this file, the same bytes each time. They carry the project's
licence, so they may be shown and shipped; photos of the development data may not.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

Array = npt.NDArray[np.float64]

HEIGHT, WIDTH = 144, 192
SAMPLES_PER_SIDE = 4
LIGHT = np.array([-0.55, 0.75, -0.36]) / np.linalg.norm([-0.55, 0.75, -0.36])
EYE = np.array([0.0, 1.25, -4.2])


@dataclass(frozen=True, kw_only=True)
class Ball:
    """A sphere whose colour alternates along a direction, so that edges of every angle and width are in the image."""

    centre: tuple[float, float, float]
    radius: float
    colours: tuple[tuple[float, float, float], tuple[float, float, float]]
    axis: tuple[float, float, float]
    stripes: float
    mirror: float


BALLS = (
    Ball(
        centre=(-1.25, 0.7, 0.6),
        radius=0.7,
        colours=((0.86, 0.30, 0.16), (0.96, 0.82, 0.52)),
        axis=(0.3, 1, 0.1),
        stripes=9,
        mirror=0.05,
    ),
    Ball(
        centre=(0.35, 0.95, 1.3),
        radius=0.95,
        colours=((0.55, 0.6, 0.66), (0.55, 0.6, 0.66)),
        axis=(1, 0, 0),
        stripes=1,
        mirror=0.6,
    ),
    Ball(
        centre=(1.25, 0.42, -0.35),
        radius=0.42,
        colours=((0.10, 0.32, 0.55), (0.90, 0.93, 0.95)),
        axis=(1, 0.2, 0.5),
        stripes=14,
        mirror=0.1,
    ),
    Ball(
        centre=(-0.35, 0.28, -0.75),
        radius=0.28,
        colours=((0.20, 0.45, 0.22), (0.75, 0.80, 0.30)),
        axis=(0, 0.4, 1),
        stripes=22,
        mirror=0.0,
    ),
)


def sky(direction: Array) -> Array:
    """Shade rays (n, 3) that leave the scene: a warm horizon under a blue zenith."""
    height = np.clip(direction[:, 1:2], 0, 1) ** 0.5
    return (1 - height) * np.array([0.97, 0.83, 0.68]) + height * np.array([0.24, 0.43, 0.72])


def floor_colour(point: Array) -> Array:
    """Shade floor points (n, 3): square tiles with thin joints and a little grain."""
    x, z = point[:, 0] * 1.6, point[:, 2] * 1.6
    even = (np.floor(x) + np.floor(z)) % 2
    colour = np.where(even[:, None] > 0, [0.80, 0.76, 0.69], [0.36, 0.27, 0.23])
    joint = np.minimum(np.abs(x - np.round(x)), np.abs(z - np.round(z))) < 0.025
    grain = 0.94 + 0.06 * np.sin(37 * x + 5 * np.sin(11 * z))
    return np.where(joint[:, None], 0.18, colour * grain[:, None])


def hit_balls(origin: Array, direction: Array) -> tuple[Array, npt.NDArray[np.intp]]:
    """Return the nearest distance along each ray (inf for none) and the index of the ball hit."""
    nearest = np.full(len(origin), np.inf)
    which = np.full(len(origin), -1)
    for index, ball in enumerate(BALLS):
        offset = origin - np.array(ball.centre)
        half_b = (offset * direction).sum(1)
        root = half_b**2 - (offset**2).sum(1) + ball.radius**2
        distance = -half_b - np.sqrt(np.maximum(root, 0))
        closer = (root > 0) & (distance > 1e-4) & (distance < nearest)
        nearest[closer], which[closer] = distance[closer], index
    return nearest, which


def trace(origin: Array, direction: Array, bounces: int = 3) -> Array:
    """Return linear RGB (n, 3) seen along the rays."""
    colour = sky(direction)
    distance, which = hit_balls(origin, direction)
    with np.errstate(divide="ignore"):
        floor_distance = np.where(direction[:, 1] < -1e-6, -origin[:, 1] / direction[:, 1], np.inf)
    on_floor = floor_distance < np.minimum(distance, 40)
    on_ball = (which >= 0) & ~on_floor
    for mask, is_floor in ((on_floor, True), (on_ball, False)):
        if not mask.any():
            continue
        along = (floor_distance if is_floor else distance)[mask]
        point = origin[mask] + along[:, None] * direction[mask]
        if is_floor:
            normal = np.broadcast_to(np.array([0.0, 1.0, 0.0]), point.shape)
            surface, mirror = floor_colour(point), np.full(len(point), 0.08)
        else:
            normal, surface, mirror = ball_surface(point, which[mask])
        colour[mask] = shade(point, normal, surface, mirror, direction[mask], bounces)
        if is_floor:
            haze = np.exp(-along / 14)[:, None]
            colour[mask] = haze * colour[mask] + (1 - haze) * sky(direction[mask] * [1, 0, 1])
    return colour


def ball_surface(point: Array, which: npt.NDArray[np.intp]) -> tuple[Array, Array, Array]:
    """Return the normals (n, 3), colours (n, 3) and mirror shares (n,) of points on the balls."""
    normal, surface, mirror = np.empty_like(point), np.empty_like(point), np.empty(len(point))
    for index, ball in enumerate(BALLS):
        mine = which == index
        normal[mine] = (point[mine] - np.array(ball.centre)) / ball.radius
        axis = np.array(ball.axis) / np.linalg.norm(ball.axis)
        second = (np.arcsin(np.clip(normal[mine] @ axis, -1, 1)) / np.pi + 0.5) * ball.stripes % 1 > 0.5
        surface[mine] = np.where(second[:, None], ball.colours[1], ball.colours[0])
        mirror[mine] = ball.mirror
    return normal, surface, mirror


def shade(point: Array, normal: Array, surface: Array, mirror: Array, direction: Array, bounces: int) -> Array:
    """Light surface points (n, 3): sun with hard shadows, sky light, a highlight, and mirrored rays."""
    lifted = point + 1e-3 * normal
    blocked = np.isfinite(hit_balls(lifted, np.broadcast_to(LIGHT, point.shape))[0])
    sun = np.where(blocked, 0, np.clip(normal @ LIGHT, 0, 1))
    reflected = direction - 2 * (direction * normal).sum(1)[:, None] * normal
    gloss = np.where(blocked, 0, np.clip(reflected @ LIGHT, 0, 1) ** 60)
    lit = surface * (0.26 + 0.9 * sun[:, None]) + 0.5 * gloss[:, None] * (mirror[:, None] > 0)
    if bounces and (mirror > 0).any():
        lit = (1 - mirror[:, None]) * lit + mirror[:, None] * trace(lifted, reflected, bounces - 1)
    return lit


def render(height: int = HEIGHT, width: int = WIDTH) -> npt.NDArray[np.uint8]:
    """Return the still life as sRGB, uint8 (height, width, 3)."""
    rows, columns = height * SAMPLES_PER_SIDE, width * SAMPLES_PER_SIDE
    y, x = np.meshgrid((np.arange(rows) + 0.5) / rows, (np.arange(columns) + 0.5) / columns, indexing="ij")
    aspect = width / height
    direction = np.stack([(2 * x - 1) * aspect * 0.52, (1 - 2 * y) * 0.52 - 0.19, np.ones_like(x)], -1).reshape(-1, 3)
    direction /= np.linalg.norm(direction, axis=1, keepdims=True)
    linear = trace(np.broadcast_to(EYE, direction.shape), direction)
    linear = linear.reshape(height, SAMPLES_PER_SIDE, width, SAMPLES_PER_SIDE, 3).mean((1, 3))
    srgb = np.clip(linear, 0, 1) ** (1 / 2.2)
    return np.asarray(np.rint(srgb * 255), dtype=np.uint8)


def rain(random: np.random.RandomState, streaks: int = 90, slope: float = 0.25) -> Array:
    """Return the light (HEIGHT, WIDTH), 0..1, that soft streaks of rain of one direction add."""
    fine = SAMPLES_PER_SIDE
    layer = np.zeros((HEIGHT * fine, WIDTH * fine))
    for _ in range(streaks):
        top, left = random.uniform(-20, HEIGHT) * fine, random.uniform(-20, WIDTH) * fine
        strength, length = random.uniform(0.15, 0.5), random.uniform(8, 24) * fine
        for step in np.arange(0, length, 0.5):
            row, column = int(top + step), int(left + slope * step)
            light = strength * np.sin(np.pi * step / length)  # fades in and out along its way
            if 0 <= row < layer.shape[0] and 0 <= column < layer.shape[1] - fine:
                layer[row, column : column + fine] = np.maximum(layer[row, column : column + fine], light)
    return layer.reshape(HEIGHT, fine, WIDTH, fine).mean((1, 3))


def shaken(clean: npt.NDArray[np.uint8], reach: float = 7.0, steps: int = 64) -> Array:
    """Return an image (H, W, 3), 0..255, of a hand that swings along a quarter of an ellipse, in linear light."""
    margin = int(reach) + 2
    light = np.pad((clean / 255.0) ** 2.2, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    height, width = clean.shape[:2]
    exposed = np.zeros(clean.shape)
    angles = np.linspace(0, np.pi / 2, steps)
    path = reach * np.stack([0.5 * np.sin(angles), np.cos(angles)], -1)
    for down, across in margin + path - path.mean(0):  # what does not move on the whole can be compared
        top, left = int(down), int(across)
        for row, row_share in ((top, 1 - down % 1), (top + 1, down % 1)):
            for column, share in ((left, 1 - across % 1), (left + 1, across % 1)):
                exposed += row_share * share * light[row : row + height, column : column + width]
    return np.asarray(255 * (exposed / steps) ** (1 / 2.2))


def main() -> None:
    """Write every sample beside this file."""
    folder = Path(__file__).resolve().parent
    clean = render()
    random = np.random.RandomState(0)
    images = {
        "still_life.png": clean,
        "still_life_noisy.png": clean + 25 * random.standard_normal(clean.shape),
        "still_life_rain.png": clean + 255 * rain(random)[..., None],
        "still_life_dark.png": 90 * (clean / 255.0) ** 1.6 + 2 * random.standard_normal(clean.shape),
        "still_life_shaken.png": shaken(clean) + random.standard_normal(clean.shape),
    }
    for name, pixels in images.items():
        rounded = np.clip(np.rint(pixels), 0, 255).astype(np.uint8)
        Image.fromarray(rounded).save(folder / name, optimize=True)
    Image.fromarray(clean).save(folder / "still_life_web.jpg", quality=25, subsampling=2)


if __name__ == "__main__":
    main()
