"""The admin page Connections: the clients of all server processes, why one gets a metric, and disconnecting it."""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime
from typing import Any, cast

from django import forms
from django.contrib import admin, messages
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.auth.base_user import AbstractBaseUser
from django.contrib.contenttypes.models import ContentType
from django.core.exceptions import PermissionDenied
from django.forms import Script
from django.http import HttpRequest, HttpResponse, HttpResponseNotAllowed, HttpResponseRedirect
from django.template.response import TemplateResponse
from django.urls import URLPattern, path, reverse
from django.utils import timezone
from django.utils.http import urlencode

from metrics_stream.access.grants import Access, access_of_user, sees_connections
from metrics_stream.access.visibility import visible_catalogue, visible_subscription
from metrics_stream.admin.base import ReadOnly
from metrics_stream.bus import processes as control
from metrics_stream.bus.messages import CloseClient
from metrics_stream.conf import get_settings
from metrics_stream.core.delivery.explanation import Question, fits, holds
from metrics_stream.core.delivery.selection import permitted_metrics
from metrics_stream.core.errors import BusError
from metrics_stream.core.formatting import NO_VALUE, format_duration, format_number
from metrics_stream.core.metrics.keys import agents_of
from metrics_stream.core.metrics.metric import Metric
from metrics_stream.core.metrics.permission import Permit
from metrics_stream.models import Connection
from metrics_stream.models.validators import MAX_TERM_LENGTH, validate_printable

# A browser draws so many rows at once; with more clients, people filter.
MOST_ROWS = 300
# The page offers so many metrics for a question.
MOST_OFFERED = 12
# The page lists so many of the latest disconnections.
MOST_KICKS = 10
# Describing a thousand clients costs a server process some 10 ms.
REFRESH_SECONDS = 3
REFRESH_SECONDS_OF_MANY = 15
MANY_CLIENTS = 1_000

STATES = {
    "live": "live",
    "idle": "idle",
    "replaying": "replaying",
    "catching up": "catching up",
    "slow": "not reading",
}

Row = dict[str, Any]

# Name, heading, sort key, and whether the first press puts the largest value first.
COLUMNS: list[tuple[str, str, Callable[[Row], Any], bool]] = [
    ("who", "Who", lambda row: row["who"].lower(), False),
    ("subscription", "Subscription", lambda row: row["subscription_words"], False),
    ("state", "State", lambda row: row["state"], False),
    ("frames", "Frames", lambda row: row["messages_sent"], True),
    ("metrics", "Metrics", lambda row: row["metrics_sent"], True),
    ("bytes", "Bytes", lambda row: row["bytes_sent"], True),
    ("age", "Last frame", lambda row: row["seconds_since_frame"] or 0.0, True),
    ("waiting", "Waiting", lambda row: (row["bytes_waiting"], row["metrics_waiting"]), True),
    ("dropped", "Dropped", lambda row: row["metrics_dropped"], True),
    ("since", "Connected", lambda row: row["connected_since"], True),
]


class DisconnectForm(forms.Form):
    """Asks for the reason of a disconnection."""

    reason = forms.CharField(
        max_length=100,
        validators=[validate_printable],
        widget=forms.TextInput(attrs={"class": "vTextField", "autofocus": True}),
        help_text="It is sent to the client and stored in the log of the admin.",
    )


class QuestionForm(forms.Form):
    """Asks which metric a question is about."""

    metric_type = forms.CharField(label="Metric type", max_length=MAX_TERM_LENGTH, validators=[validate_printable])
    source = forms.CharField(required=False, max_length=MAX_TERM_LENGTH, validators=[validate_printable])
    agent_id = forms.CharField(
        label="Agent", required=False, max_length=MAX_TERM_LENGTH, validators=[validate_printable]
    )
    field = forms.CharField(required=False, max_length=MAX_TERM_LENGTH, validators=[validate_printable])

    def __init__(self, *args: Any, types: list[dict[str, Any]], **kwargs: Any) -> None:
        """`types` are those that the person may see, with their fields."""
        super().__init__(*args, **kwargs)
        choices = [("", "Choose…"), *((item["slug"], item["label"]) for item in types)]
        self.fields["metric_type"].widget = forms.Select(choices=choices)
        for name in ("source", "agent_id", "field"):
            self.fields[name].widget.attrs |= {"placeholder": "any", "autocomplete": "off", "list": f"known-{name}"}


