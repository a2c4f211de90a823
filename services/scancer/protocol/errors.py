"""The protocol's own failure."""

from shared.problems import Problem


class BadInference(Problem):
    """The request is not of the protocol, or not what the model reads."""

    status, slug, title = 400, "bad-inference-request", "Bad inference request"
