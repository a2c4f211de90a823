"""What an ASGI scope says, read without making objects of it: for what every request passes."""

from starlette.types import Scope


def header_in(scope: Scope, name: bytes) -> str | None:
    """The first header of that name, which is given in lower case."""
    for stated, value in scope["headers"]:
        if stated == name:
            text: str = value.decode("latin-1")
            return text
    return None
