"""Requests that no friend would send, each with the refusal that is documented for it.

All are bytes, because no client library would send most of them. Where they hold text of a caller it holds `MARK`,
which must not be found in any log.
"""

from __future__ import annotations

import json
from base64 import urlsafe_b64encode
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

MARK = "Kilroy"
# Put in place by the test: keys that hold every scope, only `read`, and none any more.
ALL, READER, REVOKED = b"<all>", b"<reader>", b"<revoked>"
SCORES, EVENTS, LEADS, LEAD = "/v1/scores", "/v1/events", "/v1/leads", f"/v1/leads/{MARK}"
TIME = "2024-03-04T09:00:00Z"
DEEP = 100_000
CHUNKED = b"Transfer-Encoding: chunked"
SQL = f"{MARK}'; DROP TABLE leads; --"
HTML = f"<script>alert('{MARK}')</script>"


@dataclass(frozen=True)
class Hostile:
    """One request and its refusal.

    Attributes
    ----------
    name : str
    request : bytes
        As it is sent.
    status : int
        Of the answer.
    says : tuple of str
        What the answer names, the field and the rule first of all.
    """

    name: str
    request: bytes
    status: int
    says: tuple[str, ...] = ()


def request(
    method: str,
    target: str | bytes,
    body: bytes | None = None,
    *,
    headers: Sequence[bytes] = (),
    key: bytes | None = ALL,
    media_type: str | None = "application/json",
    version: bytes = b"HTTP/1.1",
) -> bytes:
    """A request as bytes; the connection ends with its answer."""
    path = target if isinstance(target, bytes) else target.encode()
    lines = [method.encode() + b" " + path + b" " + version, b"Host: 127.0.0.1", b"Connection: close", *headers]
    if key is not None:
        lines.append(b"Authorization: Bearer " + key)
    if body is not None:
        lines.append(b"Content-Length: %d" % len(body))
        if media_type is not None:
            lines.append(b"Content-Type: " + media_type.encode())
    return b"\r\n".join([*lines, b"", body or b""])


def post(target: str, body: Any, **more: Any) -> bytes:
    """Content to be sent as JSON, or bytes as they are."""
    return request("POST", target, body if isinstance(body, bytes) else json.dumps(body).encode(), **more)


def a_lead(**others: Any) -> dict[str, Any]:
    """A lead as it is sent to be scored; with one thing changed it is hostile."""
    return {"lead_id": MARK, "created_at": TIME} | others


def scored(**others: Any) -> bytes:
    return post(SCORES, {"leads": [a_lead(**others)]})


def happened(event: str, **others: Any) -> bytes:
    return post(EVENTS, {"events": [{"type": event} | others]})


def a_touch(**others: Any) -> bytes:
    return happened("touch", **{"lead_id": MARK, "kind": "call", "occurred_at": TIME} | others)


def with_number(number: str) -> bytes:
    """A touch whose value is a number as it is written."""
    touch = json.dumps({"type": "touch", "lead_id": MARK, "kind": "call", "occurred_at": TIME})
    return post(EVENTS, f'{{"events": [{touch[:-1]}, "value": {number}}}]}}'.encode())


def forged(said: Any) -> str:
    """The list from a place that the service never named."""
    text = said if isinstance(said, str) else json.dumps(said)
    return f"{LEADS}?cursor={urlsafe_b64encode(text.encode()).decode().rstrip('=')}"


def get(target: str, **more: Any) -> bytes:
    return request("GET", target, **more)


def corpus() -> Iterator[Hostile]:
    """All of them."""
    yield from _no_json()
    yield from _wrong_values()
    yield from _too_much()
    yield from _times()
    yield from _events()
    yield from _paths()
    yield from _lists()
    yield from _callers()
    yield from _wire()


