"""Samples of a WAV file, read from untrusted bytes.

Source:
    Microsoft and IBM, "Multimedia programming interface and data specifications 1.0", 1991, and
    WAVE_FORMAT_EXTENSIBLE; ITU-T G.711 for the two companded codings.
"""

import struct
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from services.bqat.engines.assessment import Unassessable

Real = NDArray[np.float64]

_PCM, _FLOAT, _A_LAW, _MU_LAW, _EXTENSIBLE = 1, 3, 6, 7, 0xFFFE
_MAX_SECONDS = 3600
_MAX_RATE_HZ = 384_000
_MAX_CHANNELS = 16
_MAX_SAMPLES = 60_000_000


@dataclass(frozen=True, slots=True)
class Waveform:
    """One recording.

    Attributes:
        samples: `(N,)`: the mean of the channels, -1 to 1.
        rate_hz: samples per second.
        channels: how many the file has.
        bits: per sample, as the file has them.
        peak_level: the largest magnitude in any channel, 1 being full scale.
        clipped: `(N,)`: where a channel stands at full scale.
    """

    samples: Real
    rate_hz: int
    channels: int
    bits: int
    peak_level: float
    clipped: NDArray[np.bool_]

    @property
    def duration_s(self) -> float:
        """Seconds."""
        return len(self.samples) / self.rate_hz


def read_wav(content: bytes) -> Waveform:
    """Read PCM of 8 to 32 bits, floats, A-law or mu-law.

    A file that was cut short is read as far as it goes, as players do.

    Raises:
        Unassessable: it is no WAV file, is of another coding, or holds no sample.
    """
    if content[:4] not in (b"RIFF", b"RF64") or content[8:12] != b"WAVE":
        raise Unassessable("the bytes are no WAV file")
    at, form, data = 12, b"", None
    while at + 8 <= len(content):
        name, size = content[at : at + 4], struct.unpack_from("<I", content, at + 4)[0]
        body = content[at + 8 : at + 8 + size]
        if name == b"fmt ":
            form = body
        elif name == b"data":
            data = content[at + 8 :] if size == 0xFFFFFFFF else body
            break
        at += 8 + size + size % 2
    if len(form) < 16 or data is None:
        raise Unassessable("the WAV file lacks its format or its samples")
    coding, channels, rate_hz, _, frame_bytes, bits = struct.unpack_from("<HHIIHH", form)
    if coding == _EXTENSIBLE and len(form) >= 26:
        coding = struct.unpack_from("<H", form, 24)[0]
    width = bits // 8
    if not (0 < channels <= _MAX_CHANNELS and 0 < rate_hz <= _MAX_RATE_HZ and width):
        raise Unassessable("the WAV file's header is damaged")
    if frame_bytes != channels * width:
        raise Unassessable("the WAV file's header contradicts itself")
    frames = len(data) // frame_bytes
    if frames == 0:
        raise Unassessable("the WAV file holds no sample")
    if frames * channels > _MAX_SAMPLES or frames > _MAX_SECONDS * rate_hz:
        raise Unassessable(
            f"recordings are assessed up to {_MAX_SECONDS} s and {_MAX_SAMPLES} samples"
        )
    values, top = _decoded(data[: frames * frame_bytes], coding, bits)
    table = values.reshape(frames, channels)
    if not np.isfinite(table).all():
        raise Unassessable("the WAV file holds samples that are not numbers")
    clipped = np.asarray(((table >= top) | (table <= -1.0)).any(axis=1), np.bool_)
    return Waveform(
        samples=table.mean(axis=1),
        rate_hz=rate_hz,
        channels=channels,
        bits=bits,
        peak_level=float(np.abs(table).max()),
        clipped=clipped,
    )


def _decoded(data: bytes, coding: int, bits: int) -> tuple[Real, float]:
    """Samples from -1 to 1, and the largest that the coding can hold."""
    if coding == _PCM and bits == 8:
        return (np.frombuffer(data, np.uint8).astype(np.float64) - 128) / 128, 127 / 128
    if coding == _PCM and bits in (16, 32):
        kind = np.dtype("<i2" if bits == 16 else "<i4")
        scale = float(1 << (bits - 1))
        return np.frombuffer(data, kind).astype(np.float64) / scale, (scale - 1) / scale
    if coding == _PCM and bits == 24:
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3).astype(np.int32)
        whole = (parts[:, 0] << 8) | (parts[:, 1] << 16) | (parts[:, 2] << 24)
        scale = float(1 << 31)
        return whole.astype(np.float64) / scale, (scale - 256) / scale
    if coding == _FLOAT and bits in (32, 64):
        return np.frombuffer(data, f"<f{bits // 8}").astype(np.float64), 1.0
    if coding in (_A_LAW, _MU_LAW) and bits == 8:
        table = _mu_law() if coding == _MU_LAW else _a_law()
        return table[np.frombuffer(data, np.uint8)], float(table.max())
    raise Unassessable(f"WAV files of coding {coding} with {bits} bits are not read")


def _mu_law() -> Real:
    code = ~np.arange(256, dtype=np.int32) & 0xFF
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = (((mantissa << 3) + 132) << exponent) - 132
    return np.where(code & 0x80, -magnitude, magnitude) / 32768.0


def _a_law() -> Real:
    code = np.arange(256, dtype=np.int32) ^ 0x55
    exponent, mantissa = (code >> 4) & 7, code & 15
    magnitude = np.where(
        exponent == 0, (mantissa << 4) + 8, ((mantissa << 4) + 264) << np.maximum(exponent - 1, 0)
    )
    return np.where(code & 0x80, magnitude, -magnitude) / 32768.0
