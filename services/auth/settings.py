"""What auth can be told from outside, beside what every process can."""

from pydantic import Field

from shared.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """Auth's settings; the variables begin with `VEDETTE_AUTH_`."""

    auth_hashing_slots: int | None = Field(default=None, ge=1)
    """How many passwords are hashed at once; unset: one for each core."""
    auth_logins_per_minute: int = Field(default=10, ge=1)
    """How many logins one address may try, before `VEDETTE_RATE_LIMIT_SCALE`."""
    auth_key_rotation_days: float = Field(default=30, gt=0)
    """How long a signing key is in use before the next one takes over."""
    auth_audit_days: int = Field(default=365, ge=1)
    """How long security events are kept."""
    auth_upkeep_interval_s: float = Field(default=30, gt=0)
    """How often keys are looked after and what has expired is deleted."""
