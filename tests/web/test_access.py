"""Who may see the page and do what there: through a real server, over real sockets."""

from __future__ import annotations

import hashlib
import hmac
import logging
import re
import shutil
import socket
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from datetime import datetime
from pathlib import Path
from typing import Any

import httpx
import pytest
import sqlalchemy as sa
from argon2 import PasswordHasher
from pages import OPERATOR, PASSWORD, READER, ServedPage, web_config, words_of

from node.current import Current
from node.errors import ConfigError
from node.http.server import HttpServer
from node.ledger import Ledger, People, WebRole, schema
from node.store import Store
from node.web.access import Gate
from node.web.application import web_application
from node.web.backend import Backend
from node.web.logging_in import Attempts
from node.web.serving import Page

NewSite = Callable[..., ServedPage]
STUDY = "/studies/1.2.3"


def cookies_of(answer: httpx.Response) -> list[str]:
    return answer.headers.get_list("set-cookie")


# Where from


@pytest.mark.parametrize("host", ["localhost", "LOCALHOST:80", "127.0.0.1:1", "[::1]:11180"])
def test_on_this_machine_the_page_goes_by_the_names_of_this_machine(
    new_site: NewSite, host: str
) -> None:
    with new_site().visitor() as visitor:
        assert visitor.ask("/", headers={"host": host}).status_code == 200


@pytest.mark.parametrize(
    "host",
    [
        "evil.example",
        "localhost.evil.example",
        "127.0.0.1.evil.example",
        "evil.example:11180",
        "a@b",
    ],
)
def test_a_name_that_somebody_else_chose_is_refused(new_site: NewSite, host: str) -> None:
    with new_site().visitor() as visitor:
        for path in ("/", "/login", "/static/style.css"):
            answer = visitor.ask(path, headers={"host": host, "x-forwarded-host": "localhost"})
            assert answer.status_code == 421
            assert "[web] host and names" in words_of(answer.text)
            assert "evil" not in answer.text


def test_a_request_without_a_name_is_refused(new_site: NewSite) -> None:
    port = int(new_site().page.address.rpartition(":")[2])
    with socket.create_connection(("127.0.0.1", port), timeout=10) as connection:
        connection.sendall(b"GET / HTTP/1.0\r\n\r\n")
        assert connection.recv(100).split()[1] == b"400"


def test_a_name_of_the_configuration_is_answered(new_site: NewSite) -> None:
    site = new_site(names=["ai-node.example.org"], with_users=True)
    with site.visitor() as visitor:
        named = visitor.ask("/login", headers={"host": "AI-node.example.org.:8080"})
        assert named.status_code == 200
        assert visitor.ask("/login", headers={"host": "example.org"}).status_code == 421


@pytest.mark.parametrize(
    ("web", "words"),
    [
        ({"host": "0.0.0.0"}, "reached from other machines, which only TLS may be"),
        ({"host": "0.0.0.0"}, "say in names what people call the page"),
        ({"host": "0.0.0.0"}, "`ai-node web passwd NAME --role operator` makes one"),
        ({"host": "192.0.2.1", "proxies": ["192.0.2.0/24"]}, "only is with users"),
        ({"proxies": ["127.0.0.1"]}, "only is with users"),
        ({"names": ["ai-node.example.org"]}, "only is with users"),
    ],
)
def test_beyond_this_machine_the_page_does_not_start_without_users_and_tls(
    ledger: Ledger, store: Store, database: str, tmp_path: Path, web: dict[str, Any], words: str
) -> None:
    settings = web_config(tmp_path, database, **web)
    assert settings.web is not None
    page = Page(Current(settings), store)
    with pytest.raises(ConfigError) as refused:
        page.start()
    page.stop()
    assert words in str(refused.value)


def test_users_alone_do_not_let_the_page_be_reached_in_clear_from_elsewhere(
    new_site: NewSite,
) -> None:
    with pytest.raises(ConfigError, match="only TLS may be") as refused:
        new_site(with_users=True, host="0.0.0.0", names=["ai-node.example.org"])
    assert "users" not in str(refused.value)