def _no_json() -> Iterator[Hostile]:
    lead = f'{{"lead_id": "{MARK}", "created_at": "{TIME}"'
    for name, body in {
        "deep brackets": b"[" * DEEP,
        "deep brackets, closed": b'{"leads":' + b"[" * DEEP + b"]" * DEEP + b"}",
        "deep objects": b'{"leads":' * DEEP,
        "half a body": f'{{"leads": [{lead}'.encode(),
        "two bodies": f'{{"leads": [{lead}}}]}}{{"leads": []}}'.encode(),
        "single quotes": f"{{'leads': ['{MARK}']}}".encode(),
        "invalid UTF-8": f'{{"leads": [{{"lead_id": "{MARK}'.encode() + b'\xff\xfe"}]}',
        "overlong UTF-8": f'{{"leads": [{{"lead_id": "{MARK}'.encode() + b'\xc0\xaf"}]}',
        "a control character": f'{{"leads": [{{"lead_id": "{MARK}\x01"}}]}}'.encode(),
        "an integer of 5,000 digits": b'{"leads": ' + b"9" * 5_000 + b"}",
        "XML": f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/passwd">]><a>{MARK}</a>'.encode(),
        "blanks": b"   ",
    }.items():
        yield Hostile(name, post(SCORES, body), 400, ("body", "must be JSON"))
    halves: dict[str, dict[str, Any]] = {
        "half a letter in an id": {"lead_id": f"{MARK}\ud800"},
        "half a letter in an attribute": {"attributes": {"source": f"{MARK}\ud800"}},
        "half a letter in a name": {"attributes": {f"{MARK}\ud800": 1}},
        "half a letter in an unknown field": {f"{MARK}\ud800": 1},
    }
    for name, sent in halves.items():
        yield Hostile(name, post(SCORES, {"leads": [a_lead() | sent]}), 400, ("body", "half a letter"))
    yield Hostile("no body", request("POST", SCORES, b""), 422, ("body", "required"))
    typed = ("Content-Type", "application/json")
    yield Hostile("a body without a type", post(SCORES, {"leads": [a_lead()]}, media_type=None), 422, typed)
    for media_type in ("text/plain", "application/x-www-form-urlencoded", "multipart/form-data; boundary=b", "a/b/c"):
        yield Hostile(media_type, post(SCORES, {"leads": [a_lead()]}, media_type=media_type), 422, typed)
    for name, body in {"null": b"null", "a list": b"[]", "text": f'"{MARK}"'.encode(), "a number": b"1"}.items():
        yield Hostile(f"{name} for a body", post(EVENTS, body), 422, ("body",))


