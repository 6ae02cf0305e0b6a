"""The One-Euro filter and its figures, on faces whose true places are known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from numpy.typing import NDArray

from fanlight.clips.smooth import Jitter, Lag, OneEuro, Smoother
from fanlight.errors import InputError

FACE = np.random.default_rng(3).uniform(0, 1, (20, 2)) * (80, 100)
SIZE = float(np.sqrt(np.ptp(FACE, axis=0).prod()))
Series = NDArray[np.float64]


def noisy(series: Series, percent: float, seed: int = 0) -> Series:
    """Each landmark moved by noise whose rms distance is so many % of the face's size."""
    sigma = percent / 100 * SIZE / math.sqrt(2)
    return series + np.random.default_rng(seed).normal(0, sigma, series.shape)


def along(places: Series) -> Series:
    """(T, L, 2): the face with its corner at each of the places (T, 2)."""
    return FACE + places[:, None]


def smooth(series: Series, times: Series, settings: OneEuro | None = None) -> Series:
    smoother = Smoother(settings)
    return np.stack([smoother(face, time) for face, time in zip(series, times, strict=True)])


def jitter(series: Series, times: Series) -> float:
    figure = Jitter()
    for number, (face, time) in enumerate(zip(series, times, strict=True)):
        figure.add(1, number, time, face)
    assert figure.percent is not None
    return figure.percent


EVEN = np.arange(300) / 30
UNEVEN = np.cumsum(np.random.default_rng(1).uniform(0.01, 0.1, 300))
STILL = along(np.zeros((300, 2)))


@pytest.mark.parametrize("times", [EVEN, UNEVEN], ids=["even", "uneven"])
def test_jitter_is_that_of_the_noise_however_the_face_moves(times: Series) -> None:
    even_motion = along(times[:, None] * (90, -40))
    acceleration = along(times[:, None] ** 2 * (30, 50))
    for motion in (STILL, even_motion, acceleration):
        assert jitter(motion, times) == pytest.approx(0, abs=1e-6)
        assert jitter(noisy(motion, 0.8), times) == pytest.approx(0.8, rel=0.05)


def test_jitter_hardly_counts_a_head_that_shakes() -> None:
    turns = along(SIZE * 0.2 * np.column_stack([np.sin(2 * np.pi * 1.0 * EVEN), 0 * EVEN]))
    # Third derivative A w^3 = 0.2 * (2 pi)^3, rms / sqrt(2), times dt^3 / sqrt(20): 0.029 % of the face's size.
    assert jitter(turns, EVEN) == pytest.approx(100 * 0.2 * (2 * np.pi / 30) ** 3 / math.sqrt(40), rel=0.05)
    assert jitter(noisy(turns, 0.5), EVEN) == pytest.approx(0.5, rel=0.05)


def test_jitter_is_free_of_scale_and_needs_four_frames_in_a_row() -> None:
    series = noisy(STILL, 1)
    assert jitter(7 * series, EVEN) == pytest.approx(jitter(series, EVEN))
    figure = Jitter()
    for number in [0, 1, 2, 4, 5, 6, 8]:  # never four in a row
        figure.add(1, number, number / 30, series[number])
    assert figure.percent is None
    for number in (9, 10, 11):
        figure.add(1, number, number / 30, STILL[0])
        figure.add(2, number, number / 30, STILL[0])
    figure_of_row = figure.percent
    assert figure_of_row is not None
    assert figure_of_row == pytest.approx(
        100 * np.linalg.norm(series[8] - FACE) / math.sqrt(20 * 20) / SIZE, rel=0.02
    )


def test_figures_keep_nothing_of_faces_that_are_gone() -> None:
    figure, lag = Jitter(), Lag()
    for number in range(1000):
        figure.add(number, number, number / 30, FACE)
        lag.add(number, number, number / 30, FACE, FACE)
    assert len(figure._recent) <= 2
    assert len(lag._last) <= 2