@admin.register(Connection)
class ConnectionAdmin(ReadOnly, admin.ModelAdmin):  # type: ignore[type-arg]
    class Media:
        css = {"all": ["metrics_stream/admin/connections.css"]}
        js = [Script("metrics_stream/pages/run_pages.js", type="module")]

    def get_urls(self) -> list[URLPattern]:
        wrap = self.admin_site.admin_view
        prefix = "metrics_stream_connection"
        return [
            path("", wrap(self.list_page), name=f"{prefix}_changelist"),
            path("<slug:client_id>/", wrap(self.client_page), name=f"{prefix}_change"),
            path("<slug:client_id>/disconnect/", wrap(self.disconnect_page), name=f"{prefix}_disconnect"),
        ]

    def has_view_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        return sees_connections(request.user)

    def may_disconnect(self, request: HttpRequest) -> bool:
        return request.user.has_perm("metrics_stream.disconnect_connection")

    def _respond(self, request: HttpRequest, template: str, title: str, **context: Any) -> HttpResponse:
        everywhere = {**self.admin_site.each_context(request), "opts": self.opts, "title": title, "media": self.media}
        everywhere["may_disconnect"] = self.may_disconnect(request)
        response = TemplateResponse(request, f"admin/metrics_stream/connection/{template}.html", everywhere | context)
        response["Cache-Control"] = "private, no-store"
        return response

    # --- the list ---

    def list_page(self, request: HttpRequest) -> HttpResponse:
        self._require_view(request)
        problem, processes = "", []
        try:
            processes = control.gather_clients()
        except BusError as error:
            problem = str(error)
        permit = _access_of_asker(request).permit
        rows = [_row(client, stats["process"], permit) for stats in processes for client in stats["clients"]]
        wanted = request.GET.get("q", "").strip()
        found = [row for row in rows if all(word in row["text"] for word in wanted.lower().split())]
        order, headings = _order(request.GET.get("o", ""), wanted)
        for key, reverse_order in order:
            found.sort(key=key, reverse=reverse_order)
        return self._respond(
            request,
            "list",
            "Connections",
            subtitle=None,
            problem=problem,
            processes=len(processes),
            total=len(rows),
            found=len(found),
            rows=found[:MOST_ROWS],
            headings=headings,
            wanted=wanted,
            order=request.GET.get("o", ""),
            kicks=self._kicks(),
            refresh_seconds=REFRESH_SECONDS_OF_MANY if len(rows) > MANY_CLIENTS else REFRESH_SECONDS,
        )

    def _require_view(self, request: HttpRequest) -> None:
        if not self.has_view_permission(request):
            raise PermissionDenied

    def _kicks(self, client_id: str | None = None) -> list[LogEntry]:
        kind = ContentType.objects.get_for_model(Connection)
        entries = LogEntry.objects.filter(content_type=kind).select_related("user").order_by("-action_time")
        return list((entries if client_id is None else entries.filter(object_id=client_id))[:MOST_KICKS])

    # --- one client, and why ---

    def client_page(self, request: HttpRequest, client_id: str) -> HttpResponse:
        self._require_view(request)
        access = _access_of_asker(request)
        types = visible_catalogue(access)
        form = QuestionForm(request.GET if "metric_type" in request.GET else None, types=types)
        answer, problem, offered = None, "", []
        permit = access.permit
        try:
            published = control.newest_metrics(get_settings().catalogue().slugs)
            seen = list(permitted_metrics(published, permit))
            known = get_settings().catalogue().types
            # The health metrics of every second would push out all others.
            offered = sorted(seen, key=lambda metric: known[metric.metric_type].about_service)[:MOST_OFFERED]
            asked = form.cleaned_data if form.is_valid() else {}
            answer = control.ask_about_client(_question(client_id, asked, seen, permit))
        except BusError as error:
            problem = str(error)
        row = None if answer is None else _row(answer["client"], answer["process"], permit)
        return self._respond(
            request,
            "client",
            row["label"] if row else f"Client {client_id[:8]}",
            subtitle=None,
            client_id=client_id,
            row=row,
            problem=problem,
            form=form,
            explanation=answer["explanation"] if answer else None,
            offers=[_offer(metric) for metric in offered],
            names=_names(seen if not problem else [], form, types),
            kicks=self._kicks(client_id),
        )

    # --- disconnecting ---

    def disconnect_page(self, request: HttpRequest, client_id: str) -> HttpResponse:
        self._require_view(request)
        if not self.may_disconnect(request):
            raise PermissionDenied
        if request.method not in ("GET", "POST"):
            return HttpResponseNotAllowed(["GET", "POST"])
        back = HttpResponseRedirect(reverse("admin:metrics_stream_connection_changelist"))
        try:
            answer = control.ask_about_client(Question(client_id=client_id))
        except BusError as error:
            self.message_user(request, f"No client was disconnected: {error}.", messages.ERROR)
            return back
        if answer is None:
            self.message_user(request, f"The client {client_id[:8]} is no longer connected.", messages.WARNING)
            return back
        row = _row(answer["client"], answer["process"], _access_of_asker(request).permit)
        form = DisconnectForm(request.POST or None)
        if not form.is_valid():
            return self._respond(
                request, "disconnect", f"Disconnect {row['label']}?", subtitle=None, row=row, form=form,
                client_id=client_id,
            )  # fmt: skip
        reason = form.cleaned_data["reason"]
        if not control.tell_servers(CloseClient(client_id, f"disconnected by an admin: {reason}")):
            self.message_user(
                request, "No client was disconnected: the server processes cannot be reached.", messages.ERROR
            )
            return back
        self._note(request, row, reason)
        self.message_user(request, f"Disconnected {row['label']}.", messages.SUCCESS)
        return back

    def _note(self, request: HttpRequest, row: Row, reason: str) -> None:
        LogEntry.objects.create(
            user_id=request.user.pk or 0,  # staff, so never None
            content_type=ContentType.objects.get_for_model(Connection),
            object_id=row["client_id"],
            object_repr=row["label"][:200],
            action_flag=CHANGE,
            change_message=f"Disconnected: {reason}",
        )