def _wrong_values() -> Iterator[Hostile]:
    touch = {"kind": "call", "occurred_at": TIME}
    for name, sent, field, rule in (
        ("a number for an id", {"lead_id": 1}, "leads.0.lead_id", "string"),
        ("true for an id", {"lead_id": True}, "leads.0.lead_id", "string"),
        ("null for an id", {"lead_id": None}, "leads.0.lead_id", "string"),
        ("an empty id", {"lead_id": ""}, "leads.0.lead_id", "at least 1"),
        ("NUL in an id", {"lead_id": f"{MARK}\0"}, "leads.0.lead_id", "pattern"),
        ("NUL in a stage", {"transitions": [{"stage": "\0", "occurred_at": TIME}]}, "transitions.0.stage", "pattern"),
        ("NUL in a kind", {"touches": [touch | {"kind": "\0"}]}, "touches.0.kind", "pattern"),
        ("NUL in who", {"touches": [touch | {"by": "\0"}]}, "touches.0.by", "pattern"),
        ("NUL in an attribute", {"attributes": {"source": "\0"}}, "leads.0.attributes.source", "pattern"),
        ("NUL in the name of one", {"attributes": {f"{MARK}\0": 1}}, "leads.0.attributes", "pattern"),
        ("null for a list", {"touches": None}, "leads.0.touches", "array"),
        ("an object for a list", {"touches": {"0": touch}}, "leads.0.touches", "array"),
        ("a list in a list", {"touches": [[touch]]}, "leads.0.touches.0", "object"),
        ("true for a number", {"touches": [touch | {"value": True}]}, "touches.0.value", "number"),
        ("text for a number", {"touches": [touch | {"value": "12"}]}, "touches.0.value", "number"),
        ("true for an attribute", {"attributes": {"employees": True}}, "leads.employees", "must be a number"),
        ("an object for an attribute", {"attributes": {"source": {"$ne": MARK}}}, "leads.0.attributes.source", ""),
        ("text for a truth", {"do_not_score": "false"}, "leads.0.do_not_score", "boolean"),
        ("0 for a truth", {"do_not_score": 0}, "leads.0.do_not_score", "boolean"),
        ("an unknown field", {MARK: 1}, f"leads.0.{MARK}", "not permitted"),
        ("a prototype", {"__proto__": {"scopes": MARK}}, "leads.0.__proto__", "not permitted"),
        ("an attribute that nobody declared", {"attributes": {MARK: 1}}, f"attributes.{MARK}", "must be declared"),
        ("one named like a column", {"attributes": {"lead_id": "L1"}}, "attributes.lead_id", "must be declared"),
        ("one named like a list", {"attributes": {"touches": "L1"}}, "attributes.touches", "must be declared"),
        ("an unknown stage", {"transitions": [{"stage": SQL, "occurred_at": TIME}]}, "transitions.stage", "must be"),
        ("an odd direction", {"touches": [touch | {"direction": HTML}]}, "touches.direction", "must be"),
    ):
        yield Hostile(name, scored(**sent), 422, (field, rule))
    for name in ("NaN", "Infinity", "-Infinity", "1e400", "-1e400"):
        yield Hostile(name, with_number(name), 422, ("events.0.touch.value", "finite"))
    yield Hostile("a huge whole number", with_number("9" * 400), 422, ("value",))
    lead = f'{{"lead_id": "{MARK}", "created_at": "{TIME}"}}'
    twice = f'{{"leads": [{lead}], "leads": [{{}}]}}'.encode()
    yield Hostile("a field sent twice", post(SCORES, twice), 422, ("leads.0.lead_id", "required"))
    yield Hostile("a lead sent twice", post(SCORES, {"leads": [a_lead(), a_lead()]}), 422, ("leads.lead_id", "once"))
    yield Hostile("an unknown option", post(SCORES, {"leads": [a_lead()], "admin": True}), 422, ("admin",))
    yield Hostile("a number for an option", post(SCORES, {"leads": [a_lead()], "reasons": 1}), 422, ("reasons",))
    yield Hostile("no leads", post(SCORES, {"leads": []}), 422, ("leads", "at least 1"))


def _too_much() -> Iterator[Hostile]:
    touch = {"kind": "call", "occurred_at": TIME}
    leads = [a_lead(lead_id=f"{MARK}{number}") for number in range(1_001)]
    yield Hostile("1,001 leads", post(SCORES, {"leads": leads}), 422, ("leads", "at most 1000"))
    sent = [{"type": "retraction", "event_id": f"{MARK}{number}"} for number in range(10_001)]
    yield Hostile("10,001 events", post(EVENTS, {"events": sent}), 422, ("events", "at most 10000"))
    yield Hostile("a history too long", scored(touches=[touch] * 501), 422, ("leads.0", "at most 500"))
    yield Hostile("an id too long", scored(lead_id=MARK * 100), 422, ("leads.0.lead_id", "at most 500"))
    yield Hostile("a text too long", scored(touches=[touch | {"by": MARK * 100}]), 422, ("by", "at most 500"))
    many = {f"{MARK}{number}": 1 for number in range(501)}
    yield Hostile("attributes too many", scored(attributes=many), 422, ("leads.0.attributes", "at most 500"))
    yield Hostile("a body too large", post(SCORES, b" " * 2_000_001), 413, ("larger than 2000000 bytes",))
    lies = b"Content-Length: 99999999999"
    yield Hostile("a body said to be too large", request("POST", SCORES, headers=[lies]), 413, ("2000000",))
    yield Hostile("a length beyond any", request("POST", SCORES, headers=[lies + b"9" * 30]), 400)
    yield Hostile("a large body to erase", request("DELETE", LEAD, headers=[lies]), 413, ("2000000",))
    chunks = b"%x\r\n%s\r\n" % (100_000, b" " * 100_000) * 21 + b"0\r\n\r\n"
    pieces = [CHUNKED, b"Content-Type: application/json"]
    yield Hostile("chunks too many", request("POST", SCORES, headers=pieces) + chunks, 413, ("2000000",))


