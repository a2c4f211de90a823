"""Quality of one face portrait, by the engines `bqat`, `ofiq` and `fusion`."""

from collections.abc import Mapping
from typing import Any

from services.bqat.engines.assessment import Assessment, Profile, Unassessable
from services.bqat.engines.face.bqat import bqat_profile
from services.bqat.engines.face.ofiq import ofiq_profile
from services.bqat.engines.face.reading import FaceNetworks, load_face_networks, read_portrait
from services.bqat.engines.networks import weakest
from services.bqat.engines.samples import Sample

__all__ = ["FaceNetworks", "assess_face", "load_face_networks"]

#: Bits of the old wire's `fusion` option: which engines' records are merged.
_BQAT_BIT, _OFIQ_BIT, _BIQT_BIT = 4, 2, 1
_DEFAULT_FUSION = 6


def assess_face(
    networks: FaceNetworks,
    sample: Sample,
    *,
    file_name: str,
    engine: str | None,
    options: Mapping[str, Any],
) -> Assessment:
    """Profile one portrait.

    Raises:
        Unassessable: there is no engine of this name.
    """
    wanted, notes = _engines(engine, options)
    reading = read_portrait(networks, sample, file_name, options)
    profile: Profile = {}
    approx: list[str] = []
    for name in wanted:
        found = bqat_profile(reading, networks) if name == "bqat" else ofiq_profile(reading)
        marked = found.pop("approx", None)
        if isinstance(marked, str):
            approx += [column for column in marked.split(",") if column not in approx]
        profile.update({key: value for key, value in found.items() if key not in profile})
    if approx:
        profile["approx"] = ",".join(approx)
    return Assessment(profile, weakest(reading.used), (*reading.notes, *notes))


def _engines(engine: str | None, options: Mapping[str, Any]) -> tuple[list[str], list[str]]:
    """The engines whose profiles are asked for, and what is said about those that are not here."""
    if engine in (None, "", "default", "bqat"):
        return ["bqat"], []
    if engine == "ofiq":
        return ["ofiq"], []
    if engine == "fusion":
        bits = options.get("fusion", _DEFAULT_FUSION)
        if not isinstance(bits, int) or isinstance(bits, bool) or not 1 <= bits <= 7:
            bits = _DEFAULT_FUSION
        wanted = [name for bit, name in ((_BQAT_BIT, "bqat"), (_OFIQ_BIT, "ofiq")) if bits & bit]
        notes = ["biqt: this engine is not part of the platform"] if bits & _BIQT_BIT else []
        return wanted or ["bqat"], notes
    raise Unassessable(f"faces are not assessed by an engine {engine!r}")
