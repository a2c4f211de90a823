"""What can go wrong in fleet, as clients see it."""

from shared.problems import Forbidden, Problem


class TruckNotFound(Problem):
    """No truck has this identifier, or the caller may not see it."""

    status, slug, title = 404, "truck-not-found", "Truck not found"

    def __init__(self) -> None:
        super().__init__("There is no such truck among those you may see.")


class AlertNotFound(Problem):
    """No alert has this identifier, or the caller may not see it."""

    status, slug, title = 404, "alert-not-found", "Alert not found"

    def __init__(self) -> None:
        super().__init__("There is no such alert among those you may see.")


class AlertOver(Problem):
    """The alert is over, and this wire takes nothing for it any more."""

    status, slug, title = 409, "alert-over", "Alert over"


class FrameNotFound(Problem):
    """No frame has this number, or the caller may not see it."""

    status, slug, title = 404, "frame-not-found", "Frame not found"

    def __init__(self) -> None:
        super().__init__("There is no such frame among those you may see.")


class IncidentNotFound(Problem):
    """No incident has this identifier, or the caller may not see it."""

    status, slug, title = 404, "incident-not-found", "Incident not found"

    def __init__(self) -> None:
        super().__init__("There is no such incident among those you may see.")


class MemberNotFound(Problem):
    """Nobody of this identifier or name has anything to do with the fleet."""

    status, slug, title = 404, "member-not-found", "Member not found"

    def __init__(self) -> None:
        super().__init__("There is no such person in the fleet.")


class NotThisTruck(Forbidden):
    """A device acts for its own truck alone."""

    slug, title = "not-this-truck", "Another truck"

    def __init__(self) -> None:
        super().__init__("A device acts for its own truck alone.")


class NotADevice(Forbidden):
    """The credential is not a device's, or not one that has a truck."""

    slug, title = "not-a-device", "Not a device"


class VersionConflict(Problem):
    """Somebody else changed the alert meanwhile."""

    status, slug, title = 412, "version-conflict", "Changed meanwhile"


class IllegalTransition(Problem):
    """An alert cannot go from its state to that one."""

    status, slug, title = 409, "illegal-transition", "State not possible"


class NameTaken(Problem):
    """Another truck, device or person has this name."""

    status, slug, title = 409, "name-taken", "Name taken"


class EnrolmentRefused(Problem):
    """The code is unknown, used or over; nobody learns which."""

    status, slug, title = 404, "enrolment-refused", "Enrolment not possible"

    def __init__(self) -> None:
        super().__init__("This enrolment code is not good.")


class KeyRefused(Problem):
    """The device's signature or challenge is not good."""

    status, slug, title = 401, "device-key-refused", "Device key not accepted"


class UnreadableFrame(Problem):
    """The bytes are not a JPEG, PNG or WebP picture."""

    status, slug, title = 422, "unreadable-frame", "Unreadable frame"


class FrameTooLarge(Problem):
    """A frame is larger than is taken."""

    status, slug, title = 413, "frame-too-large", "Frame too large"


class InvalidCursor(Problem):
    """The cursor was not given out by this list."""

    status, slug, title = 422, "invalid-cursor", "Invalid cursor"