def _times() -> Iterator[Hostile]:
    for name, time in {
        "no zone": "2024-03-04T09:00:00",
        "a date": "2024-03-04",
        "an empty time": "",
        "a number as text": "1709542800",
        "a leap second": "2016-12-31T23:59:60Z",
        "a 13th month": "2024-13-04T09:00:00Z",
        "a 30th of February": "2024-02-30T09:00:00Z",
        "an hour 25": "2024-03-04T25:00:00Z",
        "year 0": "0000-01-01T00:00:00Z",
        "year 10000": "10000-01-01T00:00:00Z",
        "the last moment, west": "9999-12-31T23:59:59-23:59",
        "the first moment, east": "0001-01-01T00:00:00+23:59",
        "a zone beyond": "2024-03-04T09:00:00+99:99",
        "SQL": SQL,
        "other digits": "२०२४-03-04T09:00:00Z",
        "NUL in a time": "2024-03-04T09:00:00Z\0",
        "a time too long": "2024-03-04T09:00:00." + "0" * 60 + "Z",
    }.items():
        yield Hostile(f"{name}, as_of", post(SCORES, {"leads": [a_lead()], "as_of": time}), 422, ("as_of",))
        yield Hostile(f"{name}, touch", scored(touches=[{"kind": "call", "occurred_at": time}]), 422, ("occurred_at",))
    yield Hostile("a number for a time", scored(created_at=1709542800), 422, ("created_at", "string"))
    # All that is known now can be scored then; before it was created no lead can.
    last, first = "9999-12-31T23:59:59Z", "0001-01-01T00:00:00Z"
    yield Hostile(f"{last}, as_of", post(SCORES, {"leads": [a_lead()], "as_of": last}), 200, (last,))
    early = post(SCORES, {"leads": [a_lead()], "as_of": first})
    yield Hostile(f"{first}, as_of", early, 422, ("leads.0.created_at",))
    yield Hostile("a lead of year 1", scored(created_at="0001-01-01T00:00:00Z"), 422, ("leads.created_at",))
    yield Hostile("a lead of year 9999", scored(created_at="9999-12-31T00:00:00Z"), 422, ("leads.created_at",))
    yield Hostile("a touch of year 1", a_touch(occurred_at="0001-01-01T00:00:00Z"), 422, ("events.0.occurred_at",))
    yield Hostile("a touch of year 9999", a_touch(occurred_at="9999-12-31T00:00:00Z"), 422, ("events.0.occurred_at",))


def _events() -> Iterator[Hostile]:
    yield Hostile("an event of no kind", happened(MARK, lead_id=MARK), 422, ("events.0", "type"))
    yield Hostile("an event without a kind", post(EVENTS, {"events": [{"lead_id": MARK}]}), 422, ("events.0", "type"))
    yield Hostile("a list for a kind", post(EVENTS, {"events": [{"type": ["touch"]}]}), 422, ("events.0",))
    yield Hostile("back-dating", a_touch(recorded_at=TIME), 403, ("scope backfill", "recorded_at"))
    yield Hostile("an event_id of 501", a_touch(event_id="e" * 501), 422, ("event_id", "at most 500"))
    yield Hostile("NUL in an event_id", a_touch(event_id=f"{MARK}\0"), 422, ("event_id", "pattern"))
    yield Hostile("half a letter in an event_id", a_touch(event_id=f"{MARK}\udfff"), 400, ("body", "half a letter"))
    yield Hostile("a number for an event_id", a_touch(event_id=7), 422, ("event_id", "string"))
    yield Hostile("a lead merged into itself", happened("merge", lead_id=MARK, into_lead_id=MARK), 422, ("another",))
    change = {"lead_id": MARK, "occurred_at": TIME, "value": HTML}
    undeclared = happened("change", attribute=SQL, **change)
    yield Hostile("a change that nobody declared", undeclared, 422, ("events.0.attribute", "must be declared"))
    born = {"lead_id": MARK, "created_at": TIME}
    for name, value in (("text for an own number", MARK), ("a huge own number", 10**400)):
        yield Hostile(name, happened("lead", attributes={"employees": value}, **born), 422, ("employees",))
    both = {"events": [{"type": "lead", **born}, {"type": "touch", "lead_id": MARK, "kind": "call"}]}
    yield Hostile("one good event, one bad", post(EVENTS, both), 422, ("events.1", "occurred_at"))
    objection = request("PUT", f"{LEAD}/do-not-score", b'{"do_not_score": "no"}')
    yield Hostile("text for an objection", objection, 422, ("do_not_score", "boolean"))


