"""The one door to the engines: a worker process makes an assessor once and calls it per sample."""

from collections.abc import Mapping
from typing import Any

import cv2

from services.bqat.engines.assessment import Assessment, Unassessable
from services.bqat.engines.face import assess_face, load_face_networks
from services.bqat.engines.fingerprint import assess_fingerprint
from services.bqat.engines.fingerprint.executable import find_nfiq2
from services.bqat.engines.iris import assess_iris
from services.bqat.engines.samples import read_sample
from services.bqat.engines.specification import SPECIFICATION
from services.bqat.engines.speech import assess_speech
from shared.inference.evidence import Evidence, EvidenceRefused, enforce_evidence
from shared.settings import Settings

#: What the platform's users call a modality, and what it is.
MODALITIES = {
    "face": "face",
    "fingerprint": "fingerprint",
    "finger": "fingerprint",
    "iris": "iris",
    "speech": "speech",
}


class Assessor:
    """Assesses samples of every modality; synchronous, one thread at a time."""

    def __init__(self, settings: Settings) -> None:
        self._policy = settings.evidence
        self._nfiq2 = find_nfiq2()
        self.face_networks = load_face_networks(settings.home)

    def assess(
        self,
        modality: str,
        content: bytes,
        *,
        file_name: str,
        engine: str | None,
        options: Mapping[str, Any],
    ) -> Assessment:
        """Profile one sample.

        Args:
            modality: `face`, `fingerprint` (or `finger`), `iris` or `speech`.
            content: the file, encoded.
            file_name: its name, by which `options` may speak of it; never a path that is opened.
            engine: `bqat`, `ofiq` or `fusion` for faces; None for the modality's own.
            options: a scan's options as the old wire names them.

        Raises:
            Unassessable: the content is not of this modality's formats, is damaged, or is assessed
                by what the evidence policy of this installation does not let answer.
        """
        found = self._assess(modality, content, file_name, engine, options)
        try:
            enforce_evidence(self._policy, Evidence(found.evidence))
        except EvidenceRefused as refusal:
            raise Unassessable(refusal.detail) from refusal
        return found

    def _assess(
        self,
        modality: str,
        content: bytes,
        file_name: str,
        engine: str | None,
        options: Mapping[str, Any],
    ) -> Assessment:
        known = MODALITIES.get(modality.lower())
        if known == "face":
            return assess_face(
                self.face_networks,
                read_sample(content),
                file_name=file_name,
                engine=engine,
                options=options,
            )
        if known == "fingerprint":
            return assess_fingerprint(read_sample(content), self._nfiq2)
        if known == "iris":
            return assess_iris(read_sample(content), engine=engine, options=options)
        if known == "speech":
            return assess_speech(content)
        raise Unassessable(f"samples of the modality {modality!r} are not assessed here")

    def specification(self) -> Mapping[str, Mapping[str, str]]:
        """What every column means, by `modality` or `modality/engine`."""
        return SPECIFICATION


def create_assessor(settings: Settings) -> Assessor:
    """Make an assessor; the networks it finds installed are loaded here, once per process.

    OpenCV then works on one thread: a scan has as many processes as there are cores.
    """
    cv2.setNumThreads(1)
    return Assessor(settings)
