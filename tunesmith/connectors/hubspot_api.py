"""What HubSpot is asked, and how its lists end: types of object, properties, records, associations, owners.

Properties that are not asked for are not given, and asked for in the address they make it too long; so records are
listed without any and then read by batches that name all. Associations are read by batches, too, each with pages of its
own: those given with a record end early. It writes no text.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from tunesmith.web.http import Client
from tunesmith.web.replies import HttpFault

PAGE = 100
ASSOCIATIONS = 1000
Json = dict[str, Any]


@dataclass(frozen=True)
class Kind:
    """A type of object.

    Args:
        name: As paths have it: ``contacts``, ``2-1234``.
        type_id: As the app's addresses have it: ``0-1``.
        said: For a person, in the singular.
        titles: Properties that name a record: the first that has a value, those joined by ``+`` together.
        central: Whether others are associated with it; notes and calls are not.
    """

    name: str
    type_id: str
    said: str
    titles: tuple[str, ...]
    central: bool = False


KINDS = (
    Kind("contacts", "0-1", "contact", ("firstname+lastname", "email"), central=True),
    Kind("companies", "0-2", "company", ("name", "domain"), central=True),
    Kind("deals", "0-3", "deal", ("dealname",), central=True),
    Kind("tickets", "0-5", "ticket", ("subject",), central=True),
    Kind("products", "0-7", "product", ("name",)),
    Kind("line_items", "0-8", "line item", ("name",)),
    Kind("quotes", "0-14", "quote", ("hs_title",)),
    Kind("notes", "0-46", "note", ()),
    Kind("calls", "0-48", "call", ("hs_call_title",)),
    Kind("emails", "0-49", "e-mail", ("hs_email_subject",)),
    Kind("meetings", "0-47", "meeting", ("hs_meeting_title",)),
    Kind("tasks", "0-27", "task", ("hs_task_subject",)),
)


PIPELINES = {"deals": ("pipeline", "dealstage"), "tickets": ("hs_pipeline", "hs_pipeline_stage")}
"""Properties whose values are ids of a pipeline and of its stages."""
GIVEN = {
    "hs_email_from_email", "hs_email_from_firstname", "hs_email_from_lastname", "hs_email_to_email",
    "hs_email_cc_email", "hs_email_text", "hs_email_html", "hs_call_transcript",
}  # fmt: skip
"""Read-only properties of HubSpot's own that hold what people wrote."""


@dataclass(frozen=True)
class Property:
    """What a property is called and how its values are read.

    Args:
        name: As the service has it.
        label: For a person.
        html: Whether its values are HTML.
        owner: Whether its values are ids of owners.
        options: Label of each value, where values are chosen from a list.
        computed: Whether HubSpot itself fills it: numbers of an id, counts, scores, times that change by themselves.
    """

    name: str
    label: str
    html: bool = False
    owner: bool = False
    options: Mapping[str, str] = field(default_factory=dict)
    computed: bool = False


@dataclass(frozen=True)
class Link:
    """That a record belongs to another, and as what."""

    kind: str
    id: str
    labels: tuple[str, ...] = ()