def _paths() -> Iterator[Hostile]:
    for name, path in {
        "an unknown path": f"/v1/{MARK}",
        "another version": "/v2/leads",
        "PHP": "/wp-login.php",
        "a star": "*",
        "two slashes": "//v1/leads",
        "capitals": "/V1/LEADS",
        "up": f"{LEADS}/../../../../etc/passwd",
        "up, encoded": f"{LEADS}/%2e%2e%2f%2e%2e%2fetc%2fpasswd",
        "up, encoded twice": f"{LEADS}/%252e%252e%252fetc",
        "a backslash": f"{LEADS}/..%5c..%5cetc",
        "SQL for an id": f"{LEADS}/{MARK}'%20OR%20'1'='1",
        "HTML for an id": f"{LEADS}/%3Cscript%3E{MARK}",
        "bytes that are no text": f"{LEADS}/{MARK}%ff%fe",
        "a broken escape": f"{LEADS}/{MARK}%zz",
        "a line in an id": f"{LEADS}/{MARK}%0d%0aSet-Cookie:%20a=b",
        "a file of the service": "/static/../app.py",
    }.items():
        yield Hostile(name, get(path), 404)
    yield Hostile("a slash behind", get("/v1/leads/"), 422, ("path.lead_id", "at least 1"))
    yield Hostile("NUL in the path", get(f"{LEADS}/{MARK}%00"), 422, ("path.lead_id", "pattern"))
    yield Hostile("an id of 501", get(f"{LEADS}/{'a' * 501}"), 422, ("path.lead_id", "at most 500"))
    yield Hostile("NUL in what to erase", request("DELETE", f"{LEADS}/%00"), 422, ("path.lead_id", "pattern"))
    yield Hostile("a path without end", get("/" + "a" * 40_000), 431, ("larger than",))
    yield Hostile("bytes in the path", request("GET", b"/v1/leads/\xff\xfe"), 400)
    for method, path in (
        ("PATCH", LEADS),
        ("POST", LEADS),
        ("GET", EVENTS),
        ("DELETE", "/v1/model"),
        ("HEAD", "/v1/model"),
        ("OPTIONS", SCORES),
        ("TRACE", SCORES),
        ("PUT", "/healthz"),
        ("POST", "/readyz"),
    ):
        yield Hostile(f"{method} {path}", request(method, path), 405)
    yield Hostile("another method by a header", post("/v1/model", {}, headers=[b"X-HTTP-Method-Override: GET"]), 405)


