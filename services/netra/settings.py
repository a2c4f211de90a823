"""What netra can be told from outside, beside what every process can."""

from pydantic import Field

from shared.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """Netra's settings; the variables begin with `VEDETTE_NETRA_`."""

    netra_credits: int = Field(default=100, ge=0)
    """How many analyses a new account may ask for before the administrator gives it more."""
    netra_workers: int | None = Field(default=None, ge=0)
    """How many photographs this process analyses at once; unset: as its cores allow; 0: none,
    because `python -m services.netra.worker` runs elsewhere."""
    netra_max_upload_bytes: int = Field(default=32 * 1024 * 1024, ge=1024)
    """The largest picture that the modern API takes; the old one takes 5 MB."""
    netra_analysis_timeout_s: float = Field(default=120, gt=0)
    """How long one photograph may take before it counts as unreadable."""
    netra_rest_after_s: float = Field(default=20, ge=1)
    """How long a process waits for the next photograph before it gives its memory back; the next
    one after that waits for the networks to load, two seconds or so."""
    netra_sweep_interval_s: float = Field(default=3600, gt=0)
    """How often pictures are looked for that no analysis refers to."""
    netra_sweep_age_s: float = Field(default=86_400, ge=60)
    """How old such a picture must be before it is deleted."""
