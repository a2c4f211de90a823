"""What can go wrong with a study, as clients see it."""

from shared.problems import Problem


class StudyNotFound(Problem):
    """No study has this identifier, or the caller may not see it."""

    status, slug, title = 404, "study-not-found", "Study not found"

    def __init__(self) -> None:
        super().__init__("There is no such study among yours.")


class NoHeatmap(Problem):
    """The gate refused the picture, so that no network looked at it."""

    status, slug, title = 409, "no-heatmap", "No heatmap"


class NoReport(Problem):
    """The gate refused the picture, so that there is nothing to report."""

    status, slug, title = 409, "no-report", "No report"


class UnknownLabel(Problem):
    """The label is none of the five findings."""

    status, slug, title = 422, "unknown-label", "Unknown label"


class InvalidCursor(Problem):
    """The cursor was not given out by this list."""

    status, slug, title = 422, "invalid-cursor", "Invalid cursor"


class QuotaExceeded(Problem):
    """The caller keeps as many studies, or as many bytes, as one account may."""

    status, slug, title = 403, "quota-exceeded", "Quota exceeded"
