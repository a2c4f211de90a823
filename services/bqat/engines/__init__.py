"""Quality engines: one biometric sample in, its quality profile out."""

from services.bqat.engines.assessment import Assessment, Unassessable
from services.bqat.engines.assessor import Assessor, create_assessor

__all__ = ["Assessment", "Assessor", "Unassessable", "create_assessor"]
