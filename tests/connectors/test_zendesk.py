"""Zendesk against a server of its API that knows the truth: every ticket, comment and translation."""

from __future__ import annotations

from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tests.fixtures.fake_http import FAULTS, FakeClock
from tests.fixtures.fake_services import Json
from tests.fixtures.fake_zendesk import Article, Comment, FakeZendesk, Ticket
from tests.fixtures.syncs import (
    PROOF,
    goes_on_with_a_new_token,
    killed_between_any_two_requests,
    same_whatever_happens,
    synced,
)
from tunesmith.connectors.content import Content
from tunesmith.connectors.zendesk import Zendesk
from tunesmith.errors import UserError

CONTENT = Content()


def tickets(count: int = 9) -> list[Ticket]:
    made = [
        Ticket(
            number,
            f"Printer {number}",
            tuple(Comment(number * 100 + c, f"said {number}.{c}", author=1 + c % 3) for c in range(1 + number % 4)),
            generated=1000 + number // 2,
        )
        for number in range(1, count + 1)
    ]
    made.append(Ticket(50, "Gone", (Comment(1, "never"),), status="deleted", generated=1003))
    return made


def articles() -> list[Article]:
    return [
        Article(7, 1, {"en-us": ("Refunds", "<p>Within <b>30</b> days.</p>", False), "de": ("Geld", "30 Tage", True)}),
        Article(8, 1, {"en-us": ("Empty", "", False)}, segment=5),
    ]


def fake(**wishes: Any) -> FakeZendesk:
    given: Json = {
        "tickets": tickets(), "articles": articles(), "users": {1: "Ada", 2: "Bob", 3: "Cem"},
        "sections": {1: ("Money", "Shop")}, "ticket_fields": {11: "Model"}, **wishes,
    }  # fmt: skip
    return FakeZendesk(**given)


def connector(service: FakeZendesk, kept: Path | None = None, clock: FakeClock | None = None, **wishes: Any) -> Zendesk:
    given: Json = {"token": service.token, "email": service.email, "content": CONTENT, **wishes}
    return Zendesk(kept=kept, base=service.base, clock=clock or FakeClock(), **given)


@pytest.fixture
def service() -> Iterator[FakeZendesk]:
    with fake() as running:
        yield running
    assert running.strange == []


def test_every_ticket_comment_and_translation_is_there(service: FakeZendesk) -> None:
    found = synced(connector(service))
    assert set(found.documents) == {f"zendesk:ticket/{n}" for n in range(1, 10)} | {
        "zendesk:article/7/en-us", "zendesk:article/7/de", "zendesk:article/8/en-us",
    }  # fmt: skip
    for ticket in service.tickets.values():
        if ticket.status != "deleted":
            text = found.documents[f"zendesk:ticket/{ticket.id}"].text
            places = [text.index(comment.body) for comment in ticket.comments]
            assert places == sorted(places)
            assert all(service.users[comment.author] in text for comment in ticket.comments)
    english, german = found.documents["zendesk:article/7/en-us"], found.documents["zendesk:article/7/de"]
    assert "Within **30** days." in english.text
    assert english.labels == {
        "kind": "article", "language": "en-us", "status": "published", "path": "Shop / Money", "segment": "everyone",
    }  # fmt: skip
    assert (german.labels["status"], german.labels["language"]) == ("draft", "de")
    receipt = found.receipt
    assert receipt.empty == ["https://example.zendesk.com/hc/en-us/articles/8"]
    assert (receipt.listed, receipt.fetched, receipt.skipped, receipt.complete) == (12, 12, [], True)
    assert receipt.parts.seen["Comment"] == sum(len(t.comments) for t in tickets() if t.status != "deleted")


def test_parts_of_a_ticket_are_written_or_named() -> None:
    said = Comment(2, "Call with Bob", kind="VoiceComment", attachments=("a.pdf", "b.png"))
    hidden = Comment(3, "she is angry", author=2, public=False)
    ticket = Ticket(
        1, "Printer on fire", (Comment(1, "It burns"), said, hidden), tags=("fire",), fields={11: "X9", 12: None}
    )
    with fake(tickets=[ticket], articles=None) as service:
        found = synced(connector(service))
    document = found.documents["zendesk:ticket/1"]
    assert document.title == "Printer on fire"
    for text in (
        "- Requester: Ada", "- Tags: fire", "- Model: X9", "It burns", "spoken: Call with Bob",
        "Attachment: a.pdf (application/pdf)", "## Bob, 2026-01-01T00:00:00Z (internal note)\n\nshe is angry",
    ):  # fmt: skip
        assert text in document.text
    assert found.receipt.parts.not_rendered == {"attachment": 2}
    assert not found.receipt.complete
    assert found.receipt.notes == ["this Zendesk has no help centre"]


def test_a_ticket_of_more_comments_than_pages_by_number_reach_is_whole() -> None:
    comments = tuple(Comment(number, f"said-{number}.") for number in range(1, 351))
    with fake(tickets=[Ticket(1, "Long", comments)], articles=None, page=3) as service:
        # Pages by number would end at the 300th.
        found = synced(connector(service))
    text = found.documents["zendesk:ticket/1"].text
    assert all(f"said-{number}." in text for number in range(1, 351))
    assert service.strange == []


