"""What chexray can be told from outside, beside what every process can."""

from pydantic import Field

from shared.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """Chexray's settings; the variables begin with `VEDETTE_CHEXRAY_`."""

    chexray_model: str | None = None
    """An installed model package, `id` or `id@version`; unset: the one that is shipped."""
    chexray_max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The largest request body."""
    chexray_quota_studies: int = Field(default=100_000, ge=0)
    """How many studies one account may keep."""
    chexray_quota_bytes: int = Field(default=50 * 1024**3, ge=0)
    """How many bytes of pictures one account may keep."""
    chexray_sweep_interval_s: float = Field(default=3600, gt=0)
    """How often pictures are looked for that no study refers to."""
    chexray_sweep_age_s: float = Field(default=86_400, ge=60)
    """How old such a picture must be before it is deleted."""
