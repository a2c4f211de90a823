"""Speech measures on signals whose measures follow from their formulas."""

import struct

import numpy as np
import pytest
from numpy.typing import NDArray

from services.bqat.engines import Unassessable
from services.bqat.engines.speech import assess_speech
from services.bqat.engines.speech.measures import k_weighting
from services.bqat.engines.speech.waveform import read_wav
from tests.services.bqat.engines.drawings import wav

RATE = 16_000


def tone(hz: float, peak: float, seconds: float = 4, rate: int = RATE) -> NDArray[np.float64]:
    """A sine."""
    angle = np.arange(round(seconds * rate), dtype=np.float64) * (2 * np.pi * hz / rate)
    return np.asarray(peak * np.sin(angle), np.float64)


def spoken(noise: float = 0.003) -> NDArray[np.float64]:
    """A second of sound and a second of pause in turn, and noise throughout."""
    sound = tone(440, 0.3, 6)
    on = (np.arange(len(sound)) // RATE) % 2 == 0
    grain = np.random.default_rng(0).normal(0, noise, len(sound))
    return np.asarray(sound * on + grain, np.float64)


def measured(samples: NDArray[np.float64], name: str, rate: int = RATE) -> float:
    value = assess_speech(wav(samples, rate)).profile[name]
    assert isinstance(value, int | float)
    return float(value)


def test_duration_rate_and_levels_are_those_of_the_signal() -> None:
    """A sine of peak 0.1 has 20 dB less than full scale, and 3.01 dB less than its peak."""
    samples = tone(1000, 0.1)

    assert measured(samples, "duration") == 4
    assert measured(samples, "sample_rate") == RATE
    assert measured(samples, "peak_level") == pytest.approx(-20, abs=0.01)
    assert measured(samples, "level") == pytest.approx(-23.01, abs=0.01)


def test_a_sine_of_997_hz_has_the_standards_loudness() -> None:
    """ITU-R BS.1770: 0 dBFS at 997 Hz on one channel is -3.01 LKFS."""
    loud = measured(tone(997, 0.1, 5, 48_000), "loudness_lufs", 48_000)

    assert loud == pytest.approx(-23.01, abs=0.1)


def test_low_sound_counts_less_for_loudness() -> None:
    assert measured(tone(40, 0.1), "loudness_lufs") < measured(tone(997, 0.1), "loudness_lufs") - 4


def test_the_k_filter_lifts_high_sound_by_four_decibels() -> None:
    gains = 10 * np.log10(k_weighting(np.array([1.0, 1000.0, 15_000.0])))

    assert gains[0] < -40
    assert gains[1] == pytest.approx(0.7, abs=0.1)
    assert gains[2] == pytest.approx(4.0, abs=0.1)


def test_bandwidth_is_where_the_sound_ends() -> None:
    assert measured(tone(1000, 0.2), "bandwidth") == pytest.approx(1000, abs=25)
    noise = np.random.default_rng(0).normal(0, 0.1, 4 * RATE)
    assert measured(noise, "bandwidth") == pytest.approx(0.99 * RATE / 2, rel=0.01)


def test_clipping_counts_runs_at_full_scale() -> None:
    """A sine of twice full scale is above it for two thirds of the time."""
    assert measured(tone(100, 2.0), "clipping_ratio") == pytest.approx(2 / 3, abs=0.01)
    assert measured(tone(100, 0.9), "clipping_ratio") == 0


def test_a_constant_is_an_offset_and_no_level() -> None:
    samples = tone(1000, 0.1) + 0.25

    assert measured(samples, "dc_offset") == pytest.approx(0.25, abs=1e-4)
    assert measured(samples, "level") == pytest.approx(-23.01, abs=0.02)


def test_half_of_the_time_is_speech() -> None:
    assert measured(spoken(), "speech_ratio") == pytest.approx(0.5, abs=0.02)


@pytest.mark.parametrize("noise", [0.003, 0.01, 0.03])
def test_the_signal_to_noise_ratio_is_that_of_the_powers(noise: float) -> None:
    expected = 10 * np.log10(0.3**2 / 2 / noise**2)

    assert measured(spoken(noise), "snr") == pytest.approx(expected, abs=0.7)


def test_hum_is_found_at_either_mains_frequency() -> None:
    """Equal powers make half: 3 dB below the whole."""
    for mains in (50, 60):
        both = tone(1000, 0.1) + tone(mains, 0.1)
        assert measured(both, "hum") == pytest.approx(-3.01, abs=0.1)
    assert measured(tone(1000, 0.1), "hum") < -50


def test_a_hole_in_the_sound_is_a_dropout_and_a_pause_is_none() -> None:
    samples = tone(440, 0.3)
    holed = samples.copy()
    holed[20_000:20_080] = 0
    holed[40_000:40_160] = 0.1

    assert measured(samples, "dropouts") == 0
    assert measured(holed, "dropouts") == 2
    assert measured(spoken(), "dropouts") == 0


def test_silence_has_no_loudness_and_says_so() -> None:
    found = assess_speech(wav(np.zeros(RATE)))

    assert found.profile["loudness_lufs"] is None
    assert found.profile["snr"] is None
    assert {error.partition(":")[0] for error in found.errors} == {"loudness", "snr"}
    assert found.profile["level"] == -100


def test_nothing_is_called_an_opinion() -> None:
    """MOS is what people say, or what a network trained on them predicts."""
    names = set(assess_speech(wav(spoken())).profile)

    assert names.isdisjoint({"quality", "mos", "naturalness", "noisiness", "coloration"})


def encoded(coding: int, bits: int, data: bytes, channels: int = 1) -> bytes:
    """A WAV file of these sample bytes."""
    frame = channels * bits // 8
    form = struct.pack("<HHIIHH", coding, channels, 8000, 8000 * frame, frame, bits)
    return (
        b"RIFF\0\0\0\0WAVE"
        + b"fact"
        + struct.pack("<I", 3)
        + b"odd\0"
        + b"fmt "
        + struct.pack("<I", 16)
        + form
        + b"data"
        + struct.pack("<I", len(data))
        + data
    )


@pytest.mark.parametrize(
    ("content", "samples"),
    [
        (encoded(1, 8, bytes([128, 192, 0])), [0, 0.5, -1]),
        (encoded(1, 16, struct.pack("<3h", 0, 16384, -32768)), [0, 0.5, -1]),
        (encoded(1, 24, b"\0\0\0\0\0\x40\0\0\x80"), [0, 0.5, -1]),
        (encoded(1, 32, struct.pack("<2i", 1 << 30, -(1 << 31))), [0.5, -1]),
        (encoded(3, 32, struct.pack("<2f", 0.25, -0.5)), [0.25, -0.5]),
        (encoded(3, 64, struct.pack("<2d", 0.25, -0.5)), [0.25, -0.5]),
        # G.711: the smallest and the largest magnitudes of both laws.
        (encoded(7, 8, bytes([0xFF, 0x80, 0x00])), [0, 32124 / 32768, -32124 / 32768]),
        (encoded(6, 8, bytes([0xD5, 0xAA, 0x2A])), [8 / 32768, 32256 / 32768, -32256 / 32768]),
        (encoded(1, 16, struct.pack("<4h", 16384, 0, -16384, 0), channels=2), [0.25, -0.25]),
    ],
)
def test_every_coding_is_read(content: bytes, samples: list[float]) -> None:
    assert read_wav(content).samples.tolist() == pytest.approx(samples)


@pytest.mark.parametrize(
    "content",
    [
        b"",
        b"RIFF\0\0\0\0WAVE",
        b"ID3\x03 an mp3",
        encoded(1, 16, b""),
        encoded(2, 4, b"adpcm"),
        encoded(3, 32, struct.pack("<2f", 1.0, float("nan"))),
        encoded(1, 16, b"\0\0").replace(struct.pack("<I", 8000), b"\0\0\0\0", 1),
    ],
)
def test_what_is_no_recording_is_refused(content: bytes) -> None:
    with pytest.raises(Unassessable):
        assess_speech(content)


def test_a_cut_file_is_read_as_far_as_it_goes() -> None:
    whole = wav(tone(440, 0.3))

    assert assess_speech(whole[: len(whole) // 2]).profile["duration"] == pytest.approx(2, abs=0.01)