def _access_of_asker(request: HttpRequest) -> Access:
    return access_of_user(cast(AbstractBaseUser, request.user))  # the admin requires a sign-in


# --- the content of a row ---


def _row(client: dict[str, Any], process: str, permit: Permit) -> Row:
    client = {**client, "subscription": visible_subscription(client["subscription"], permit)}
    who, address = client["who"] or "somebody", client["address"]
    since = datetime.fromisoformat(client["connected_since"])
    age = client["seconds_since_frame"]
    words = _subscription_words(client["subscription"])
    connection = Connection(client_id=client["client_id"], who=who, address=address)
    label = str(connection)
    row = {
        **client,
        "who": who,
        "short_id": client["client_id"][:8],
        "label": label,
        "process": process,
        "state": STATES.get(client["state"], client["state"]),
        "state_key": client["state"].replace(" ", "-"),
        "since": since,
        "duration": format_duration((timezone.now() - since).total_seconds()),
        "age": NO_VALUE if age is None else (f"{age:.1f}\u00a0s" if age < 60 else format_duration(age)),
        "size": _size(client["bytes_sent"]),
        "waiting": _waiting_words(client),
        "subscription_words": words,
        "types": ", ".join(client["subscription"]["metric_types"]) or "nothing",
        "narrowing": _narrowing(client["subscription"]["filters"]),
        "pace": _pace(client["subscription"]),
    }
    row["text"] = " ".join([label, client["client_id"], process, words, row["state"]]).lower()
    return row


def _subscription_words(subscription: dict[str, Any]) -> str:
    parts = [", ".join(subscription["metric_types"]) or "nothing", _narrowing(subscription["filters"])]
    return "; ".join(part for part in [*parts, _pace(subscription)] if part)