def _lists() -> Iterator[Hostile]:
    for name, query, field in (
        ("a limit of 0", "limit=0", "limit"),
        ("a limit below", "limit=-1", "limit"),
        ("a limit above", "limit=1001", "limit"),
        ("a huge limit", f"limit={'9' * 400}", "limit"),
        ("no number for a limit", "limit=ten", "limit"),
        ("SQL for a limit", "limit=1;DROP%20TABLE%20leads", "limit"),
        ("half a row", "limit=1.5", "limit"),
        ("a minimum that is none", "minimum=NaN", "minimum"),
        ("a minimum beyond", "minimum=1e400", "minimum"),
        ("a minimum below", "minimum=-0.1", "minimum"),
        ("an unknown list", f"list={MARK}", "list"),
        ("an unknown filter", f"{MARK}=1", MARK),
        ("NUL in a filter", "owner=%00", "owner"),
        ("a filter too long", f"stage={'a' * 501}", "stage"),
        ("no cursor", "cursor=", "cursor"),
        ("a cursor of bad base64", "cursor=%21%21%21", "cursor"),
        ("a cursor of half base64", "cursor=A", "cursor"),
        ("a cursor of other letters", "cursor=%C3%BC", "cursor"),
        ("a cursor too long", f"cursor={'A' * 501}", "cursor"),
    ):
        yield Hostile(name, get(f"{LEADS}?{query}"), 422, (f'{field}","rule',))
    for name, said in {
        "no JSON": MARK,
        "an object": {"run": 1},
        "too few": [1, "handoff", 0.5],
        "too many": [1, "handoff", 0.5, 1, 1],
        "SQL": [1, SQL, 0.5, 1],
        "true for a run": [True, "handoff", 0.5, 1],
        "a huge run": [10**30, "handoff", 0.5, 1],
        "a huge lead": [1, "win", 0.5, 10**30],
        "a huge key": [1, "win", 10**300, 1],
        "a run below": [-1, "handoff", 0.5, 1],
        "text for a key": [1, "handoff", MARK, 1],
        "NaN": '[1,"handoff",NaN,1]',
        "1e400": '[1,"handoff",1e400,1]',
        "depth": "[" * 300,
    }.items():
        yield Hostile(f"a forged cursor: {name}", get(forged(said)), 422, ("cursor", "must be the `next`"))
    yield Hostile("a cursor of a run that is gone", get(forged([77, "handoff", 0.5, 1])), 410, ("begin again",))
    for name, query in (("SQL", f"owner={MARK}'%20OR%20''='"), ("HTML", "source=%3Cb%3E"), ("bytes", "stage=%ff")):
        yield Hostile(f"{name} for a filter finds nothing", get(f"{LEADS}?{query}"), 200, ('"leads":[]',))


def _callers() -> Iterator[Hostile]:
    said = "a valid API key is needed"
    for name, keys in {
        "no key": [],
        "an empty key": [b"Bearer "],
        "a wrong key": [f"Bearer {MARK}.{MARK}".encode()],
        "a revoked key": [b"Bearer " + REVOKED],
        "the id of a key without its secret": [b"Bearer " + ALL.replace(b">", b"-id>")],
        "a name and a password": [b"Basic S2lscm95OktpbHJveQ=="],
        "a digest": [b'Digest username="Kilroy"'],
        "a key without its kind": [ALL],
        "a key with more behind": [b"Bearer " + ALL + b" " + MARK.encode()],
        "two keys in one": [b"Bearer " + ALL + b", Bearer " + ALL],
        "two keys, the wrong one first": [f"Bearer {MARK}".encode(), b"Bearer " + ALL],
        "two keys, the right one first": [b"Bearer " + ALL, f"Bearer {MARK}".encode()],
        "a key of other letters": ["Bearer Kilröy.ключ".encode()],
        "a key of bytes": [b"Bearer \xff\xfe" + MARK.encode()],
        "SQL for a key": [f"Bearer {SQL}".encode()],
        "a key of 20,000": [b"Bearer " + b"k" * 20_000],
    }.items():
        headers = [b"Authorization: " + each for each in keys]
        yield Hostile(name, get("/v1/model", key=None, headers=headers), 401, (said,))
    yield Hostile("a key in the query", get(f"/v1/model?access_token={ALL.decode()}", key=None), 401, (said,))
    yield Hostile("a key in a cookie", get("/v1/model", key=None, headers=[b"Cookie: key=" + ALL]), 401, (said,))
    from_here = [b"X-Forwarded-For: 127.0.0.1", b"Forwarded: for=127.0.0.1"]
    yield Hostile("said to be from here", get("/v1/model", key=None, headers=from_here), 401, (said,))
    yield Hostile("NUL in a key", get("/v1/model", key=MARK.encode() + b"\0"), 400)
    erasing = request("DELETE", LEAD, key=READER)
    yield Hostile("erasing without the scope", erasing, 403, ("lacks the scope erase",))
    yield Hostile("scoring without the scope", post(SCORES, {"leads": [a_lead()]}, key=READER), 403, ("scope score",))


