"""Today's objects in the original server's words. Pure."""

from datetime import datetime, tzinfo
from typing import Any

from services.fleet.domain import Alert, Frame, Role, Truck
from services.fleet.repositories.members import Member
from services.fleet.repositories.trucks import LastAlert


def to_old_time(at: datetime, zone: tzinfo, *, separator: str = "T") -> str:
    """A time without zone and fraction (Q6)."""
    local = at.astimezone(zone).replace(tzinfo=None, microsecond=0)
    return local.isoformat(sep=separator)


def to_alert(alert: Alert, zone: tzinfo) -> dict[str, Any]:
    """An alert in a list."""
    return {
        "id": alert.number,
        "truck_id": alert.truck_number,
        "behavior": alert.behavior,
        "alert_init": to_old_time(alert.started_at, zone),
        "alert_end": None if alert.ended_at is None else to_old_time(alert.ended_at, zone),
        "started": alert.ended_at is None,
    }


def to_frame(frame: Frame, image: str, zone: tzinfo) -> dict[str, Any]:
    """A frame of an alert, with its picture under both names (Q12)."""
    return {
        "id": frame.number,
        "alert_id": frame.alert_number,
        "frame_timestamp": to_old_time(frame.taken_at, zone),
        "frame_index": frame.index,
        "frame": image,
        "frame_image": image,
    }


def to_last_frame(frame: Frame, image: str, zone: tzinfo) -> dict[str, Any]:
    """The newest frame of a truck; `truck_id` is always there, `alert_id` for an alert's (Q14)."""
    told: dict[str, Any] = {"id": frame.number, "truck_id": frame.truck_number}
    if frame.alert_number is not None:
        told["alert_id"] = frame.alert_number
    return told | {
        "frame_timestamp": to_old_time(frame.taken_at, zone),
        "frame_index": frame.index,
        "frame_image": image,
    }


def to_truck(truck: Truck, last: LastAlert | None, zone: tzinfo, *, tells: bool) -> dict[str, Any]:
    """A truck in a list; `tells` adds its newest alert, whose times have a blank (Q13)."""
    told: dict[str, Any] = {
        "id": truck.number,
        "name": truck.name,
        "account_id": truck.account_number,
        "status": truck.status,
    }
    if not tells:
        return told
    told["alerts_total"] = 0 if last is None else last.total
    told["last_alert"] = {}
    if last is not None and last.started_at is not None:
        told["last_alert"] = {
            "id": last.number,
            "alert_init": to_old_time(last.started_at, zone, separator=" "),
            "alert_end": ""
            if last.ended_at is None
            else to_old_time(last.ended_at, zone, separator=" "),
            "behavior": last.behavior,
            "started": last.ended_at is None,
        }
    return told


def to_user(member: Member) -> dict[str, Any]:
    """A person in a list."""
    return {
        "id": member.number,
        "account_id": member.account_number,
        "username": member.username,
        "email": member.email or "",
        "role": member.role or Role.ADMIN,
    }
