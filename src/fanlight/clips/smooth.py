"""Landmarks over time: the One-Euro filter, and figures for what it removes (jitter) and what it costs (lag).

All are free of scale: speeds and figures are in face sizes, where a face's size is the geometric mean of the width
and height of its landmarks' bounding box.
"""

from __future__ import annotations

import math
from collections import deque
from dataclasses import dataclass

import numpy as np
from numpy.typing import ArrayLike

from fanlight.clips.association import face_size
from fanlight.errors import InputError
from fanlight.geometry import Floats

JITTER_FRAMES = 4
"""Frames in a row that ``Jitter`` compares: three would count a steady acceleration as jitter."""


@dataclass(frozen=True)
class OneEuro:
    """Settings of the One-Euro filter.

    Attributes:
        min_cutoff_hz: cutoff frequency at rest, > 0. Lower: less jitter, more lag in slow movements. beta:
        rise of the cutoff in Hz for each face size per second, >= 0. Higher: less lag in fast movements.
        speed_cutoff_hz: cutoff frequency of the filter that the speed goes through, > 0.
    """

    min_cutoff_hz: float = 1.0
    beta: float = 20.0
    speed_cutoff_hz: float = 1.0

    def __post_init__(self) -> None:
        problems = [
            f"{name} = {value}: must be a finite number {bound} 0"
            for name, value, bound in (
                ("min_cutoff_hz", self.min_cutoff_hz, ">"),
                ("beta", self.beta, ">="),
                ("speed_cutoff_hz", self.speed_cutoff_hz, ">"),
            )
            if not (math.isfinite(value) and (value > 0 or (bound == ">=" and value == 0)))
        ]
        if problems:
            raise InputError.collect(problems, "the filter cannot be used:")


class Smoother:
    """One face's landmarks, smoothed as they come: each frame's result needs none of the later ones.

    A first-order low-pass filter whose cutoff rises with the landmark's speed: slow points are held still,
    fast ones followed. Time is taken from the frames' own time stamps, so a variable frame rate is handled as
    it is.

    Args:
        settings: of the filter.

    Source: G. Casiez, N. Roussel, D. Vogel: 1 Euro Filter, CHI 2012. There each coordinate has a cutoff of its
        own, in units of the signal. Here x and y of a landmark share one, driven by its speed in face sizes per
        second, so that turning or scaling the clip turns and scales the result. As there, the speed is that from
        the last result to the new measurement.
    """

    def __init__(self, settings: OneEuro | None = None) -> None:
        self.settings = settings or OneEuro()
        self._last: tuple[float, Floats, Floats] | None = None

    def __call__(self, landmarks: ArrayLike, time_s: float) -> Floats:
        """Smooth the next frame's landmarks.

        Args:
            landmarks: (L, 2), px.
            time_s: seconds, more than at the call before.

        Returns:
            (L, 2), px; the first frame's as they are.

        Raises:
            ValueError: time does not move forward.
        """
        found = np.array(landmarks, np.float64)
        if self._last is None:
            self._last = time_s, found, np.zeros_like(found)
            return found.copy()
        then, smooth, velocity = self._last
        elapsed = time_s - then
        if not elapsed > 0:
            raise ValueError(f"the frame at {time_s} s comes after that at {then} s: times must increase")
        settings, size = self.settings, max(face_size(found), 1e-9)
        follow = _share(settings.speed_cutoff_hz, elapsed)
        velocity = velocity + follow * ((found - smooth) / (elapsed * size) - velocity)
        speed = np.hypot(velocity[:, :1], velocity[:, 1:])
        smooth = smooth + _share(settings.min_cutoff_hz + settings.beta * speed, elapsed) * (found - smooth)
        self._last = time_s, smooth, velocity
        return smooth.copy()


def _share(cutoff_hz: ArrayLike, elapsed: float) -> Floats:
    """How much of a new value a first-order low-pass filter takes over, after ``elapsed`` seconds."""
    turns = 2 * math.pi * elapsed * np.asarray(cutoff_hz, np.float64)
    return np.asarray(turns / (turns + 1))


