"""What may go wrong that a caller is told about."""

from shared.problems import NotFound, Problem


class ScanNotFound(NotFound):
    """No scan has this identifier, or the caller may not see it."""

    slug, title = "scan-not-found", "Scan not found"

    def __init__(self) -> None:
        super().__init__("There is no such scan.")


class DatasetNotFound(NotFound):
    """No dataset has this name, or the caller may not see it."""

    slug, title = "dataset-not-found", "Dataset not found"

    def __init__(self) -> None:
        super().__init__("There is no such dataset.")


class NotPossibleNow(Problem):
    """The task is in a state in which this cannot be done."""

    status, slug, title = 409, "not-possible-now", "Not possible in this state"


class InputRefused(Problem):
    """What was named or sent cannot be scanned."""

    status, slug, title = 422, "input-refused", "Input refused"


class ArchiveRefused(InputRefused):
    """The archive is none, or holds what is not unpacked."""

    slug, title = "archive-refused", "Archive refused"


class NothingToAnalyse(Problem):
    """The dataset has too few usable profiles for what was asked."""

    status, slug, title = 422, "nothing-to-analyse", "Nothing to analyse"


class StillWorking(Problem):
    """What was asked for is being made."""

    status, slug, title = 503, "still-working", "Still working"

    def __init__(self, detail: str) -> None:
        super().__init__(detail, headers={"Retry-After": "5"})
