"""What every view of the page finds in its request: what it shows from, who asks, and the form."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import cast
from urllib.parse import quote

from starlette.requests import Request

from node.config import Config, WebSettings
from node.current import Current
from node.ledger import Ledger, WebRole
from node.store import Store


@dataclass(frozen=True, slots=True)
class Backend:
    """What the page shows from: `request.app.state.backend`."""

    current: Current
    """With the table [web]."""
    ledger: Ledger
    store: Store

    @property
    def config(self) -> Config:
        """The configuration of now."""
        return self.current.config

    @property
    def web(self) -> WebSettings:
        """The settings of the page."""
        assert self.config.web is not None, "who has no table [web] has no page"
        return self.config.web

    def viewer(self, study_uid: str) -> str:
        """Return the address of a study in the site's viewer, "" if it has none."""
        address = self.web.viewer or ""
        return address.replace("{study_uid}", quote(study_uid, safe=""))


@dataclass(frozen=True, slots=True)
class Person:
    """Who asks, and what that person may do: `request.state.person`."""

    name: str
    """"" of somebody without a login."""
    role: WebRole | None
    """None: nobody has logged in, which is enough to look at what this machine alone is shown."""
    may_act: bool
    """Release and send again."""
    may_download: bool
    """Get result objects as they are: they say whose study it is, so only where [web] shows that.

    Captures, as pictures on the page of their study, are no download: whoever may see the page may
    see them, but nobody where [web] shows = "nothing", nor such as may have a name in the picture
    (Burned In Annotation is not NO) where it is not "patient".
    """

    @property
    def may_mark(self) -> bool:
        """Whether the person may say that a study has been read."""
        return self.role is not None


def backend_of(request: Request) -> Backend:
    """Return what the page shows from."""
    return cast(Backend, request.app.state.backend)


def person_of(request: Request) -> Person:
    """Return who asks."""
    return cast(Person, request.state.person)


def csrf_of(request: Request) -> str:
    """Return what each form has to hold as `csrf`, so that we know that it is ours.

    "" where nothing is asked of forms, as on an error page that comes before anybody is known.
    """
    return str(getattr(request.state, "csrf", ""))


def form_of(request: Request) -> Mapping[str, str]:
    """Return the fields of the form that was sent; of a field that is there twice the last."""
    return cast(Mapping[str, str], request.state.form)