def third_difference(times: ArrayLike, places: ArrayLike) -> Floats:
    """How far four frames are from even acceleration: d of ``Jitter``.

    Args:
        times: (4,), in any unit, increasing.
        places: (4, ...), in each frame.

    Returns:
        (...), in the unit of the places.
    """
    times = np.asarray(times, np.float64)
    apart = times[:, None] - times + np.eye(len(times))
    weights = 1 / apart.prod(1)
    return np.asarray(np.tensordot(weights / np.linalg.norm(weights), np.asarray(places, np.float64), 1))


class Jitter:
    """How much landmarks tremble from frame to frame, in % of the face's size.

    Four frames in a row are compared with a parabola through time: d = sum of w_i p(t_i), where the w_i are
    those of the third divided difference, w_i = 1 / prod (t_i - t_j), scaled to sum w_i^2 = 1. At even times
    they are (-1, 3, -3, 1) / sqrt(20). A place at rest, in even motion or in even acceleration gives d = 0
    exactly, whatever the frame rate; a place with independent noise of variance s^2 in each frame gives d a
    variance of s^2. So

        jitter = 100 * sqrt(mean over landmarks, frames and faces of |d|^2 / size^2)

    is the rms distance by which such noise moves a landmark. Noise that is alike in neighbouring frames counts for
    less; smoothing makes noise so, and the figure after it is what the eye sees tremble, not the whole error.
    """

    def __init__(self) -> None:
        self._recent: dict[int, deque[tuple[int, float, Floats]]] = {}
        self._sum, self._count = 0.0, 0

    def add(self, face: int, number: int, time_s: float, landmarks: ArrayLike) -> None:
        """Count in a face's landmarks (L, 2) in frame ``number``; a missing frame starts its row anew."""
        recent = self._recent.setdefault(face, deque(maxlen=JITTER_FRAMES))
        if recent and recent[-1][0] != number - 1:
            recent.clear()
        recent.append((number, time_s, np.asarray(landmarks, np.float64)))
        self._forget(number)
        if len(recent) < JITTER_FRAMES:
            return
        places = np.stack([place for _, _, place in recent])
        size = face_size(places.mean(0))
        if size > 0:
            moved = third_difference([time for _, time, _ in recent], places) / size
            self._sum += float((moved**2).sum())
            self._count += len(moved)

    @property
    def percent(self) -> float | None:
        """The figure; None before any face was seen in four frames in a row."""
        return 100 * math.sqrt(self._sum / self._count) if self._count else None

    def _forget(self, number: int) -> None:
        """Drop the faces that are no longer seen, so that a long clip needs no more room than a short one."""
        for face in [face for face, recent in self._recent.items() if recent[-1][0] < number - 1]:
            del self._recent[face]


class Lag:
    """How many frames the smoothed landmarks are behind, where faces move.

    The time by which the smoothed centre of a face is behind the measured one along its own way: the lag that
    explains their differences best by least squares, difference = lag * velocity, over all frames and faces, in
    units of the mean time between frames.
    """

    MOVING = 0.05
    """Slower than this, in face sizes per second (rms), nothing can be said."""

    def __init__(self) -> None:
        self._last: dict[int, tuple[int, float, Floats]] = {}
        self._along, self._squares, self._elapsed, self._count = 0.0, 0.0, 0.0, 0

    def add(self, face: int, number: int, time_s: float, measured: ArrayLike, smoothed: ArrayLike) -> None:
        """Count in a face's landmarks (L, 2) in frame ``number``, before and after smoothing."""
        before, after = (np.asarray(places, np.float64).mean(0) for places in (measured, smoothed))
        size, last = face_size(measured), self._last.get(face)
        if last is not None and last[0] == number - 1 and size > 0:
            elapsed = time_s - last[1]
            velocity = (after - last[2]) / elapsed / size
            self._along += float(velocity @ (before - after)) / size
            self._squares += float(velocity @ velocity)
            self._elapsed += elapsed
            self._count += 1
        self._last[face] = number, time_s, after
        for gone in [key for key, value in self._last.items() if value[0] < number - 1]:
            del self._last[gone]

    @property
    def frames(self) -> float | None:
        """The figure; None where faces hardly move."""
        if not self._count or math.sqrt(self._squares / self._count) < self.MOVING:
            return None
        return self._along / self._squares / (self._elapsed / self._count)