def test_behind_a_proxy_only_who_comes_by_it_is_answered(new_site: NewSite) -> None:
    site = new_site(proxies=["127.0.0.1/8"], names=["ai-node.example.org"], with_users=True)
    with site.visitor() as visitor:
        answer = visitor.ask("/login")
        assert answer.status_code == 403
        assert "by https alone" in words_of(answer.text)
    with site.visitor(READER, by="192.0.2.7") as visitor:
        answer = visitor.ask("/")
        assert answer.status_code == 200
        assert "strict-transport-security" not in answer.headers  # it would bind other ports, too
        assert "__Host-ai-node" in visitor.client.cookies


def test_who_is_no_named_proxy_is_not_believed_about_whom_it_speaks_for(new_site: NewSite) -> None:
    site = new_site(proxies=["192.0.2.80"], with_users=True)
    with site.visitor() as visitor:
        told = {"x-forwarded-proto": "https", "x-forwarded-for": "192.0.2.7"}
        assert visitor.ask("/login", headers=told).status_code == 403


def test_behind_a_proxy_nobody_comes_in_once_the_last_user_is_gone(new_site: NewSite) -> None:
    site = new_site(proxies=["127.0.0.1"], with_users=True)
    for name in (READER, OPERATOR):
        site.people.remove_user(name)
    with site.visitor(by="192.0.2.7") as visitor:
        assert visitor.ask("/").headers["location"] == "/login"
        assert "ai-node web passwd NAME" in words_of(visitor.get("/login"))


# Without a login


def test_without_users_whoever_sits_at_this_machine_may_look(new_site: NewSite) -> None:
    with new_site().visitor() as visitor:
        assert visitor.ask("/").status_code == 200
        assert visitor.client.head("/").status_code == 200
        assert visitor.client.head("/").content == b""


@pytest.mark.parametrize("action", ["read", "unread", "release", "retry"])
def test_without_a_login_nothing_is_done(new_site: NewSite, action: str) -> None:
    with new_site().visitor() as visitor:
        visitor.ask("/")
        secret = visitor.client.cookies["ai-node-visitor"].encode()
        of_a_form = hmac.new(secret, b"form", hashlib.sha256).hexdigest()
        sought = {"csrf": of_a_form, "by": "study", "text": "1.2.3"}
        assert visitor.client.post("/search", data=sought).status_code != 403
        for answer in (
            visitor.ask(f"{STUDY}/{action}"),
            visitor.client.post(f"{STUDY}/{action}", data={"csrf": of_a_form}),
        ):
            assert answer.status_code == 403
            assert "ai-node web passwd" in words_of(answer.text)


@pytest.mark.parametrize("shows", ["accession", "patient"])
def test_without_a_login_nothing_is_downloaded(new_site: NewSite, shows: str) -> None:
    with new_site(shows=shows).visitor() as visitor:
        assert visitor.ask(f"{STUDY}/objects/1.2.4").status_code == 403


@pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded", "X-Real-IP", "Via"])
def test_without_a_login_nobody_comes_through_a_proxy_that_is_not_named(
    new_site: NewSite, header: str
) -> None:
    with new_site().visitor() as visitor:
        answer = visitor.ask("/", headers={header: "192.0.2.7"})
        assert answer.status_code == 403
        assert "[web] proxies" in words_of(answer.text)


def test_as_soon_as_there_are_users_everybody_logs_in(new_site: NewSite) -> None:
    site = new_site()
    with site.visitor() as visitor:
        assert visitor.ask("/").status_code == 200
        site.add_users()
        for path, following in (
            ("/", "/login"),
            ("/system?a=1", "/login?next=/system%3Fa%3D1"),
            (STUDY, f"/login?next={STUDY}"),
        ):
            answer = visitor.ask(path)
            assert (answer.status_code, answer.headers["location"]) == (303, following)
        picture = visitor.ask("/", headers={"sec-fetch-dest": "image"})
        assert picture.status_code == 401
        assert visitor.send("/search", {"what": "1.2"}).status_code == 403
        assert visitor.ask("/static/style.css").status_code == 200


# Logging in and out


