"""Signal measures of a recording. None of them is an opinion score, and none is called one.

Source:
    ITU-R BS.1770-4 (loudness: K weighting, gates at -70 LUFS and 10 LU below); ITU-T P.56 in
    spirit (the active level is that of frames with speech). The rest are plain definitions.
"""

from dataclasses import dataclass
from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.speech.waveform import Waveform

Real = NDArray[np.float64]

FLOOR_DB = -100.0
_FRAME_S = 0.02
_ROLL_OFF = 0.99
_SPEECH_ABOVE_DB = 8.0
_QUIET_DB = -70.0
_DROPOUT_S = 0.003
_HUM_HZ = (50.0, 60.0)
_HUM_WIDTH_HZ = 2.0
_CLIPPED_RUN = 2
_BLOCK_S, _STEP_S = 0.4, 0.1


@dataclass(frozen=True, slots=True)
class Activity:
    """Which frames of 20 ms hold speech, and the levels of both kinds."""

    frames_db: Real
    is_speech: NDArray[np.bool_]


def to_db(power: float) -> float:
    """Decibels relative to full scale (a square wave is 0); not below -100."""
    return max(FLOOR_DB, 10 * float(np.log10(max(power, 1e-12))))


def frame_levels(samples: Real, rate_hz: int) -> Real:
    """The level of each frame of 20 ms in dBFS."""
    length = max(1, round(_FRAME_S * rate_hz))
    count = len(samples) // length
    if count == 0:
        return np.array([to_db(float(np.mean(samples**2)))])
    power = (samples[: count * length].reshape(count, length) ** 2).mean(axis=1)
    return np.asarray(np.maximum(FLOOR_DB, 10 * np.log10(np.maximum(power, 1e-12))), np.float64)


def find_activity(samples: Real, rate_hz: int) -> Activity:
    """Frames at least 8 dB above the noise floor (the 10th percentile), gaps of 0.1 s closed."""
    levels = frame_levels(samples, rate_hz)
    audible = levels[levels > FLOOR_DB]
    floor = float(np.percentile(audible, 10)) if len(audible) else FLOOR_DB
    top = float(np.percentile(levels, 95))
    threshold = max(_QUIET_DB, min(floor + _SPEECH_ABOVE_DB, top - 3))
    speech = levels >= threshold
    return Activity(levels, _closed(speech, round(0.1 / _FRAME_S)))


def _closed(flags: NDArray[np.bool_], gap: int) -> NDArray[np.bool_]:
    """`flags` with gaps of at most `gap` between set ones filled."""
    closed = flags.copy()
    places = np.flatnonzero(flags)
    for first, second in pairwise(places):
        if second - first <= gap + 1:
            closed[first:second] = True
    return closed


def active_level_db(activity: Activity) -> float:
    """The mean power of frames with speech, in dBFS."""
    chosen = activity.frames_db[activity.is_speech]
    return to_db(float(np.mean(10 ** (chosen / 10)))) if len(chosen) else FLOOR_DB


def signal_to_noise_db(activity: Activity) -> float | None:
    """Speech power over the power of the rest, the rest taken off; None without both kinds."""
    speech = activity.frames_db[activity.is_speech]
    rest = activity.frames_db[~activity.is_speech]
    rest = rest[rest > FLOOR_DB]
    if not len(speech) or not len(rest):
        return None
    noise = float(np.mean(10 ** (rest / 10)))
    both = float(np.mean(10 ** (speech / 10)))
    return 10 * float(np.log10(max(both - noise, 1e-3 * noise) / noise))


