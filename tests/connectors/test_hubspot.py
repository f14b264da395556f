"""HubSpot against a server of its API that knows the truth: every record with all properties and associations."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.fake_http import FAULTS, FakeClock
from tests.fixtures.fake_hubspot import ASSOCIATIONS_PAGE, FakeHubSpot, Record
from tests.fixtures.fake_services import Json
from tests.fixtures.syncs import (
    PROOF,
    Synced,
    goes_on_with_a_new_token,
    killed_between_any_two_requests,
    same_whatever_happens,
    synced,
)
from tunesmith.connectors.content import Content
from tunesmith.connectors.hubspot import HubSpot
from tunesmith.errors import UserError
from tunesmith.web.replies import HttpFault

CONTENT = Content()
EXTRA: Json = {
    "hs_note_body": {"fieldType": "html"},
    "mood": {"type": "enumeration", "options": [{"label": "Good", "value": "g"}, {"label": "Bad", "value": "b"}]},
    "hs_score": {"hubspotDefined": True, "modificationMetadata": {"readOnlyValue": True}},
    "hubspot_owner_id": {"referencedObjectType": "OWNER"},
    "secret": {"hidden": True, "hubspotDefined": False},
}


def records() -> dict[str, list[Record]]:
    people = [
        Record(
            str(n),
            {"firstname": f"Ada{n}", "email": f"a{n}@x.org", "shoe_size": str(30 + n), "hs_score": str(n)},
            {"companies": [("1", "Boss" if n == 2 else None)], "deals": [("9", None)] if n < 3 else []},
        )
        for n in range(1, 6)
    ]
    gone = Record("77", {"firstname": "Old", "email": "old@x.org"}, {"companies": [("1", None)]}, archived=True)
    everyone = [(str(n), None) for n in range(1, 6)]
    return {
        "contacts": [*people, gone],
        "companies": [Record("1", {"name": "Acme", "hubspot_owner_id": "5"}, {"contacts": everyone})],
        "deals": [
            Record(
                "9",
                {"dealname": "Big", "mood": "g;b", "dealstage": "w", "pipeline": "p1"},
                {"contacts": [("1", None), ("2", None)]},
            )
        ],
        "notes": [
            Record(
                "31", {"hs_note_body": "<p>Call <b>her</b></p><p>soon</p><img src='x'>"}, {"contacts": [("1", None)]}
            )
        ],
        "2-8": [Record("4", {"title": "Red car", "secret": "in the boot"}, {"contacts": [("1", "Driver")]})],
    }


def fake(**wishes: Any) -> FakeHubSpot:
    given: Json = {
        "records": records(), "labels": {"shoe_size": "Shoe size", "mood": "Mood"}, "extra": EXTRA,
        "own": {"2-8": "cars"}, "owners": {"5": "Grace"}, **wishes,
    }  # fmt: skip
    return FakeHubSpot(**given)


def connector(service: FakeHubSpot, kept: Path | None = None, clock: FakeClock | None = None, **wishes: Any) -> HubSpot:
    given: Json = {"place": "contacts,companies,deals,notes,2-8", "token": service.token, "content": CONTENT, **wishes}
    return HubSpot(kept=kept, base=service.base, clock=clock or FakeClock(), **given)


@pytest.fixture
def service() -> Iterator[FakeHubSpot]:
    with fake() as running:
        yield running
    assert running.strange == []


def test_every_record_of_every_type_is_there_with_all_of_its_properties(service: FakeHubSpot) -> None:
    found = synced(connector(service, place=""))
    kept = {f"hubspot:{kind}/{record.id}" for kind, some in records().items() for record in some}
    assert set(found.documents) == kept
    ada = found.documents["hubspot:contacts/2"]
    assert ada.title == "Ada2"
    assert ada.source == "https://app.hubspot.com/contacts/4711/record/0-1/2"
    for line in ("- Shoe size: 32", "- email: a2@x.org", "- company: Acme (Boss)", "- deal: Big"):
        assert line in ada.text.splitlines()
    deal = found.documents["hubspot:deals/9"].text
    assert all(line in deal.splitlines() for line in ("- Mood: Good, Bad", "- dealstage: Won", "- pipeline: Sales"))
    company = found.documents["hubspot:companies/1"]
    assert "Grace" in company.text
    assert company.labels == {"kind": "companies", "status": "active", "owner": "Grace"}
    note = found.documents["hubspot:notes/31"]
    assert "Call **her**\n\nsoon" in note.text
    assert "- contact: Ada1" in note.text
    car = found.documents["hubspot:2-8/4"]
    assert (car.title, "- contact: Ada1 (Driver)" in car.text, "in the boot" in car.text) == ("Red car", True, True)
    receipt = found.receipt
    assert (receipt.listed, receipt.fetched, receipt.skipped) == (10, 10, [])
    # A picture of which nothing is said stands in no text.
    assert receipt.parts.not_rendered == {"picture": 1}
    left = receipt.notes[0].rpartition(": ")[2].split(", ")
    assert set(left) == {"hs_object_id", "hs_score"}


def test_archived_records_are_read_and_say_so(service: FakeHubSpot) -> None:
    old = synced(connector(service)).documents["hubspot:contacts/77"]
    assert old.labels["status"] == "archived"
    assert "This record is archived." in old.text
    assert "old@x.org" in old.text


def test_more_properties_than_an_address_holds_are_all_read() -> None:
    values = {f"a_property_with_a_long_name_{n}": f"value {n}." for n in range(600)}
    with fake(records={"contacts": [Record("1", values)]}) as service:
        text = synced(connector(service)).documents["hubspot:contacts/1"].text
        assert service.strange == []
    assert all(f"value {n}." in text for n in range(600))


def test_associations_beyond_the_first_page_of_each_record_are_read() -> None:
    count = ASSOCIATIONS_PAGE * 2 + 10
    people = [Record(str(n), {"firstname": f"P{n}."}) for n in range(1, count + 1)]
    everyone = [(person.id, None) for person in people]
    company = Record("1", {"name": "Acme"}, {"contacts": everyone})
    with fake(records={"contacts": people, "companies": [company]}) as service:
        found = synced(connector(service, place="companies"))
        assert service.strange == []
    text = found.documents["hubspot:companies/1"].text
    assert all(f"- contact: P{n}.\n" in text for n in range(1, count + 1))
    assert found.receipt.parts.seen["association"] == count


@PROOF
@given(page=st.integers(1, 7), faults=st.dictionaries(st.integers(1, 90), st.sampled_from(FAULTS), max_size=15))
def test_any_page_size_and_any_faults_give_the_same_documents(page: int, faults: Json) -> None:
    with fake(clock=(clock := FakeClock())) as service:
        same_whatever_happens(partial(connector, service), service, clock, faults, page=page)


def test_a_sync_that_is_killed_between_any_two_requests_goes_on(tmp_path: Path) -> None:
    few = {kind: some for kind, some in records().items() if kind in {"contacts", "companies"}}
    with fake(records=few, own={}) as service:
        killed_between_any_two_requests(
            lambda kept, clock: connector(service, kept, clock, place="contacts,companies", page_size=2),
            service,
            tmp_path,
            "never asked: records are read a page at a time",
        )
        assert service.strange == []


def pages_read(service: FakeHubSpot) -> list[list[str]]:
    """Ids of the records read in full, batch by batch."""
    batches = [r.body for r in service.asked if r.path.endswith("/batch/read") and "objects" in r.path]
    return [[entry["id"] for entry in body["inputs"]] for body in batches if "hs_object_id" in body["properties"]]


def test_the_next_sync_reads_what_changed_alone_and_tells_what_is_gone(service: FakeHubSpot, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path))
    service.edit("contacts", "3", email="new@x.org")
    service.edit("contacts", "4", archived=True)
    del service.records["contacts"]["5"]
    service.again()
    second = synced(connector(service, tmp_path), first.versions)
    # The company names those that belong to it, and two of them are no longer there.
    assert set(second.documents) == {"hubspot:contacts/3", "hubspot:contacts/4", "hubspot:companies/1"}
    assert "new@x.org" in second.documents["hubspot:contacts/3"].text
    assert second.documents["hubspot:contacts/4"].labels["status"] == "archived"
    assert second.ids == first.ids - {"hubspot:contacts/5"}
    assert pages_read(service) == [["3"], ["4"], ["1"]]


def test_what_no_time_of_the_list_tells_is_seen_all_the_same(service: FakeHubSpot, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path))
    # An association and the name of a neighbour change, and the record's own time does not.
    service.records["contacts"]["5"].associated["deals"] = [("9", "Wish")]
    service.records["companies"]["1"].properties["name"] = "Acme & Sons"
    second = synced(connector(service, tmp_path), first.versions)
    assert "- deal: Big (Wish)" in second.documents["hubspot:contacts/5"].text
    assert "- company: Acme & Sons" in second.documents["hubspot:contacts/1"].text
    assert "hubspot:notes/31" in second.unchanged


def test_an_edit_at_any_moment_is_in_this_sync_or_in_the_next(tmp_path: Path) -> None:
    few = {kind: some for kind, some in records().items() if kind == "contacts"}
    with fake(records=few, own={}) as service:
        synced(connector(service, place="contacts", page_size=2))
        for number in range(1, len(service.log) + 1):
            service.edit("contacts", "4", archived=False)
            service.edit("contacts", "77", archived=True)
            first, second = edited(service, tmp_path, number)
            assert first.ids == second.ids == {f"hubspot:contacts/{id}" for id in (1, 2, 3, 4, 5, 77)}, number
            last = {**first.documents, **second.documents}
            assert f"late{number}." in last["hubspot:contacts/3"].text
            # Put away, or fetched back, while the lists were read: it is there, and says what it is at last.
            for id in ("4", "77"):
                kept = service.records["contacts"][id].archived
                assert last[f"hubspot:contacts/{id}"].labels["status"] == ("archived" if kept else "active"), number
        assert service.strange == []


def edited(service: FakeHubSpot, folder: Path, number: int) -> tuple[Synced, Synced]:
    """A sync with edits at one request, and the sync after it."""

    def edit(at: int) -> None:
        if at == number:
            service.edit("contacts", "3", email=f"late{number}.")
            for id in ("4", "77"):
                service.edit("contacts", id, archived=not service.records["contacts"][id].archived)

    kept = folder / str(number)
    service.again(before=edit)
    first = synced(connector(service, kept, place="contacts", page_size=2))
    assert first.receipt.skipped == []
    service.again()
    return first, synced(connector(service, kept, place="contacts", page_size=2), first.versions)


def test_types_that_the_token_may_not_see_are_named() -> None:
    with fake(forbidden=("deals", "schemas", "quotes")) as service:
        found = synced(connector(service, place=""))
        assert service.strange == []
    assert {unread.source for unread in found.unread} == {"deals", "quotes", "custom objects"}
    assert all("scope" in unread.fix for unread in found.unread)
    assert not any(id.startswith("hubspot:deals") for id in found.documents)
    assert not found.receipt.complete
    assert found.receipt.unaccounted == 0


def test_types_that_may_not_be_seen_any_more_are_kept_as_they_were(service: FakeHubSpot, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path, place=""))
    service.forbidden = ("deals", "schemas")
    second = synced(connector(service, tmp_path, place=""), first.versions)
    assert {"hubspot:deals/9", "hubspot:2-8/4"} <= set(second.unchanged)
    assert second.ids == first.ids


def test_a_note_of_markup_alone_is_empty_and_no_fault() -> None:
    with fake(records={"notes": [Record("1", {"hs_note_body": "<p><br></p>"})]}) as service:
        found = synced(connector(service, place="notes"))
    assert found.documents["hubspot:notes/1"].text == ""
    assert (len(found.receipt.empty), found.receipt.complete) == (1, True)


def test_a_limit_without_a_word_how_long_is_waited_for(service: FakeHubSpot) -> None:
    whole = synced(connector(service))
    service.again(refusals=dict.fromkeys(range(3, 7), "TEN_SECONDLY_ROLLING"))
    clock = FakeClock()
    found = synced(connector(service, clock=clock))
    assert found.texts == whole.texts
    assert found.receipt.repeated == {"429": 4}
    # Ten seconds must pass before such a limit forgets.
    assert sum(clock.slept) >= 10


def test_a_limit_of_the_day_ends_the_sync(service: FakeHubSpot, tmp_path: Path) -> None:
    service.again(refusals=dict.fromkeys(range(12, 100), "DAILY"))
    with pytest.raises(HttpFault, match="429") as caught:
        synced(connector(service, tmp_path))
    assert caught.value.stops


def test_a_token_that_is_revoked_ends_the_sync_and_a_new_one_goes_on(service: FakeHubSpot, tmp_path: Path) -> None:
    whole = synced(connector(service))
    # Between the reading of the contacts and that of the companies.
    read = [n for n, request in enumerate(service.asked, 1) if request.path.endswith("objects/contacts/batch/read")]
    receipt = goes_on_with_a_new_token(partial(connector, service), service, tmp_path, whole, read[-1] + 1)
    assert receipt.resumed > 0


def test_bad_settings_say_what_is_missing(service: FakeHubSpot, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("HUBSPOT_TOKEN", raising=False)
    with pytest.raises(UserError, match="HUBSPOT_TOKEN"):
        HubSpot()
    with pytest.raises(UserError, match="no objects named 'contcats'"):
        synced(connector(service, place="contcats"))
