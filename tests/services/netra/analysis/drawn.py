"""Draws fundus photographs, and round things that are none."""

from collections.abc import Callable

import cv2
import numpy as np
from numpy.typing import NDArray

Pixels = NDArray[np.uint8]

SIDE_PX = 960


def in_disc(pixels: NDArray[np.float32], radius: float = 0.42) -> Pixels:
    """Keep a disc in the middle and make the rest black."""
    height, width = pixels.shape[:2]
    rows, columns = np.mgrid[:height, :width]
    far = np.hypot(columns - width / 2, rows - height / 2) > radius * min(height, width)
    kept = np.where(far[..., None], 2.0, pixels)
    return np.asarray(np.clip(kept, 0, 255), np.uint8)


def shaded(colour: tuple[float, float, float], depth: float = 0.5) -> NDArray[np.float32]:
    """A ball of one colour, darker towards its rim."""
    rows, columns = np.mgrid[:SIDE_PX, :SIDE_PX]
    distance = np.hypot(columns - SIDE_PX / 2, rows - SIDE_PX / 2) / (0.42 * SIDE_PX)
    light = 1 - depth * np.clip(distance, 0, 1) ** 2
    return np.asarray(np.asarray(colour) * light[..., None], np.float32)


def texture(random: np.random.Generator, grain_px: float) -> NDArray[np.float32]:
    """Noise of one grain size, mean 0 and deviation 1, `(H, W, 1)`."""
    noise = cv2.GaussianBlur(random.normal(size=(SIDE_PX, SIDE_PX)), (0, 0), grain_px)
    return np.asarray((noise - noise.mean()) / noise.std(), np.float32)[..., None]


