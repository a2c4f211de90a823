"""What fleet can be told from outside, beside what every process can."""

from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from pydantic import Field, field_validator

from shared.settings import Settings as SharedSettings


class Settings(SharedSettings):
    """Fleet's settings; the variables begin with `VEDETTE_FLEET_`."""

    fleet_max_frame_bytes: int = Field(default=2 * 1024 * 1024, ge=1024)
    """The largest frame, as bytes of its picture."""
    fleet_time_zone: str = "UTC"
    """The zone that the times of the old wire are meant in, which have none."""
    fleet_open_registration: bool = True
    """Whether a device that nobody knows may register over the old wire."""
    fleet_first_user_open: bool = False
    """Whether the old wire's very first user may be registered without a token; `vedette up` sets
    it while it listens on loopback."""
    fleet_device_requests_per_s: float = Field(default=100, gt=0)
    """How many requests a second one device may make over the old wire."""
    fleet_offline_after_s: float = Field(default=600, gt=0)
    """A device that has been silent for this long raises an alert."""
    fleet_incident_gap_s: float = Field(default=60, ge=0)
    """Alerts of one truck that are no further apart belong to one incident."""
    fleet_escalate_after: int = Field(default=3, ge=2)
    """The alert of one behavior in an incident that is raised one step."""
    fleet_camera_check_interval_s: float = Field(default=5, gt=0)
    """How often the picture of each truck is judged: dark, blocked, blurred, frozen."""
    fleet_keep_safe_frames_days: float = Field(default=7, gt=0)
    """How long safe frames are kept."""
    fleet_keep_alert_frames_days: float = Field(default=90, gt=0)
    """How long the frames of alerts are kept, unless a hold keeps them."""
    fleet_keep_alerts_days: float = Field(default=730, gt=0)
    """How long alerts are kept, unless a hold keeps them."""
    fleet_keep_events_days: float = Field(default=30, gt=0)
    """How long events can be replayed."""
    fleet_upkeep_interval_s: float = Field(default=60, gt=0)
    """How often what is too old is looked for, and devices that are silent."""
    fleet_sweep_age_s: float = Field(default=86_400, ge=60)
    """How old a picture that no frame refers to must be before it is deleted."""
    fleet_enrolment_minutes: float = Field(default=60, gt=0)
    """How long an enrolment code is good."""
    fleet_replica: int = Field(default=0, ge=0, le=999)
    """Which of several fleet processes this is: its place in the gateway's `VEDETTE_FLEET_URL`."""
    fleet_max_sockets: int = Field(default=20_000, ge=1)
    """How many live connections this process carries."""
    fleet_max_sockets_of_address: int = Field(default=6_000, ge=1)
    """How many live connections one network address may have."""
    fleet_ping_interval_s: float = Field(default=25, gt=0)
    """How often a live connection is asked whether it still lives."""
    fleet_ping_timeout_s: float = Field(default=20, gt=0)
    """How long the answer may take."""

    @field_validator("fleet_time_zone")
    @classmethod
    def is_zone(cls, name: str) -> str:
        """A misspelt zone stops the process instead of shifting every time."""
        try:
            ZoneInfo(name)
        except (ZoneInfoNotFoundError, ValueError) as error:
            raise ValueError(f"{name} is not a time zone") from error
        return name
