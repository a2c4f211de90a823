"""Finds the row of a path, segment by segment; the most exact one wins."""

from collections.abc import Iterable

from gateway.errors import MethodNotAllowed, MethodNotImplemented
from gateway.route import DEFAULT_RATE, METHODS, Rate, Route
from shared.problems import NotFound


class _Node:
    """One segment of the paths that the table knows."""

    __slots__ = ("any", "literal", "route", "tail")

    def __init__(self) -> None:
        self.literal: dict[str, _Node] = {}
        self.any: _Node | None = None
        self.route: Route | None = None
        self.tail: Route | None = None


class Policy:
    """The table, arranged so that a path finds its row in a few look-ups."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._root = _Node()
        for route in self.routes:
            self._add(route)

    @property
    def rates(self) -> frozenset[Rate]:
        """Every rate that a row names."""
        named = {rate for route in self.routes for rate in (route.rate, route.write_rate) if rate}
        return frozenset({DEFAULT_RATE, *named})

    def _add(self, route: Route) -> None:
        node = self._root
        for segment in route.segments:
            if segment == "**":
                if node.tail is not None:
                    raise ValueError(f"{route.path} is in the table twice")
                node.tail = route
                return
            if segment.startswith("{"):
                node.any = node.any or _Node()
                node = node.any
            else:
                node = node.literal.setdefault(segment, _Node())
        if node.route is not None:
            raise ValueError(f"{route.path} is in the table twice")
        node.route = route

    def find(self, path: str) -> Route:
        """The row of a decoded path.

        Raises:
            NotFound: the table has none.
        """
        route = _walk(self._root, path.split("/"), 1)
        if route is None:
            raise NotFound("There is nothing at this address.")
        return route

    def check_method(self, route: Route, method: str) -> None:
        """Let a method pass that this row knows, or that its service refuses in its own words.

        Raises:
            MethodNotImplemented: no row anywhere knows it.
            MethodNotAllowed: this row does not.
        """
        if method in route.methods:
            return
        if method in METHODS or method in ("TRACE", "CONNECT"):
            raise MethodNotAllowed(
                f"This address does not answer {method}.", headers={"Allow": route.allow}
            )
        raise MethodNotImplemented("This method is not known here.")


def _walk(node: _Node, segments: list[str], at: int) -> Route | None:
    """The most exact row below `node`: a literal segment before any, any before a tail."""
    if at == len(segments):
        return node.route
    segment = segments[at]
    following = node.literal.get(segment)
    found = _walk(following, segments, at + 1) if following is not None else None
    if found is None and node.any is not None and segment:
        found = _walk(node.any, segments, at + 1)
    if found is None and node.tail is not None and all(segments[at:]):
        found = node.tail
    return found
