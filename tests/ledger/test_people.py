"""Users of the page: names, passwords, roles, logins."""

from __future__ import annotations

import pytest
from ledgers import Desk

from node.errors import NodeError
from node.ledger import PASSWORD_CHARACTERS, People, WebRole

PASSWORD = "correct horse battery"


@pytest.fixture
def people(desk: Desk) -> People:
    return People(desk.ledger)


def test_a_user_logs_in_by_name_and_password(people: People) -> None:
    assert not people.has_users()
    people.set_password("anna", PASSWORD)
    assert people.has_users()
    assert people.log_in("anna", PASSWORD[:-1], 1) is None
    assert people.log_in("otto", PASSWORD, 1) is None
    token = people.log_in("anna", PASSWORD, 1)
    assert token is not None
    user = people.who(token)
    assert user is not None
    assert (user.name, user.role) == ("anna", WebRole.READER)
    assert people.who(token[:-1]) is None
    people.log_out(token)
    assert people.who(token) is None


def test_a_role_is_kept_unless_another_is_given(people: People) -> None:
    people.set_password("anna", PASSWORD, WebRole.OPERATOR)
    people.set_password("anna", PASSWORD + "2")
    people.set_password("otto", PASSWORD)
    roles = [(user.name, user.role) for user in people.users()]
    assert roles == [("anna", WebRole.OPERATOR), ("otto", WebRole.READER)]
    assert people.set_password("anna", PASSWORD, WebRole.READER).role == WebRole.READER


def test_the_same_password_is_the_same_however_it_was_typed(people: People) -> None:
    people.set_password("anna", "Gr\u00fc\u00dfe aus Ulm")
    assert people.log_in("anna", "Gru\u0308\u00dfe aus Ulm", 1) is not None


@pytest.mark.parametrize("name", ["", " anna", "Anna", "anna otto", "-anna", "a" * 65, "ännchen"])
def test_a_name_that_cannot_be_is_refused(people: People, name: str) -> None:
    with pytest.raises(NodeError, match="is no name of a user"):
        people.set_password(name, PASSWORD)
    assert not people.has_users()


def test_a_password_that_is_short_or_endless_is_refused(people: People) -> None:
    with pytest.raises(NodeError, match="at least 10 characters"):
        people.set_password("anna", "x" * (PASSWORD_CHARACTERS - 1))
    with pytest.raises(NodeError, match="at most 1024 bytes"):
        people.set_password("anna", "x" * 1025)
    assert not people.has_users()
    people.set_password("anna", "x" * 1024)
    assert people.log_in("anna", "x" * 1023, 1) is None
    assert people.log_in("anna", "x" * 2000, 1) is None
    assert people.log_in("anna", "\udcff" * 20, 1) is None


def test_who_is_not_there_cannot_be_removed(people: People) -> None:
    people.set_password("anna", PASSWORD)
    with pytest.raises(NodeError, match="no user is called 'otto'"):
        people.remove_user("otto")
    people.remove_user("anna")
    assert people.users() == []
