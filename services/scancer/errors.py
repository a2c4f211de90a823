"""What can go wrong with models and predictions, as clients see it."""

from shared.problems import Problem


class ModelNotFound(Problem):
    """No model is registered under this name."""

    status, slug, title = 404, "model-not-found", "Model not found"

    def __init__(self, name: str) -> None:
        super().__init__(f"Model not found: {name}")


class VersionNotFound(Problem):
    """The model has no such version."""

    status, slug, title = 404, "model-version-not-found", "Model version not found"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"Model version: {version} does not exist for model: {name}")


class NoWorkers(Problem):
    """The model is registered and has no worker that could answer."""

    status, slug, title = 503, "no-workers", "No workers"

    def __init__(self, name: str) -> None:
        super().__init__(
            f'Model "{name}" has no worker to serve inference request. '
            "Please use scale workers API to add workers."
        )


class WorkersFailed(Problem):
    """The network could not be brought into memory."""

    status, slug, title = 500, "workers-failed", "Workers failed"


class AlreadyRegistered(Problem):
    """This version of the model is registered."""

    status, slug, title = 409, "already-registered", "Already registered"

    def __init__(self, name: str, version: str) -> None:
        super().__init__(f"Model version {version} is already registered for model {name}")


class DefaultVersionKept(Problem):
    """The default version cannot be removed while there are others."""

    status, slug, title = 403, "default-version", "Default version"

    def __init__(self, name: str) -> None:
        super().__init__(f"Cannot remove default version for model {name}")


class TooManyVersions(Problem):
    """As many versions are registered as there may be."""

    status, slug, title = 409, "too-many-versions", "Too many versions"


class ParameterInvalid(Problem):
    """A parameter is missing, or says what it may not."""

    status, slug, title = 400, "invalid-parameter", "Invalid parameter"


class ArchiveNotFound(Problem):
    """The model store holds no such archive."""

    status, slug, title = 404, "archive-not-found", "Archive not found"


class AddressRefused(Problem):
    """Packages are not registered from this address."""

    status, slug, title = 400, "address-refused", "Address refused"


class DownloadFailed(Problem):
    """The archive could not be fetched from its address."""

    status, slug, title = 400, "download-failed", "Download failed"


class PackageInvalid(Problem):
    """The archive is no package that is served here."""

    status, slug, title = 400, "invalid-package", "Invalid package"


class UnreadableBody(Problem):
    """The body holds no picture, or more of them than one request may bring."""

    status, slug, title = 422, "unreadable-body", "Unreadable body"


class NotExplained(Problem):
    """This network's answers cannot be explained, or not predicted this way at all."""

    status, slug, title = 409, "not-for-this-task", "Not for this task"


class PictureRefused(Problem):
    """The picture is nothing that the network was made for."""

    status, slug, title = 422, "picture-refused", "Picture refused"