def test_one_step_worked_by_hand() -> None:
    # 0.1 s on, one of two points moves by 3 px; the face's size is then sqrt(13 * 20). The speed filter takes over
    # 2 pi 0.1 / (2 pi 0.1 + 1) = 0.38587 of the speed 3 / 0.1 / 16.1245 = 1.86053 per second: 0.71792.
    # The cutoff is 1 + 2 * 0.71792 = 2.43584 Hz, the share 1.53048 / 2.53048 = 0.60482, so 1.81446 px.
    smoother = Smoother(OneEuro(min_cutoff_hz=1, beta=2, speed_cutoff_hz=1))
    smoother([[0, 0], [10, 20]], 0.0)
    np.testing.assert_allclose(smoother([[0, 0], [13, 20]], 0.1), [[0, 0], [11.81446, 20]], atol=1e-4)


def test_a_still_face_is_held_and_a_moving_one_followed() -> None:
    still = smooth(noisy(STILL, 1), EVEN)
    assert jitter(still, EVEN) < 0.25
    error = np.linalg.norm(still[30:] - STILL[30:], axis=2)
    assert np.sqrt((error**2).mean()) / SIZE < 0.006  # and the error itself shrinks, not the figure alone
    way = SIZE * np.column_stack([0.5 * np.sin(2 * np.pi * 0.5 * EVEN), 0 * EVEN])
    measured = noisy(along(way), 0.5)
    followed = smooth(measured, EVEN)
    assert jitter(followed, EVEN) < 0.8 * jitter(measured, EVEN)
    lag = Lag()
    for number, (before, after) in enumerate(zip(measured, followed, strict=True)):
        lag.add(1, number, EVEN[number], before, after)
    assert lag.frames is not None
    assert 0.05 < lag.frames < 0.6
    # The same from the truth: the shift of the true way that the smoothed one fits best.
    shifts = np.arange(0, 60) / 600
    gaps = [
        np.abs(
            followed[30:, :, 0] - along(0.5 * SIZE * np.sin(np.pi * (EVEN[30:, None] - s)) * (1, 0))[..., 0]
        ).mean()
        for s in shifts
    ]
    assert lag.frames == pytest.approx(30 * shifts[int(np.argmin(gaps))], abs=0.12)


def test_lag_says_nothing_of_a_still_face() -> None:
    lag = Lag()
    for number, face in enumerate(noisy(STILL, 0.01)):
        lag.add(1, number, number / 30, face, face)
    assert lag.frames is None


def test_lag_of_a_plain_delay_is_the_delay() -> None:
    way = along(np.column_stack([100 * EVEN, 0 * EVEN]))
    lag = Lag()
    for number in range(2, 300):
        lag.add(1, number, EVEN[number], way[number], way[number - 2])
    assert lag.frames == pytest.approx(2)


def test_smoothing_is_free_of_scale_and_turns_with_the_clip() -> None:
    series = noisy(along(np.column_stack([60 * EVEN, 20 * EVEN])), 1)
    plain = smooth(series, EVEN)
    np.testing.assert_allclose(smooth(series * 5 + 100, EVEN), plain * 5 + 100, atol=1e-9)
    quarter = np.array([[0.0, 1.0], [-1.0, 0.0]])
    np.testing.assert_allclose(smooth(series @ quarter, EVEN), plain @ quarter, atol=1e-9)


def test_smoothing_goes_by_time_not_by_frames() -> None:
    # A face that jumps and stays: after half a second it is as far back at any frame rate (no speed term).
    settings, jump = OneEuro(min_cutoff_hz=0.2, beta=0), np.array([50.0, 0.0])
    left = []
    for rate in (100, 400):
        smoother = Smoother(settings)
        smoother(FACE, 0.0)
        for number in range(1, rate // 2 + 1):
            place = smoother(FACE + jump, number / rate)
        left.append(float((FACE + jump - place)[0, 0]))
    # exp(-2 pi 0.2 0.5) of the jump is left in the limit of high rates.
    assert left == pytest.approx([50 * math.exp(-math.pi * 0.2)] * 2, rel=0.02)


def test_wrong_settings_and_times_are_named() -> None:
    with pytest.raises(InputError) as caught:
        OneEuro(min_cutoff_hz=0, beta=-1, speed_cutoff_hz=math.nan)
    assert len(caught.value.problems) == 3
    assert "beta = -1: must be a finite number >= 0" in str(caught.value)
    smoother = Smoother()
    smoother(FACE, 1.0)
    with pytest.raises(ValueError, match=r"the frame at 1\.0 s comes after that at 1\.0 s"):
        smoother(FACE, 1.0)