def _wire() -> Iterator[Hostile]:
    body = json.dumps({"leads": [a_lead()]}).encode()
    for name, sent in {
        "no HTTP": f"{MARK}\r\n\r\n".encode(),
        "TLS": b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03" + bytes(32),
        "HTTP/2": b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
        "an unknown method": request(MARK, "/v1/model"),
        "a header without a name": get("/v1/model", headers=[b": Kilroy"]),
        "a header without a colon": get("/v1/model", headers=[MARK.encode()]),
        "a header of two lines": get("/v1/model", headers=[b"X-A: b\r\n Kilroy"]),
        "blanks before the colon": get("/v1/model", headers=[b"Content-Length : 5"]),
        "a length that is none": request("POST", SCORES, headers=[b"Content-Length: Kilroy"]),
        "a length below": request("POST", SCORES, headers=[b"Content-Length: -1"]),
        "a signed length": request("POST", SCORES, headers=[b"Content-Length: +5"]),
        "two lengths": request("POST", SCORES, body, headers=[b"Content-Length: 1"]),
        "a length and chunks": request("POST", SCORES, body, headers=[CHUNKED]),
        "a request in a body": post(SCORES, b"0\r\n\r\nGET /Kilroy HTTP/1.1\r\n\r\n", headers=[CHUNKED]),
        "chunks that are none": request("POST", SCORES, headers=[b"Transfer-Encoding: Kilroy"]),
        "chunks written otherwise": request("POST", SCORES, headers=[b"Transfer-Encoding: xchunked"]),
        "a proxy's request": b"CONNECT kilroy.example:443 HTTP/1.1\r\nHost: kilroy.example\r\n\r\n",
        "an odd version": get("/v1/model", version=b"HTTP/9.9"),
        "a blank in the path": get("/v1/model Kilroy"),
    }.items():
        yield Hostile(name, sent, 400, ("no HTTP request", "request_id"))
    bad_chunk = request("POST", SCORES, headers=[CHUNKED]) + b"Kilroy\r\n"
    yield Hostile("a chunk of no length", bad_chunk, 400)
    flood = [f"X-{MARK}-{number}: {'a' * 30}".encode() for number in range(1_000)]
    yield Hostile("a flood of headers", get("/v1/model", headers=flood), 431, ("larger than 32768 bytes",))
    yield Hostile("one header of 40,000", get("/v1/model", headers=[b"X: " + b"a" * 40_000]), 431, ("32768",))
    endless = get("/v1/model", headers=[b"X: " + b"a" * 70_000])[:-4]
    yield Hostile("a header without end", endless, 431, ("32768",))
    yield Hostile("headers without end", get("/v1/model", headers=flood)[:-4], 431, ("32768",))
    yield Hostile("a long cookie", get("/v1/model", headers=[b"Cookie: " + b"a=b;" * 10_000]), 431, ("32768",))
    for name, fine in {
        "a target with a host": get("http://kilroy.example/v1/model"),
        "another host": get("/v1/model").replace(b"Host: 127.0.0.1", b"Host: kilroy.example"),
        "a broken host": get("/v1/model").replace(b"Host: 127.0.0.1", b"Host: [kilroy"),
        "HTTP/1.0": get("/v1/model", version=b"HTTP/1.0"),
        "an upgrade": get("/v1/model", headers=[b"Upgrade: websocket"]).replace(b"close", b"Upgrade"),
        "a path said by a header": get("/v1/model", headers=[b"X-Original-URL: /metrics", b"X-Rewrite-URL: /metrics"]),
    }.items():
        yield Hostile(f"{name} changes nothing", fine, 200, ('"model_version":"1"',))
