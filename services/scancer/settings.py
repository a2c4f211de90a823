"""What scancer can be told from outside, beside what every process can."""

from pathlib import Path
from typing import Literal

from pydantic import Field, field_validator

from shared.settings import Names
from shared.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """Scancer's settings; the variables begin with `VEDETTE_SCANCER_`."""

    scancer_max_upload_bytes: int = Field(default=64 * 1024 * 1024, ge=1024)
    """The largest request body."""
    scancer_max_images: int = Field(default=16, ge=1, le=64)
    """How many pictures one request may bring."""
    scancer_deadline_s: float = Field(default=60, gt=0)
    """How long an answer may take."""
    scancer_gate: Literal["mark", "refuse"] = "mark"
    """What happens to pictures that are nothing the network was made for: `mark`, `refuse`."""
    scancer_anonymous: bool = False
    """Whether predictions and the list of models need no credential."""
    scancer_model_store: Path | None = None
    """Where package archives lie that may be registered by name; unset: `model-store` in home."""
    scancer_allowed_urls: Names = ()
    """Addresses that packages may be registered from: `https://host/folder/*`, which then needs
    `&sha256=` in the request, or `https://host/file.zip=<sha256>`; unset: none."""
    scancer_max_package_bytes: int = Field(default=512 * 1024 * 1024, ge=1024)
    """The largest package archive."""
    scancer_max_versions: int = Field(default=200, ge=1)
    """How many versions of all models together may be registered."""
    scancer_verify_timeout_s: float = Field(default=120, gt=0)
    """How long the verification of one package may take."""
    scancer_networks_bytes: int | None = Field(default=None, ge=1)
    """What the networks in memory may take up together; unset: no limit."""
    scancer_max_slide_bytes: int = Field(default=4 * 1024**3, ge=1024)
    """The largest slide."""
    scancer_max_slide_cells: int = Field(default=2_000_000, ge=1)
    """How many patches of one slide are looked at."""
    scancer_quota_slides: int = Field(default=100, ge=1)
    """How many slides one person may keep."""
    scancer_quota_slide_bytes: int = Field(default=50 * 1024**3, ge=1024)
    """How many bytes the slides of one person may have together."""
    scancer_slide_workers: int = Field(default=2, ge=0)
    """How many slides this process looks at at once; 0 leaves them to `vedette worker scancer`."""
    scancer_slide_memory_bytes: int = Field(default=1536 * 1024 * 1024, ge=64 * 1024 * 1024)
    """By how much the process that reads a slide may grow."""
    scancer_slide_checkpoint_s: float = Field(default=5, gt=0)
    """How often it is written down how far a slide is."""
    scancer_management_port: int | None = Field(default=None, ge=1, le=65_535)
    """A loopback port for the management API without the gateway, 8081 in TorchServe."""
    scancer_metrics_port: int | None = Field(default=None, ge=1, le=65_535)
    """A loopback port for the metrics without the gateway, 8082 in TorchServe."""
    scancer_loopback_credentials: bool = False
    """Whether the loopback ports ask for an administrator's name and password."""

    @field_validator("scancer_model_store")
    @classmethod
    def is_absolute(cls, path: Path | None) -> Path | None:
        """The folder does not depend on where the process was started."""
        return None if path is None else path.expanduser().absolute()

    @property
    def model_store(self) -> Path:
        """Where package archives lie that may be registered by name."""
        return self.scancer_model_store or self.home / "model-store"
