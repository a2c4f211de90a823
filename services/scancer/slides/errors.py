"""What can go wrong with slides, as clients see it."""

from shared.problems import Problem


class SlideNotFound(Problem):
    """No slide has this identifier, or the caller may not see it."""

    status, slug, title = 404, "slide-not-found", "Slide not found"

    def __init__(self) -> None:
        super().__init__("There is no such slide.")


class UnreadableSlide(Problem):
    """The file is no slide or picture that is read here."""

    status, slug, title = 422, "unreadable-slide", "Unreadable slide"


class SlideTooLarge(Problem):
    """The slide, or what it would take to look at it, is larger than the limits allow."""

    status, slug, title = 413, "slide-too-large", "Slide too large"


class ResolutionUnknown(Problem):
    """Neither the file nor the request says how large a pixel is, or it does not suit."""

    status, slug, title = 422, "resolution-unsuitable", "Resolution unsuitable"


class RegionOutside(Problem):
    """The region is not on the slide."""

    status, slug, title = 422, "region-outside", "Region outside the slide"


class NotForSlides(Problem):
    """This network does not judge patches of slides."""

    status, slug, title = 422, "not-for-slides", "Network not for slides"


class NotFinished(Problem):
    """There is no heatmap yet, or there will be none."""

    status, slug, title = 409, "not-finished", "Not finished"


class TooManySlides(Problem):
    """The caller keeps as many slides, or as many bytes of them, as one may."""

    status, slug, title = 429, "too-many-slides", "Too many slides"


class InvalidCursor(Problem):
    """The cursor was not given out by this list."""

    status, slug, title = 422, "invalid-cursor", "Invalid cursor"
