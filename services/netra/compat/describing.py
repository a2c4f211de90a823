"""The old paths in the OpenAPI document: fields, and an example of each answer."""

from collections.abc import Mapping
from typing import Any, Final

from services.netra.compat import errors

_TEXT: Final = {"type": "string"}
_JOB_ID: Final = "LaHkZVkSRkHpSdIoA8hgo97BrT47vrZL6FhUX2XqG26RhBxW3luvEjSfAnwPPrR5f2K2xd"
_TYPES: Final = ("application/x-www-form-urlencoded", "application/json", "multipart/form-data")
_PATIENT: Final = (
    "token", "firstName", "lastName", "dob", "gender", "patientID", "emailID", "phoneCode",
    "phoneNumber",
)  # fmt: skip
_FIELDS: Final[Mapping[str, tuple[tuple[str, ...], tuple[str, ...]]]] = {
    "getToken": (("username", "password", "apiRequestType"), ()),
    "doAnalysis": (("token", "image", "imageName"), ("bulkImgLabel", "imageLocPath")),
    "getStatus": (("token", "jobId"), ()),
    "getResult": (("token", "jobId"), ()),
    "doPatientAnalysis": (
        ("token",),
        (*_PATIENT[1:], "imgLeftData", "imgLeftName", "imgRightData", "imgRightName"),
    ),
    "doPatientMultiImgAnalysis": (("token", "imgZipData"), _PATIENT[1:]),
}
_QUEUED: Final = {
    "status": errors.OK,
    "jobId": _JOB_ID,
    "jobStatus": "QUEUED",
    "statusJob": "QUEUED",
    "remaining": 99,
}
_ANSWERS: Final[Mapping[str, dict[str, Any]]] = {
    "getToken": {
        "status": errors.OK,
        "token": "…",
        "remaining": 100,
        "validUpto": 1517613274139,
    },
    "doAnalysis": _QUEUED,
    "getStatus": _QUEUED,
    "getResult": {
        "status": errors.OK,
        "jobId": _JOB_ID,
        "usedOn": "1516820982075236",
        "usedBy": "username",
        "jobStatus": "COMPLETED",
        "statusJob": "COMPLETED",
        "result": '{"drYes":"Detected","referrableDR":"YES","imageQuality":"Gradable Image",'
        '"eyeOrNot":"YES","lesionBbox":[]}',
        "lesionBbox": [],
        "remaining": 99,
    },
    "doPatientAnalysis": _QUEUED,
    "doPatientMultiImgAnalysis": _QUEUED,
}
_SUMMARIES: Final[Mapping[str, str]] = {
    "getToken": "Get a token",
    "doAnalysis": "Analyse an image",
    "getStatus": "Show where a job stands",
    "getResult": "Show a job's result",
    "doPatientAnalysis": "Analyse a patient's two eyes",
    "doPatientMultiImgAnalysis": "Analyse a patient's archive of images",
}


def describe(name: str) -> dict[str, Any]:
    """What FastAPI is told about one path."""
    needed, optional = _FIELDS[name]
    schema = {
        "type": "object",
        "required": list(needed),
        "properties": dict.fromkeys((*needed, *optional), _TEXT),
    }
    return {
        "summary": _SUMMARIES[name],
        "openapi_extra": {
            "requestBody": {
                "required": True,
                "content": {media_type: {"schema": schema} for media_type in _TYPES},
            }
        },
        "responses": {200: {"content": {"application/json": {"example": _ANSWERS[name]}}}},
    }
