"""The wire types of the modern API."""

from datetime import datetime
from typing import Any

from pydantic import BaseModel, Field


class ModelOut(BaseModel):
    """Which network answered."""

    id: str
    version: str
    sha256: str


class GateOut(BaseModel):
    """Whether the picture is what the network was made for, and if not, why."""

    accepted: bool
    reasons: list[str]


class PredictionOut(BaseModel):
    """What a network says about one picture."""

    label: int | None
    """The index of the label; null for a regression."""
    label_name: str | None
    probability: float | None
    """Of the positive label in a binary task, else of the predicted one."""
    probabilities: dict[str, float]
    found: dict[str, bool]
    """For every label with an operating point whether it reaches it."""
    values: dict[str, float]
    """What a regression gives."""
    gate: GateOut | None
    """Null where no gate is made for this network."""
    model: ModelOut
    evidence: str
    calibrated: bool


class PredictionsOut(BaseModel):
    """The answers to several pictures, in their order."""

    predictions: list[PredictionOut]


class MeasuredOut(BaseModel):
    """One accuracy figure, and what it was measured on."""

    dataset: str
    split: str
    n: int
    metric: str
    value: float
    interval: tuple[float, float] | None
    label: str | None


class VersionOut(BaseModel):
    """One version of a registered model."""

    version: str
    is_default: bool
    workers: int
    """How many of its runs may go on at a time in the replica that answers."""
    status: str
    """`ready`, `no-workers` or `failed`."""
    model: ModelOut
    task: str
    labels: list[str]
    evidence: str
    licence: str
    input_size_px: tuple[int, int]
    """Height and width; pictures of any size are brought to it."""
    measured: list[MeasuredOut]
    intended_use: str
    limits: str
    registered_at: datetime


class ServedModelOut(BaseModel):
    """A registered model and its versions, the first registered first."""

    name: str
    default_version: str
    versions: list[VersionOut]


class ServedModelsOut(BaseModel):
    """A page of models."""

    items: list[ServedModelOut]
    next_cursor: str | None = Field(description="Ask with `cursor=` for the next page.")


PROBLEM: dict[str, Any] = {
    "description": "A problem (RFC 9457).",
    "content": {"application/problem+json": {"schema": {"type": "object"}}},
}
