"""Who may log in to the page, and who has."""

from __future__ import annotations

import hashlib
import re
import secrets
import unicodedata
from dataclasses import dataclass
from functools import cache

import sqlalchemy as sa
from argon2 import PasswordHasher
from argon2.exceptions import InvalidHashError, VerificationError

from node.errors import NodeError
from node.ledger import schema
from node.ledger.clock import now
from node.ledger.database import Ledger
from node.ledger.rows import insert_into
from node.ledger.states import WebRole

PASSWORD_CHARACTERS = 10
"""At least; NIST SP 800-63B asks for 8, and for no more of its form."""
_PASSWORD_BYTES = 1024
_NAME = re.compile(r"[a-z0-9][a-z0-9._@-]{0,63}")
_HASHER = PasswordHasher()
"""Argon2id with the second recommendation of RFC 9106: 64 MiB, 3 passes."""


@dataclass(frozen=True, slots=True)
class User:
    """Somebody who may log in."""

    name: str
    role: WebRole
    changed_at: float
    """When the password or the role last did."""


@dataclass(frozen=True, slots=True)
class People:
    """The users of the page and their logins."""

    ledger: Ledger

    def users(self) -> list[User]:
        """Return all users, by name."""
        table = schema.web_user
        query = sa.select(table.c.name, table.c.role, table.c.changed_at).order_by(table.c.name)
        with self.ledger.reading() as db:
            return [User(*row) for row in db.execute(query)]

    def has_users(self) -> bool:
        """Whether anybody may log in: then everybody has to."""
        with self.ledger.reading() as db:
            return db.execute(sa.select(schema.web_user.c.name).limit(1)).first() is not None

    def set_password(self, name: str, password: str, role: WebRole | None = None) -> User:
        """Make a user, or give one another password, and a role if one is given.

        A new one reads if none is. Ends the user's logins. Raises NodeError for a name or a
        password that cannot be.
        """
        table = schema.web_user
        if not _NAME.fullmatch(name):
            raise NodeError(
                f"{name!r} is no name of a user: expected up to 64 letters a to z, digits, "
                "hyphens, underscores, dots and @, of which the first is a letter or a digit"
            )
        password_hash = _HASHER.hash(_as_typed(password))
        with self.ledger.writing() as db:
            former = db.execute(sa.select(table.c.role).where(table.c.name == name)).scalar()
            values = {
                "role": role or former or WebRole.READER,
                "password_hash": password_hash,
                "changed_at": now(),
            }
            insert = insert_into(db, table).values(name=name, **values)
            db.execute(insert.on_conflict_do_update(index_elements=["name"], set_=values))
            _end_logins(db, name)
            row = db.execute(
                sa.select(table.c.name, table.c.role, table.c.changed_at).where(
                    table.c.name == name
                )
            ).one()
            return User(*row)

    def remove_user(self, name: str) -> None:
        """Remove a user, and end the user's logins. Raises NodeError if there is none."""
        table = schema.web_user
        with self.ledger.writing() as db:
            if not db.execute(sa.delete(table).where(table.c.name == name)).rowcount:
                raise NodeError(f"no user is called {name!r}; `ai-node web users` lists all")
            _end_logins(db, name)

    def log_in(self, name: str, password: str, hours: float) -> str | None:
        """Return the token of a new login, or None if name and password do not belong together.

        That takes as long for a name that nobody has. Whoever has the token is that user until
        then; only its digest is kept.
        """
        table, session = schema.web_user, schema.web_session
        query = sa.select(table.c.password_hash).where(table.c.name == name)
        with self.ledger.reading() as db:
            known = db.execute(query).scalar()
        if not _is_right(known or _of_nobody(_HASHER), password) or known is None:
            return None
        token = secrets.token_urlsafe(32)
        with self.ledger.writing() as db:
            if db.execute(query.with_for_update()).scalar() != known:
                return None  # changed, or removed, while we compared
            db.execute(sa.delete(session).where(session.c.ends_at < now()))
            db.execute(
                session.insert().values(
                    token_sha256=_digest(token),
                    user_name=name,
                    began_at=now(),
                    ends_at=now() + hours * 3600,
                )
            )
        return token

    def who(self, token: str) -> User | None:
        """Return whose login a token is, None if of none that lasts still."""
        table, session = schema.web_user, schema.web_session
        query = (
            sa.select(table.c.name, table.c.role, table.c.changed_at)
            .join(session, session.c.user_name == table.c.name)
            .where(session.c.token_sha256 == _digest(token), session.c.ends_at > now())
        )
        with self.ledger.reading() as db:
            row = db.execute(query).one_or_none()
        return None if row is None else User(*row)

    def log_out(self, token: str) -> None:
        """End a login."""
        session = schema.web_session
        with self.ledger.writing() as db:
            db.execute(sa.delete(session).where(session.c.token_sha256 == _digest(token)))


def _end_logins(db: sa.Connection, name: str) -> None:
    session = schema.web_session
    db.execute(sa.delete(session).where(session.c.user_name == name))


def _as_typed(password: str) -> str:
    """Return a password in the one form that all keyboards agree on; NodeError if it cannot be."""
    if len(password) < PASSWORD_CHARACTERS:
        raise NodeError(
            f"a password has at least {PASSWORD_CHARACTERS} characters; several words are easily "
            "remembered"
        )
    typed = unicodedata.normalize("NFC", password)
    if len(typed.encode("utf-8", "surrogateescape")) > _PASSWORD_BYTES:
        raise NodeError(f"a password has at most {_PASSWORD_BYTES} bytes")
    return typed


def _is_right(password_hash: str, password: str) -> bool:
    typed = unicodedata.normalize("NFC", password).encode("utf-8", "replace")
    try:
        _HASHER.verify(password_hash, typed[:_PASSWORD_BYTES])
    except (VerificationError, InvalidHashError):
        return False
    return len(typed) <= _PASSWORD_BYTES


@cache
def _of_nobody(hasher: PasswordHasher) -> str:
    """Return a hash that no password has, to be compared with as long as anybody's."""
    return hasher.hash(secrets.token_urlsafe(32))


def _digest(token: str) -> str:
    return hashlib.sha256(token.encode("utf-8", "replace")).hexdigest()
