"""What can go wrong with an analysis, as clients see it."""

from shared.problems import Problem


class AnalysisNotFound(Problem):
    """No analysis has this identifier, or the caller may not see it."""

    status, slug, title = 404, "analysis-not-found", "Analysis not found"

    def __init__(self) -> None:
        super().__init__("There is no such analysis among yours.")


class ExaminationNotFound(Problem):
    """No examination has this reference, or the caller may not see it."""

    status, slug, title = 404, "examination-not-found", "Examination not found"

    def __init__(self) -> None:
        super().__init__("There is no such examination among yours.")


class NoCredits(Problem):
    """The account has not enough credits for what was asked."""

    status, slug, title = 402, "no-credits", "No credits left"

    def __init__(self, remaining: int) -> None:
        super().__init__(
            "There are not enough credits left for this; the administrator can give more.",
            remaining=remaining,
        )
        self.remaining = remaining


class PictureTooLarge(Problem):
    """The picture has more bytes than this API takes."""

    status, slug, title = 413, "content-too-large", "Content too large"


class NotReady(Problem):
    """The analysis is not done yet, so there is nothing to draw or report."""

    status, slug, title = 409, "analysis-not-ready", "Analysis not done"


class NoSuchMask(Problem):
    """No lesion of this type was outlined on the photograph."""

    status, slug, title = 404, "no-such-mask", "No such mask"


class NotHeld(Problem):
    """The analysis does not wait for a person's decision."""

    status, slug, title = 409, "analysis-not-held", "Analysis not held"


class AlreadyDone(Problem):
    """The analysis is done, so it cannot be cancelled."""

    status, slug, title = 409, "analysis-done", "Analysis done"


class InvalidCursor(Problem):
    """The cursor was not given out by this list."""

    status, slug, title = 422, "invalid-cursor", "Invalid cursor"


class WebhookNotFound(Problem):
    """No webhook has this identifier, or the caller may not see it."""

    status, slug, title = 404, "webhook-not-found", "Webhook not found"


class DeliveryNotFound(Problem):
    """No delivery that was given up has this identifier, or the caller may not see it."""

    status, slug, title = 404, "delivery-not-found", "Delivery not found"


class WebhookRefused(Problem):
    """No webhook may go to this address."""

    status, slug, title = 422, "webhook-refused", "Webhook address refused"


class TooManyWebhooks(Problem):
    """The account has as many webhooks as one account may."""

    status, slug, title = 409, "too-many-webhooks", "Too many webhooks"