def spectrum(samples: Real, rate_hz: int) -> tuple[Real, Real]:
    """Frequencies and mean power of windowed pieces of about 0.1 s, half overlapping."""
    length = min(len(samples), 1 << max(4, round(float(np.log2(max(16, 0.1 * rate_hz))))))
    window = np.hanning(length + 1)[:-1]
    step = max(1, length // 2)
    starts = range(0, len(samples) - length + 1, step)
    total = np.zeros(length // 2 + 1)
    for start in starts:
        total += np.abs(np.fft.rfft(samples[start : start + length] * window)) ** 2
    frequencies = np.asarray(np.fft.rfftfreq(length, 1 / rate_hz), np.float64)
    return frequencies, total / max(1, len(starts))


def bandwidth_hz(samples: Real, rate_hz: int) -> float:
    """The frequency below which 99 % of the power lies."""
    frequencies, power = spectrum(samples - samples.mean(), rate_hz)
    total = float(power.sum())
    if total <= 0:
        return 0.0
    return float(frequencies[int(np.searchsorted(np.cumsum(power), _ROLL_OFF * total))])


def hum_db(samples: Real, rate_hz: int) -> float:
    """Power within 2 Hz of 50 or 60 Hz and their harmonics to the third, over all, in dB.

    The stronger mains frequency counts; -100 where there is none. The first minute is looked at.
    """
    centred = samples[: 60 * rate_hz] - samples[: 60 * rate_hz].mean()
    window = np.hanning(len(centred))
    power = np.abs(np.fft.rfft(centred * window)) ** 2
    frequencies = np.fft.rfftfreq(len(centred), 1 / rate_hz)
    total = float(power.sum())
    if total <= 0:
        return FLOOR_DB
    shares = []
    for mains in _HUM_HZ:
        near = np.zeros(len(power), np.bool_)
        for harmonic in (1, 2, 3):
            near |= np.abs(frequencies - harmonic * mains) <= _HUM_WIDTH_HZ
        shares.append(float(power[near].sum()) / total)
    return to_db(max(shares))


def clipping_ratio(waveform: Waveform) -> float:
    """The share of samples in runs of two or more at full scale."""
    flags = waveform.clipped
    before = np.concatenate([[False], flags[:-1]])
    after = np.concatenate([flags[1:], [False]])
    return float((flags & (before | after)).mean())


def dropouts(samples: Real, rate_hz: int) -> int:
    """How often the signal stands still for 3 ms or more between samples that are not silent."""
    still = np.diff(samples, prepend=samples[:1]) == 0
    edges = np.flatnonzero(np.diff(np.concatenate([[0], still.astype(np.int8), [0]])))
    shortest = max(2, round(_DROPOUT_S * rate_hz))
    reach = max(1, round(_FRAME_S * rate_hz))
    count = 0
    for start, end in zip(edges[0::2], edges[1::2], strict=True):
        before, after = samples[max(0, start - reach) : start], samples[end : end + reach]
        loud = min(_power_db(before), _power_db(after)) > _QUIET_DB + 20
        count += int(end - start >= shortest and start > 0 and end < len(samples) and loud)
    return count


def _power_db(samples: Real) -> float:
    return to_db(float(np.mean(samples**2))) if len(samples) else FLOOR_DB


def loudness_lufs(samples: Real, rate_hz: int) -> float | None:
    """Integrated loudness of the mean of the channels; None below 0.4 s or without loud blocks."""
    weighted_power = _k_weighted_blocks(samples, rate_hz)
    loud = weighted_power[-0.691 + 10 * np.log10(np.maximum(weighted_power, 1e-12)) > -70]
    if not len(loud):
        return None
    relative = -0.691 + 10 * np.log10(loud.mean()) - 10
    loud = loud[-0.691 + 10 * np.log10(loud) > relative]
    return float(-0.691 + 10 * np.log10(loud.mean())) if len(loud) else None


def k_weighting(frequencies: Real) -> Real:
    """The power response of BS.1770's two filters, from their analogue prototypes.

    A high shelf of 4 dB from 1.68 kHz and a high pass at 38 Hz.
    """
    s = 1j * np.maximum(frequencies, 1e-3)
    shelf_hz, shelf_q, gain = 1681.974450955533, 0.7071752369554196, 10 ** (3.999843853973347 / 20)
    middle = gain**0.4996667741545416
    x = s / shelf_hz
    shelf = (gain * x**2 + middle / shelf_q * x + 1) / (x**2 + x / shelf_q + 1)
    y = s / 38.13547087602444
    high_pass = y**2 / (y**2 + y / 0.5003270373238773 + 1)
    return np.asarray(np.abs(shelf * high_pass) ** 2, np.float64)


def _k_weighted(samples: Real, rate_hz: int) -> Real:
    """The samples through both filters, a minute at a time; the filters forget within a second."""
    piece, lead = 60 * rate_hz, rate_hz
    padded = 1 << (min(piece, len(samples)) + 2 * lead - 1).bit_length()
    frequencies = np.asarray(np.fft.rfftfreq(padded, 1 / rate_hz), np.float64)
    response = np.sqrt(k_weighting(frequencies))
    weighted = np.empty_like(samples)
    for start in range(0, len(samples), piece):
        first = max(0, start - lead)
        part = samples[first : start + piece + lead]
        filtered = np.fft.irfft(np.fft.rfft(part, padded) * response, padded)
        wanted = weighted[start : start + piece]
        wanted[:] = filtered[start - first : start - first + len(wanted)]
    return weighted


def _k_weighted_blocks(samples: Real, rate_hz: int) -> Real:
    """Mean squares of weighted blocks of 0.4 s, one every 0.1 s."""
    length, step = round(_BLOCK_S * rate_hz), max(1, round(_STEP_S * rate_hz))
    if len(samples) < length:
        return np.zeros(0)
    sums = np.concatenate([[0.0], np.cumsum(_k_weighted(samples, rate_hz) ** 2)])
    starts = np.arange(0, len(samples) - length + 1, step)
    return np.asarray((sums[starts + length] - sums[starts]) / length, np.float64)
