"""Signal quality of one recording of speech: measures only, no opinion score."""

from services.bqat.engines.assessment import Assessment, Profile
from services.bqat.engines.speech.measures import (
    active_level_db,
    bandwidth_hz,
    clipping_ratio,
    dropouts,
    find_activity,
    hum_db,
    loudness_lufs,
    signal_to_noise_db,
    to_db,
)
from services.bqat.engines.speech.waveform import read_wav


def assess_speech(content: bytes) -> Assessment:
    """Profile one WAV file.

    Raises:
        Unassessable: it is none that is read here.
    """
    waveform = read_wav(content)
    samples, rate_hz = waveform.samples, waveform.rate_hz
    centred = samples - samples.mean()
    activity = find_activity(centred, rate_hz)
    noise_ratio = signal_to_noise_db(activity)
    loudness = loudness_lufs(samples, rate_hz)
    notes = []
    if noise_ratio is None:
        notes.append("snr: there is no pause, or nothing but pauses, to measure noise by")
    if loudness is None:
        notes.append("loudness: the recording is shorter than 0.4 s or silent")
    profile: Profile = {
        "duration": round(waveform.duration_s, 6),
        "sample_rate": rate_hz,
        "channels": waveform.channels,
        "bits": waveform.bits,
        "bandwidth": round(bandwidth_hz(samples, rate_hz), 3),
        "clipping_ratio": round(clipping_ratio(waveform), 8),
        "dc_offset": round(float(samples.mean()), 8),
        "peak_level": round(to_db(waveform.peak_level**2), 4),
        "level": round(to_db(float((centred**2).mean())), 4),
        "active_level": round(active_level_db(activity), 4),
        "speech_ratio": round(float(activity.is_speech.mean()), 6),
        "snr": None if noise_ratio is None else round(noise_ratio, 4),
        "loudness_lufs": None if loudness is None else round(loudness, 4),
        "hum": round(hum_db(samples, rate_hz), 4),
        "dropouts": dropouts(samples, rate_hz),
    }
    return Assessment(profile, "rules", tuple(notes))
