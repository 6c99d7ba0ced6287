"""What an address of the API does with each method, declared beside its view; the OpenAPI document is made of it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

from metrics_stream.core.protocol.codes import RequestErrorCode

JSON = "application/json"
NDJSON = "application/x-ndjson"
CSV = "text/csv"
EVENTS = "text/event-stream"

View = TypeVar("View", bound=Callable[..., Any])


@dataclass(frozen=True, slots=True, kw_only=True)
class Operation:
    """One method of an address: what it takes, what it returns, and who may call it."""

    summary: str
    """A sentence in the imperative."""
    tag: str
    answer: Any = None
    """The type of the answer as msgspec describes it; None for one without a body."""
    query: Any = None
    """The struct of its parameters."""
    bodies: tuple[Any, ...] = ()
    """The types that its body may have; empty for an operation without a body."""
    kinds: tuple[str, ...] = (JSON,)
    """The content types of its body."""
    status: int = 200
    answers_with: tuple[str, ...] = (JSON,)
    """The content types of its answer, the usual one first."""
    scope: str | None = None
    """The scope that a token needs; None if no credential is needed."""
    takes_session: bool = True
    """Whether the session of a browser gives access, too."""
    errors: tuple[RequestErrorCode, ...] = ()
    """Why it may refuse, besides what every operation may."""

    @property
    def is_stream(self) -> bool:
        """Whether the answer goes on until one side ends it."""
        return EVENTS in self.answers_with


def describes(method: str = "POST", **declared: Any) -> Callable[[View], View]:
    """Return a decorator that declares what a view does with its only method; the view itself stays as it is."""

    def decorate(view: View) -> View:
        view.operation = Operation(**declared)  # type: ignore[attr-defined]
        view.operations = {method: view.operation}  # type: ignore[attr-defined]
        return view

    return decorate


def operations_of(view: Callable[..., Any]) -> Mapping[str, Operation]:
    """Return the operations of a view by method; empty for one that is no part of the API."""
    found: Mapping[str, Operation] = getattr(view, "operations", {})
    return found