class HubSpotApi:
    """Asks HubSpot.

    Args:
        client: By which it is asked.
        page: Records a page, at most 100.
    """

    def __init__(self, client: Client, page: int = PAGE) -> None:
        self._client, self._page = client, page

    def portal(self) -> tuple[str, str]:
        """Host of the app and number of the account, for the addresses of records."""
        told = self._client.get("account-info/v3/details")
        return str(told.get("uiDomain") or "app.hubspot.com"), str(told["portalId"])

    def own_kinds(self) -> list[Kind]:
        """Types of object that the account made itself.

        Raises:
            HttpFault: 403 where the token has no scope for them.
        """
        found = self._client.get("crm/v3/schemas", {"archived": "false"})["results"]
        return [
            Kind(
                str(schema["objectTypeId"]),
                str(schema["objectTypeId"]),
                str((schema.get("labels") or {}).get("singular") or schema["name"]),
                tuple(filter(None, (schema.get("primaryDisplayProperty"),))),
                central=True,
            )
            for schema in found
        ]

    def properties(self, kind: Kind) -> dict[str, Property]:
        """All properties of a type.

        Raises:
            HttpFault: 403 where the token has no scope for it.
        """
        told = self._client.get(f"crm/v3/properties/{kind.name}", {"archived": "false"})["results"]
        found = {str(entry["name"]): _property(entry) for entry in told}
        if kind.name in PIPELINES:
            names = PIPELINES[kind.name]
            labels = self._pipelines(kind)
            found |= {name: replace(found[name], options=labels) for name in names if name in found}
        return found

    def _pipelines(self, kind: Kind) -> dict[str, str]:
        """Labels of a type's pipelines and of their stages; none where the token may not see them."""
        try:
            told = self._client.get(f"crm/v3/pipelines/{kind.name}")["results"]
        except HttpFault as fault:
            if fault.stops or fault.status not in {403, 404}:
                raise
            return {}
        every = [entry for pipeline in told for entry in (pipeline, *pipeline.get("stages", ()))]
        return {str(entry["id"]): str(entry["label"]) for entry in every}

    def records(self, kind: Kind, *, archived: bool) -> Iterator[list[Json]]:
        """Pages of records with their ids and times alone, in the order of their ids."""

        def ask(after: str | None) -> Any:
            given = {"limit": self._page, "after": after, "archived": str(archived).lower()}
            return self._client.get(f"crm/v3/objects/{kind.name}", {**given, "properties": "hs_object_id"})

        for reply in self._client.pages(ask, _following):
            yield reply["results"]

    def read(self, kind: str, ids: Sequence[str], names: Sequence[str], *, archived: bool) -> dict[str, Json]:
        """Records by id with these properties; one that is not there (any more) is left out."""
        found: dict[str, Json] = {}
        for start in range(0, len(ids), PAGE):
            some = [{"id": id} for id in ids[start : start + PAGE]]
            body = {"inputs": some, "properties": list(names)}
            # 207 tells that some are not there; those that are came all the same.
            params = {"archived": str(archived).lower()}
            reply = self._client.post(f"crm/v3/objects/{kind}/batch/read", body, params)
            found |= {str(record["id"]): record for record in reply["results"]}
        return found

    def associations(self, kind: str, other: str, ids: Sequence[str]) -> dict[str, list[Link]]:
        """By record the ones of another type that it belongs to, all pages of each."""
        found: dict[str, dict[str, Link]] = {id: {} for id in ids}
        asked: list[Json] = [{"id": id} for id in ids]
        seen: set[tuple[str, str]] = set()
        while asked:
            reply = self._client.post(
                f"crm/v4/associations/{kind}/{other}/batch/read", {"inputs": asked[:ASSOCIATIONS]}
            )
            asked = asked[ASSOCIATIONS:]
            for result in reply["results"]:
                id = str(result["from"]["id"])
                for to in result["to"]:
                    labels = tuple(t["label"] for t in to["associationTypes"] if t.get("label"))
                    found[id][str(to["toObjectId"])] = Link(other, str(to["toObjectId"]), labels)
                after = ((result.get("paging") or {}).get("next") or {}).get("after")
                if after:
                    if (id, after) in seen:
                        said = f"HubSpot names the same page of associations of {kind}/{id} twice"
                        raise HttpFault(said, self._client.base, reason="cursor loop", stops=True)
                    seen.add((id, after))
                    asked.append({"id": id, "after": after})
        return {id: [links[to] for to in sorted(links, key=_number)] for id, links in found.items()}

    def owners(self) -> dict[str, str]:
        """Names of those who own records, also of those who have left.

        Raises:
            HttpFault: 403 where the token has no scope for them.
        """
        found: dict[str, str] = {}
        for archived in ("true", "false"):

            def ask(after: str | None, archived: str = archived) -> Any:
                return self._client.get("crm/v3/owners", {"limit": PAGE, "after": after, "archived": archived})

            for reply in self._client.pages(ask, _following):
                for owner in reply["results"]:
                    name = " ".join(filter(None, (owner.get("firstName"), owner.get("lastName"))))
                    found[str(owner["id"])] = name or str(owner.get("email") or owner["id"])
        return found


def title_of(kind: Kind, values: Mapping[str, Any]) -> str:
    """What names a record; empty where nothing does."""
    for written in kind.titles:
        name = " ".join(filter(None, (str(values.get(part) or "").strip() for part in written.split("+"))))
        if name:
            return name
    return ""


def title_properties(kind: Kind) -> list[str]:
    """Properties that `title_of` looks at."""
    return [part for written in kind.titles for part in written.split("+")]


def _property(entry: Json) -> Property:
    options = {str(option["value"]): str(option["label"]) for option in entry.get("options") or ()}
    fixed = bool((entry.get("modificationMetadata") or {}).get("readOnlyValue"))
    given = entry["name"] in GIVEN or not entry.get("hubspotDefined")
    made = fixed or bool(entry.get("calculated")) or bool(entry.get("hidden"))
    return Property(
        str(entry["name"]),
        str(entry.get("label") or entry["name"]),
        html=entry.get("fieldType") == "html",
        owner=entry.get("referencedObjectType") == "OWNER" or entry["name"] == "hubspot_owner_id",
        options=options,
        computed=made and not given,
    )


def _following(reply: Any) -> str | None:
    after = ((reply.get("paging") or {}).get("next") or {}).get("after")
    return str(after) if after else None


def _number(id: str) -> tuple[int, str]:
    return (int(id), "") if id.isdigit() else (0, id)
