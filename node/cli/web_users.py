"""`ai-node web`: who may log in to the page."""

from __future__ import annotations

import contextlib
import sys
from enum import StrEnum
from typing import Annotated

import typer

from node.cli.common import CONFIG, ConfigOption, errors_as_messages, out


class UserRole(StrEnum):
    """What a user of the page may do."""

    READER = "reader"
    OPERATOR = "operator"


web = typer.Typer(
    no_args_is_help=True,
    help="Say who may log in to the page. As soon as there is a user, everybody has to.",
)


UserArgument = Annotated[str, typer.Argument(help="The name that the person logs in by.")]


@web.command("passwd")
def set_web_password(
    name: UserArgument,
    role: Annotated[
        UserRole | None,
        typer.Option(
            help="reader: see, and mark as read. operator: release and send again, too. A new "
            "user is a reader, and one who is there keeps the role."
        ),
    ] = None,
    config: ConfigOption = CONFIG,
) -> None:
    """Make a user of the page, or give one another password, which ends that user's logins.

    Asks twice for the password, at least 10 characters; where it cannot ask, it is the first line
    of standard input. As soon as there is a user, everybody has to log in. The node may be running.
    """
    from node.config import load_config
    from node.ledger import PASSWORD_CHARACTERS, People, WebRole
    from node.site import existing_or_new_ledger
    from node.state_dir import kept_from_others

    with kept_from_others(), errors_as_messages():
        loaded = load_config(config)
        with contextlib.closing(existing_or_new_ledger(loaded)) as ledger:
            if sys.stdin.isatty():
                question = f"Password of {name.lower()}, at least {PASSWORD_CHARACTERS} characters"
                password = str(
                    typer.prompt(question, hide_input=True, confirmation_prompt=True, err=True)
                )
            else:
                password = sys.stdin.readline().rstrip("\r\n")
            wanted = None if role is None else WebRole(role)
            user = People(ledger).set_password(name.lower(), password, wanted)
        out.print(f"{user.name} may log in now, as {user.role}.", highlight=False)
        if loaded.web is None:
            words = "There is no page yet: add the table [web] to the configuration."
            out.print(words, markup=False, highlight=False)


@web.command("users")
def list_web_users(config: ConfigOption = CONFIG) -> None:
    """List who may log in to the page, and as what."""
    from node.config import load_config
    from node.ledger import People
    from node.site import existing_ledger

    with errors_as_messages():
        with contextlib.closing(existing_ledger(load_config(config))) as ledger:
            users = People(ledger).users()
        for user in users:
            out.print(f"{user.name}  {user.role}", markup=False, highlight=False)
        if not users:
            out.print("Nobody: `ai-node web passwd NAME` makes a user.", highlight=False)


@web.command("remove")
def remove_web_user(name: UserArgument, config: ConfigOption = CONFIG) -> None:
    """Remove a user of the page, and end that user's logins."""
    from node.config import load_config
    from node.ledger import People
    from node.site import existing_ledger
    from node.web.exposure import FIRST_USER, needs_users

    with errors_as_messages():
        loaded = load_config(config)
        with contextlib.closing(existing_ledger(loaded)) as ledger:
            people = People(ledger)
            people.remove_user(name.lower())
            has_users = people.has_users()
        out.print(f"{name.lower()} is removed.", highlight=False)
        if not has_users and loaded.web is not None and needs_users(loaded.web):
            words = (
                "Nobody may log in any more, and the page is for more than this machine: it will "
                f"not start again until {FIRST_USER} has made a user."
            )
            out.print(words, markup=False, highlight=False, soft_wrap=True)