@PROOF
@given(
    page=st.integers(1, 7),
    faults=st.dictionaries(st.integers(1, 45), st.sampled_from(FAULTS), max_size=12),
    sideloads=st.booleans(),
)
def test_any_page_size_and_any_faults_give_the_same_documents(page: int, faults: Json, sideloads: bool) -> None:
    with fake(clock=(clock := FakeClock())) as service:
        same_whatever_happens(partial(connector, service), service, clock, faults, page=page, sideloads=sideloads)


def test_a_sync_that_is_killed_between_any_two_requests_goes_on(service: FakeZendesk, tmp_path: Path) -> None:
    killed_between_any_two_requests(partial(connector, service), service, tmp_path, "/comments.json")


def test_the_next_sync_asks_for_what_changed_alone(service: FakeZendesk, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path))
    service.edit(3, comments=(*service.tickets[3].comments, Comment(999, "one more", author=2)))
    service.edit(4, status="deleted")
    service.add(Ticket(60, "New", (Comment(1, "hello"),)))
    service.edit_article(8, translations={"en-us": ("Empty", "no more", False)})
    service.again()
    second = synced(connector(service, tmp_path), first.versions)
    assert set(second.documents) == {"zendesk:ticket/3", "zendesk:ticket/60", "zendesk:article/8/en-us"}
    assert "one more" in second.documents["zendesk:ticket/3"].text
    assert second.ids == (first.ids | {"zendesk:ticket/60"}) - {"zendesk:ticket/4"}
    assert len([line for line in service.log if "/comments" in line]) == 2
    assert not any("start_time" in line for line in service.log)


def test_one_who_lost_documents_is_given_them_again(service: FakeZendesk, tmp_path: Path) -> None:
    first = synced(connector(service, tmp_path))
    rest = {id: version for id, version in first.versions.items() if id != "zendesk:ticket/5"}
    assert set(synced(connector(service, tmp_path), rest).documents) == {"zendesk:ticket/5"}


def test_a_ticket_that_could_not_be_read_is_tried_again_though_it_did_not_change(
    service: FakeZendesk, tmp_path: Path
) -> None:
    read = next(n for n, _ in enumerate(synced_log(service), 1) if "tickets/5/comments" in service.log[n - 1])
    service.again(refusals={read: "403-Forbidden"})
    first = synced(connector(service, tmp_path))
    assert "zendesk:ticket/5" not in first.documents
    assert [(u.source.rsplit("/", 1)[1], "Forbidden" in u.reason) for u in first.unread] == [("5", True)]
    assert not first.receipt.complete
    service.again()
    second = synced(connector(service, tmp_path), first.versions)
    assert set(second.documents) == {"zendesk:ticket/5"}
    assert second.receipt.complete


def synced_log(service: FakeZendesk) -> list[str]:
    synced(connector(service))
    return service.log


def test_an_edit_at_any_moment_is_in_this_sync_or_in_the_next(service: FakeZendesk, tmp_path: Path) -> None:
    count = len(synced_log(service))
    added = 0
    for number in range(1, count + 1, 2):

        def edit(at: int, number: int = number) -> None:
            nonlocal added
            if at == number:
                added += 1
                service.edit(3, comments=(*service.tickets[3].comments, Comment(500 + added, f"late {added}.")))

        kept = tmp_path / str(number)
        service.again(before=edit)
        first = synced(connector(service, kept))
        service.again()
        second = synced(connector(service, kept), first.versions)
        last = {**first.documents, **second.documents}["zendesk:ticket/3"].text
        assert all(f"late {n}." in last for n in range(1, added + 1)), number
        assert second.ids == first.ids
    assert added > 5


def test_a_token_that_is_revoked_ends_the_sync_and_a_new_one_goes_on(service: FakeZendesk, tmp_path: Path) -> None:
    whole = synced(connector(service))
    receipt = goes_on_with_a_new_token(partial(connector, service), service, tmp_path, whole, 7)
    assert receipt.resumed > 0


def test_a_help_centre_that_the_token_may_not_see_is_named(service: FakeZendesk) -> None:
    number = 1 + next(n for n, line in enumerate(synced_log(service)) if "help_center" in line)
    service.again(refusals={number: "403-Forbidden"})
    found = synced(connector(service))
    assert len(found.documents) == 9
    assert "help centre" in found.unread[0].fix
    assert not found.receipt.complete
    first = synced(connector(service))
    service.again(refusals={number: "403-Forbidden"})
    # That it may not be seen does not mean that it is gone.
    assert synced(connector(service), first.versions).ids == first.ids


def test_bad_settings_say_what_is_missing(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("ZENDESK_TOKEN", "ZENDESK_SUBDOMAIN", "ZENDESK_BASE_URL", "ZENDESK_EMAIL"):
        monkeypatch.delenv(name, raising=False)
    with pytest.raises(UserError, match="ZENDESK_TOKEN"):
        Zendesk("example")
    for place in ("", "evil.example/", "a b"):
        with pytest.raises(UserError, match="subdomain"):
            Zendesk(place, token="x")
    assert str(Zendesk("example", token="x").client.base) == "https://example.zendesk.com"