def _narrowing(filters: dict[str, Any]) -> str:
    nouns = {"sources": "source", "agent_ids": "agent", "fields": "field"}
    named = [(noun, filters.get(name)) for name, noun in nouns.items()]
    parts = []
    for noun, terms in [*named, *filters.get("keys", {}).items()]:
        if terms:
            more = f" and {len(terms) - 3} more" if len(terms) > 3 else ""
            parts.append(f"{noun}{'s' if len(terms) > 1 else ''} {', '.join(terms[:3])}{more}")
    return f"only {'; '.join(parts)}" if parts else ""


def _pace(subscription: dict[str, Any]) -> str:
    return f"{subscription['mode']}, every {subscription['interval_seconds']:g} s"


def _size(count: int) -> str:
    return f"{format_number(float(count))}B" if count >= 10_000 else f"{count:,} B"


def _waiting_words(client: dict[str, Any]) -> str:
    count = client["metrics_waiting"]
    parts = [f"{count:,} metric{'s' if count > 1 else ''}"] if count else []
    parts += [_size(client["bytes_waiting"])] if client["bytes_waiting"] else []
    return ", ".join(parts) or NO_VALUE


def _order(asked: str, wanted: str) -> tuple[list[tuple[Callable[[Row], Any], bool]], list[dict[str, Any]]]:
    """Return the sort keys of the rows, the most important last, and the headings with their links."""
    name, is_reversed = asked.lstrip("-"), asked.startswith("-")
    headings = []
    order: list[tuple[Callable[[Row], Any], bool]] = [(lambda row: row["connected_since"], True)]
    for column, label, key, largest_first in COLUMNS:
        chosen = column == name
        if chosen:
            order.append((key, is_reversed))
        next_reversed = not is_reversed if chosen else largest_first
        query = {**({"q": wanted} if wanted else {}), "o": f"{'-' if next_reversed else ''}{column}"}
        headings.append(
            {
                "label": label,
                "name": column,
                "query": urlencode(query),
                "aria": ("descending" if is_reversed else "ascending") if chosen else "none",
            }
        )
    return order, headings


# --- questions ---


def _question(client_id: str, asked: dict[str, str], seen: list[Metric], permit: Permit) -> Question:
    metric_type = asked.get("metric_type", "")
    if not metric_type:
        return Question(client_id=client_id)
    of_type = [metric for metric in seen if metric.metric_type == metric_type]
    fitting = [metric for metric in of_type if fits(metric, source=asked["source"], agent_id=asked["agent_id"])]
    holding = [metric for metric in fitting if holds(metric.body, asked["agent_id"], asked["field"])]
    return Question(
        client_id=client_id,
        metric_type=metric_type,
        source=asked["source"],
        agent_id=asked["agent_id"],
        field=asked["field"],
        newest=next(iter(holding or fitting), None),
        newest_of_type=next(iter(of_type), None),
        history_seconds=get_settings().history_seconds,
        asker=permit,
    )


def _offer(metric: Metric) -> dict[str, str]:
    agents = agents_of(metric.rows)
    whose = f", {len(agents)} agents" if len(agents) > 1 else "".join(f", agent {one}" for one in agents)
    age = max(0.0, timezone.now().timestamp() - metric.timestamp)
    asked = {"metric_type": metric.metric_type, "source": metric.source}
    if len(agents) == 1:
        asked["agent_id"] = agents[0]
    return {
        "label": f"{metric.metric_type} of {metric.source}{whose}",
        "age": f"{age:.1f}\u00a0s old" if age < 60 else f"{format_duration(age)} old",
        "query": urlencode(asked),
    }


def _names(seen: list[Metric], form: QuestionForm, types: list[dict[str, Any]]) -> dict[str, list[str]]:
    """Return the names in the history and of the visible types as suggestions."""
    metric_type = form.data.get("metric_type", "") if form.is_bound else ""
    of_type = [metric for metric in seen if metric_type in ("", metric.metric_type)]
    fields = [field["name"] for item in types if metric_type in ("", item["slug"]) for field in item["fields"]]
    return {
        "source": sorted({metric.source for metric in of_type})[:100],
        "agent_id": sorted({agent_id for metric in of_type for agent_id in agents_of(metric.rows)})[:100],
        "field": sorted(set(fields)),
    }