def fundus(random: np.random.Generator) -> Pixels:
    """A retina: red ground, a disc, and branching vessels that are darkest in green."""
    ground = shaded((170, 80, 25), 0.35) * (1 + 0.03 * texture(random, 40))
    vessels = np.zeros((SIDE_PX, SIDE_PX), np.float32)
    disc = (int(SIDE_PX * random.uniform(0.68, 0.74)), SIDE_PX // 2)
    for up in (-1, 1):
        for bend in (0.004, 0.008, 0.014, 0.022):
            thickness = int(random.integers(4, 10))
            point, angle = np.array(disc, float), up * 1.9
            trace = [point]
            for _ in range(90):
                angle += up * bend + random.normal(0, 0.06)
                point = point + 8 * np.array([np.cos(angle), np.sin(angle)])
                trace.append(point)
            line = np.round(trace).astype(np.int32)
            cv2.polylines(vessels, [line], False, 1.0, thickness, cv2.LINE_AA)
            for start in line[10::18]:
                side = random.uniform(0, 2 * np.pi) + np.cumsum(random.normal(0, 0.1, 14))
                steps = np.cumsum(8 * np.column_stack([np.cos(side), np.sin(side)]), axis=0)
                twig = np.round(start + steps).astype(np.int32)
                cv2.polylines(vessels, [twig], False, 1.0, 3, cv2.LINE_AA)
    soft = np.asarray(cv2.GaussianBlur(vessels, (0, 0), 1.0), np.float32)[..., None]
    cv2.circle(ground, disc, 55, (235, 185, 110), -1, cv2.LINE_AA)
    ground = ground * (1 - soft * np.array([0.10, 0.38, 0.30], np.float32))
    return in_disc(ground + random.normal(0, 1.5, ground.shape).astype(np.float32))


def plain_disc(random: np.random.Generator) -> Pixels:
    """One colour, often a retina's."""
    red = random.uniform(120, 230)
    return in_disc(shaded((red, red * random.uniform(0.2, 0.9), random.uniform(0, 60)), 0.0))


def orange(random: np.random.Generator) -> Pixels:
    """A fruit: pores, shine, a shaded rim."""
    ball = shaded((235, 140, 30), random.uniform(0.3, 0.7))
    grain = texture(random, random.uniform(1.5, 5))
    ball = ball * (1 - 0.08 * np.clip(grain, 0, 3))
    cv2.circle(ball, (380, 330), 60, (255, 240, 220), -1)
    return in_disc(np.asarray(cv2.GaussianBlur(ball, (0, 0), 1.5), np.float32))


def planet(random: np.random.Generator) -> Pixels:
    """Red ground with bands, cracks and craters."""
    ball = shaded((190, 105, 60), 0.5) * (1 + 0.12 * texture(random, random.uniform(6, 30)))
    for _ in range(int(random.integers(8, 30))):
        start = random.uniform(150, 800, 2)
        walk = np.cumsum(random.normal(0, 0.3, 20)) + random.uniform(0, 7)
        steps = np.cumsum(14 * np.column_stack([np.cos(walk), np.sin(walk)]), axis=0)
        crack = np.round(start + steps).astype(np.int32)
        cv2.polylines(ball, [crack], False, (95, 52, 30), int(random.integers(2, 7)), cv2.LINE_AA)
    return in_disc(ball)


def moon(random: np.random.Generator) -> Pixels:
    """Grey, with craters."""
    ball = shaded((200, 196, 188), 0.4) * (1 + 0.1 * texture(random, 15))
    for _ in range(60):
        x, y = (int(v) for v in random.uniform(120, 840, 2))
        cv2.circle(ball, (x, y), int(random.integers(3, 40)), (120, 118, 112), 3, cv2.LINE_AA)
    return in_disc(ball)


def plate(random: np.random.Generator) -> Pixels:
    """Rings and a drawn flower on a dark table."""
    dish = shaded((225, 190, 150), 0.1)
    for radius in (150, 260, 330, 390):
        cv2.circle(dish, (480, 480), radius, (150, 70, 40), int(random.integers(3, 9)), cv2.LINE_AA)
    for angle in np.linspace(0, 2 * np.pi, int(random.integers(5, 12)), endpoint=False):
        tip = (int(480 + 240 * np.cos(angle)), int(480 + 240 * np.sin(angle)))
        cv2.line(dish, (480, 480), tip, (140, 60, 40), 4, cv2.LINE_AA)
    return in_disc(dish)


def ball(random: np.random.Generator) -> Pixels:
    """A basketball: orange, with black seams."""
    leather = shaded((215, 110, 40), 0.5) * (1 + 0.05 * texture(random, 2))
    shift = int(random.integers(-60, 60))
    cv2.line(leather, (0, 480 + shift), (960, 480 - shift), (25, 15, 10), 9, cv2.LINE_AA)
    cv2.line(leather, (480 - shift, 0), (480 + shift, 960), (25, 15, 10), 9, cv2.LINE_AA)
    for x in (60, 900):
        cv2.ellipse(leather, (x, 480), (260, 420), 0, 0, 360, (25, 15, 10), 9, cv2.LINE_AA)
    return in_disc(leather)


def noise_disc(random: np.random.Generator) -> Pixels:
    """Noise in a retina's colours."""
    grain = texture(random, random.uniform(0.5, 12))
    colour = np.array([170, 80, 25], np.float32)
    return in_disc(colour * (1 + random.uniform(0.05, 0.4) * grain))


def noise(random: np.random.Generator) -> Pixels:
    """Noise without a disc."""
    return np.asarray(random.integers(0, 256, (SIDE_PX, SIDE_PX, 3)), np.uint8)


def stripes(random: np.random.Generator) -> Pixels:
    """A grating in a retina's colours."""
    columns = np.arange(SIDE_PX) / random.uniform(6, 30)
    wave = np.sin(columns)[None, :, None] * random.uniform(0.1, 0.4)
    return in_disc(shaded((170, 80, 25), 0.3) * (1 + wave.astype(np.float32)))


NOT_FUNDUS: tuple[Callable[[np.random.Generator], Pixels], ...] = (
    plain_disc,
    orange,
    planet,
    moon,
    plate,
    ball,
    noise_disc,
    noise,
    stripes,
)


def tinted_in_disc(pixels: Pixels) -> Pixels:
    """Any picture, in a retina's colours and seen through a round window."""
    gray = cv2.cvtColor(cv2.resize(pixels, (SIDE_PX, SIDE_PX)), cv2.COLOR_RGB2GRAY)
    colour = np.array([1.3, 0.62, 0.2], np.float32)
    return in_disc(gray[..., None].astype(np.float32) * colour)