def test_a_login_lasts_until_it_is_ended(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    with site.visitor(READER) as visitor:
        token = visitor.client.cookies["ai-node"]
        assert visitor.ask("/").status_code == 200
        assert visitor.ask("/login").headers["location"] == "/"
        answer = visitor.send("/logout", at="/")
        assert answer.headers["location"] == "/login"
        assert "ai-node" not in visitor.client.cookies
    with site.visitor() as thief:
        thief.client.cookies["ai-node"] = token
        assert thief.ask("/").status_code == 303


def test_a_login_ends_by_itself(new_site: NewSite, ledger: Ledger) -> None:
    site = new_site(with_users=True, session_hours=2)
    with site.visitor(READER) as visitor:
        session = schema.web_session
        with ledger.writing() as db:
            lasts_s = db.execute(sa.select(session.c.ends_at - session.c.began_at)).scalar()
            assert lasts_s == pytest.approx(7200, abs=1)
            db.execute(session.update().values(ends_at=session.c.began_at))
        assert visitor.ask("/").status_code == 303
        visitor.log_in(READER)
        with ledger.reading() as db:
            assert len(db.execute(sa.select(session)).all()) == 1, "the old one is swept away"


def test_another_password_or_none_ends_the_logins(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    with site.visitor(READER) as reader, site.visitor(OPERATOR) as operator:
        site.people.set_password(READER, "another password")
        assert reader.ask("/").status_code == 303
        assert operator.ask("/").status_code == 200
        assert reader.log_in(READER).status_code == 403
        assert reader.log_in(READER, "another password").status_code == 303
        site.people.remove_user(READER)
        assert reader.ask("/").status_code == 303
        assert reader.log_in(READER, "another password").status_code == 403


def test_the_ledger_holds_neither_token_nor_password(new_site: NewSite, ledger: Ledger) -> None:
    site = new_site(with_users=True)
    with site.visitor(READER) as visitor, ledger.reading() as db:
        rows = [*db.execute(sa.select(schema.web_session)), *db.execute(sa.select(schema.web_user))]
        assert visitor.client.cookies["ai-node"] not in str(rows)
        assert PASSWORD not in str(rows)
        assert "$argon2id$" in str(rows)


def test_whoever_gave_a_browser_a_cookie_does_not_know_that_of_its_login(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    planted = "a-token-that-somebody-else-has-planted-here"
    fields = {"name": READER, "password": PASSWORD}
    with site.visitor() as visitor:
        known = {"cookie": f"ai-node={planted}; ai-node-visitor={planted}"}
        form = re.search(r'name="csrf" value="(.*?)"', visitor.ask("/login", headers=known).text)
        assert form is not None
        answer = visitor.client.post("/login", data=fields | {"csrf": form[1]}, headers=known)
        assert answer.status_code == 303
        (given,) = [cookie for cookie in cookies_of(answer) if cookie.startswith("ai-node=")]
        assert planted not in given
        assert visitor.client.get("/", headers=known).status_code == 303


def test_cookies_are_for_us_alone(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor() as visitor:
        for cookie in cookies_of(visitor.ask("/login")) + cookies_of(visitor.log_in(READER)):
            assert {"HttpOnly", "SameSite=strict", "Path=/"} <= set(cookie.split("; "))
            assert "Domain" not in cookie


def test_a_login_goes_on_to_a_page_of_ours_and_nowhere_else(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor() as visitor:
        for wanted, following in (
            (STUDY, STUDY),
            ("/system?a=1", "/system?a=1"),
            ("//evil.example", "/"),
            ("/\\evil.example", "/"),
            ("https://evil.example", "/"),
            ("/%0d%0aSet-Cookie:a", "/"),
            ("/logout", "/"),
        ):
            visitor.client.cookies.clear()
            fields = {"name": READER, "password": PASSWORD, "next": wanted}
            answer = visitor.send("/login", fields)
            assert answer.headers["location"] == following


def test_what_is_wrong_with_a_login_is_not_told_and_not_logged(
    new_site: NewSite, caplog: pytest.LogCaptureFixture
) -> None:
    with new_site(with_users=True).visitor() as visitor, caplog.at_level(logging.INFO):
        known = visitor.log_in(READER, "not this one")
        unknown = visitor.log_in("typed-my-password-here", "not this one")
        assert known.status_code == unknown.status_code == 403
        assert words_of(known.text) == words_of(unknown.text)
    assert "refused: rita, from 127.0.0.1" in caplog.text
    assert "refused: an unknown name, from 127.0.0.1" in caplog.text
    assert "typed-my-password" not in caplog.text
    assert "not this one" not in caplog.text


def test_a_name_that_nobody_has_takes_as_long_as_any(
    new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    people = new_site(with_users=True).people
    verified: list[str] = []
    verify = PasswordHasher.verify

    def counted(self: PasswordHasher, hashed: str | bytes, password: str | bytes) -> bool:
        verified.append(str(hashed).rsplit("$", 2)[0])
        return verify(self, hashed, password)

    monkeypatch.setattr(PasswordHasher, "verify", counted)
    for name in ("nobody", READER):
        assert people.log_in(name, "not this one", 1) is None
    of_nobody, of_reader = verified
    assert of_nobody == of_reader, "with the same costs"


def test_guessing_is_slow_for_a_name(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor() as visitor:
        for _ in range(10):
            assert visitor.log_in(READER, "not this one").status_code == 403
        answer = visitor.log_in(READER)
        assert answer.status_code == 429
        assert 0 < int(answer.headers["retry-after"]) <= 300
        assert f"Wait {answer.headers['retry-after']} s" in words_of(answer.text)
        assert visitor.log_in(OPERATOR).status_code == 303


def test_guessing_is_slow_from_an_address_whatever_the_name(
    new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("node.web.logging_in._OF_AN_ADDRESS", 5)
    site = new_site(with_users=True, proxies=["127.0.0.1"])
    with site.visitor(by="192.0.2.7") as visitor:
        for n in range(5):
            assert visitor.log_in(f"name-{n}", "not this one").status_code == 403
        assert visitor.log_in(READER).status_code == 429
    with site.visitor(by="192.0.2.8") as other:
        assert other.log_in(READER).status_code == 303


def test_a_login_that_is_right_counts_against_nobody(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor() as visitor:
        for _ in range(12):
            visitor.client.cookies.clear()
            assert visitor.log_in(READER).status_code == 303


def test_attempts_are_forgotten_in_time_and_never_fill_the_memory(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("node.web.logging_in._MOST_REMEMBERED", 100)
    attempts = Attempts(2, within_s=0.2)
    assert [attempts.take("a") > 0 for _ in range(3)] == [False, False, True]
    while attempts.take("a") > 0:
        time.sleep(0.01)
    for n in range(1000):
        attempts.take(str(n))
    assert len(attempts._made_at) == 100


def test_only_so_many_wait_for_a_hash(new_site: NewSite, monkeypatch: pytest.MonkeyPatch) -> None:
    begun, may_end = threading.Event(), threading.Event()
    log_in = People.log_in

    def slowly(self: People, name: str, password: str, hours: float) -> str | None:
        begun.set()
        may_end.wait()
        return log_in(self, name, password, hours)

    monkeypatch.setattr("node.web.logging_in._WAITING", 1)
    site = new_site(with_users=True)
    monkeypatch.setattr(People, "log_in", slowly)
    with site.visitor() as one, site.visitor() as other, ThreadPoolExecutor(1) as pool:
        first = pool.submit(one.log_in, READER)
        begun.wait()
        second = other.log_in(OPERATOR)
        may_end.set()
        assert first.result().status_code == 303
    assert (second.status_code, second.headers["retry-after"]) == (429, "1")


# Forms


def test_a_form_without_what_only_our_pages_hold_does_nothing(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    with site.visitor(OPERATOR) as visitor, site.visitor(READER) as other:
        foreign = other.csrf("/")
        for csrf in ("", "0" * 64, "ü", foreign, None):
            fields = {"a": "b"} if csrf is None else {"csrf": csrf}
            answer = visitor.client.post("/logout", data=fields)
            assert answer.status_code == 403
            assert "was not sent from a page of ours" in words_of(answer.text)
        assert visitor.ask("/").status_code == 200, "still logged in"


@pytest.mark.parametrize(
    "headers",
    [
        {"origin": "https://evil.example"},
        {"origin": "null"},
        {"origin": "http://127.0.0.1"},  # another port: another program's
        {"sec-fetch-site": "cross-site"},
        {"sec-fetch-site": "same-site"},
    ],
)
def test_a_form_that_another_site_has_sent_does_nothing_though_it_holds_all(
    new_site: NewSite, headers: dict[str, str]
) -> None:
    with new_site(with_users=True).visitor() as visitor:
        assert visitor.log_in(READER, headers=headers).status_code == 403
        assert visitor.ask("/").status_code == 303
        visitor.log_in(READER)
        assert visitor.send("/logout", at="/", headers=headers).status_code == 403
        assert visitor.ask("/").status_code == 200


def test_a_form_of_a_browser_is_taken(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    headers = {"origin": site.page.address, "sec-fetch-site": "same-origin"}
    with site.visitor() as visitor:
        assert visitor.log_in(READER, headers=headers).status_code == 303


def test_what_is_no_form_or_too_long_is_refused(new_site: NewSite) -> None:
    with new_site().visitor() as visitor:
        post = visitor.client.post
        assert post("/search", json={"csrf": "0"}).status_code == 415
        assert post("/search", files={"csrf": b"0"}).status_code == 415
        assert post("/search", data={"what": "x" * 70_000}).status_code == 413
        assert post("/search", data={str(n): "x" for n in range(60)}).status_code == 400
        assert visitor.client.put("/search").status_code == 405
        assert visitor.client.request("OPTIONS", "/").status_code == 405


# Roles


def test_a_reader_neither_releases_nor_sends_again(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor(READER) as visitor:
        for action in ("release", "retry"):
            for answer in (
                visitor.ask(f"{STUDY}/{action}"),
                visitor.send(f"{STUDY}/{action}", at="/"),
            ):
                assert answer.status_code == 403
                assert "This is for operators" in words_of(answer.text)
        for action in ("read", "unread"):
            assert visitor.ask(f"{STUDY}/{action}").status_code != 403


def test_an_operator_does(new_site: NewSite) -> None:
    with new_site(with_users=True).visitor(OPERATOR) as visitor:
        for action in ("release", "retry", "read", "unread"):
            assert visitor.ask(f"{STUDY}/{action}").status_code != 403


def test_a_role_that_is_taken_away_is_gone_at_once(new_site: NewSite) -> None:
    site = new_site(with_users=True)
    site.people.set_password(OPERATOR, PASSWORD, WebRole.READER)
    with site.visitor(OPERATOR) as visitor:
        assert visitor.ask(f"{STUDY}/release").status_code == 403


@pytest.mark.parametrize("name", [READER, OPERATOR])
def test_objects_that_say_whose_they_are_are_had_only_where_that_is_shown(
    new_site: NewSite, name: str
) -> None:
    with new_site(with_users=True, shows="accession").visitor(name) as visitor:
        answer = visitor.ask(f"{STUDY}/objects/1.2.4")
        assert answer.status_code == 403
        assert '[web] shows = "patient"' in words_of(answer.text)
    with new_site(shows="patient").visitor(name) as visitor:
        assert visitor.ask(f"{STUDY}/objects/1.2.4").status_code == 404


# Every answer


def test_every_answer_has_what_protects_a_browser(
    new_site: NewSite, monkeypatch: pytest.MonkeyPatch
) -> None:
    site = new_site(with_users=True)

    def fails(self: Gate, request: Any) -> None:
        raise RuntimeError("Doe^Jane")

    with site.visitor(READER) as visitor:
        answers = [
            visitor.ask("/"),
            visitor.ask("/login"),
            visitor.ask("/nowhere"),
            visitor.ask("/static/style.css"),
            visitor.ask("/static/nothing.css"),
            visitor.ask("/", headers={"host": "evil.example"}),
            visitor.ask(f"{STUDY}/release"),
            visitor.client.put("/"),
            visitor.client.post("/logout", data={"a": "b"}),
            visitor.client.head("/"),
        ]
        monkeypatch.setattr(Gate, "_who", fails)
        answers.append(visitor.ask("/"))
    assert [a.status_code for a in answers] == [
        200,
        303,
        404,
        200,
        404,
        421,
        403,
        405,
        403,
        200,
        500,
    ]
    for answer in answers:
        policy = answer.headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert "frame-ancestors 'none'" in policy
        assert answer.headers["x-content-type-options"] == "nosniff"
        assert answer.headers["referrer-policy"] == "same-origin"
        assert answer.headers["cache-control"] in ("no-store", "no-cache")
        assert "server" not in answer.headers
        assert "strict-transport-security" not in answer.headers


def test_what_goes_wrong_is_said_without_a_trace_and_without_a_patient(
    new_site: NewSite, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    patient = "Doe^Jane"

    def fails(self: Gate, request: Any) -> None:
        raise RuntimeError(patient)

    site = new_site()
    monkeypatch.setattr(Gate, "_who", fails)
    with site.visitor() as visitor:
        answer = visitor.ask("/")
    assert answer.status_code == 500
    assert "The log of the node says more" in words_of(answer.text)
    assert "Traceback" not in answer.text
    assert "RuntimeError" not in answer.text
    assert "Doe" not in answer.text + caplog.text
    assert "RuntimeError" in caplog.text
    assert "in fails" in caplog.text


def test_static_files_are_kept_by_browsers_until_they_change(new_site: NewSite) -> None:
    with new_site().visitor() as visitor:
        path = visitor.ask("/login").text.partition('rel="stylesheet" href="')[2].partition('"')[0]
        answer = visitor.ask(path)
        assert answer.headers["content-type"].startswith("text/css")
        assert "immutable" in answer.headers["cache-control"]
        assert visitor.ask(f"{path}0").headers["cache-control"] == "no-cache"
        for elsewhere in (
            "/static/../access.py",
            "/static/%2e%2e/access.py",
            "/static/..%2faccess.py",
        ):
            assert visitor.ask(elsewhere).status_code == 404


@pytest.mark.parametrize("uid", ["1.2.x", "1..2", ".1", "1" * 65, "..", "%2e%2e", "1.2%00"])
def test_what_is_no_uid_is_no_page(new_site: NewSite, uid: str) -> None:
    with new_site().visitor() as visitor:
        assert visitor.ask(f"/studies/{uid}/captures/1.2.png").status_code == 404
        assert visitor.ask(f"/studies/1.2/captures/{uid}.png").status_code == 404


def test_while_the_database_does_not_answer_the_page_says_so_and_since_when(
    sqlite_template: Path, store: Store, tmp_path: Path
) -> None:
    path = Path(shutil.copy(sqlite_template, tmp_path / "alone.db"))
    ledger = Ledger(f"sqlite:///{path}")
    backend = Backend(Current(web_config(tmp_path, f"sqlite:///{path}")), ledger, store)
    server = HttpServer(web_application(backend), name="web", host="127.0.0.1", port=0)
    server.start()
    with httpx.Client(base_url=f"http://127.0.0.1:{server.port}") as client:
        assert client.get("/").status_code == 200
        ledger.close()
        path.rename(tmp_path / "away")
        path.mkdir()
        said = [client.get("/") for _ in range(2)]
        assert client.get("/static/style.css").status_code == 200
        path.rmdir()
        (tmp_path / "away").rename(path)
        assert client.get("/").status_code == 200
    server.stop()
    ledger.close()
    assert [answer.status_code for answer in said] == [503, 503]
    assert words_of(said[0].text) == words_of(said[1].text)
    since = re.search(r"It has not since ([0-9: -]{19})\.", words_of(said[0].text))
    assert since is not None
    assert datetime.fromisoformat(since[1]).timestamp() == pytest.approx(time.time(), abs=60)
    assert said[0].headers["retry-after"] == "15"
    assert "sqlite" not in said[0].text.lower()
