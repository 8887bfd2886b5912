"""How the Git server answers one request: the faults in their order, else git."""

from collections.abc import AsyncIterator, Mapping, Sequence
from typing import assert_never

from aiohttp import web

from .git_backend import Backend, Reply
from .git_faults import Answer, CutOff, Faults, Hold, Redirect, RefuseUnadvertised, RuleT, Token
from .git_requests import Kind, RecordedRequest, kind_of

_PACK = b"PACK\0\0\0\x02"
_CHALLENGE = {"WWW-Authenticate": 'Basic realm="Git host"', "Content-Type": "text/plain; charset=utf-8"}


class _Cut(Exception):  # noqa: N818 - not an error
    """The answer ends here, without its end."""


async def answer(
    request: web.BaseRequest, record: RecordedRequest, faults: Sequence[Faults], backend: Backend
) -> web.StreamResponse:
    """Answer a request and fill in its record; the first of ``faults`` that has a fault for it decides."""
    if _first(RefuseUnadvertised, record, faults):
        record.protocol = 0
        record.kind = kind_of(method=record.method, service=record.service, protocol=0, body=record.body)
    for hold in _holds(record, faults):
        if hold.after_bytes is None:
            await hold.wait()

    fixed = _refusal(record, faults) or _fixed_answer(record, faults)
    if fixed is not None:
        return await _send(request, record, faults, fixed)
    if not record.repository:
        return await _send(request, record, faults, _reply(404, {}, b"no such page\n"))
    strict = _first(RefuseUnadvertised, record, faults) is not None
    async with backend.run(record, strict=strict) as reply:
        return await _send(request, record, faults, await _moved(record, faults, reply))


def _refusal(record: RecordedRequest, faults: Sequence[Faults]) -> Reply | None:
    token = _first(Token, record, faults)
    if token is None:
        return None
    record.authorized = token.accepts(record)
    if record.authorized:
        return None
    status = token.wrong if "Authorization" in record.headers else token.missing
    return _reply(status, _CHALLENGE if status == web.HTTPUnauthorized.status_code else {}, b"Unauthorized\n")


def _fixed_answer(record: RecordedRequest, faults: Sequence[Faults]) -> Reply | None:
    fault = _first(Answer, record, faults) or _first(Redirect, record, faults)
    if fault is None:
        return None
    fault.use()
    match fault:
        case Answer():
            body = fault.body.encode() if isinstance(fault.body, str) else fault.body
            return _reply(fault.status, fault.headers, body)
        case Redirect():
            query = f"?{record.query}" if record.query else ""
            return _reply(fault.status, {"Location": f"{fault.to}/{record.service}{query}"}, b"")
        case _:
            assert_never(fault)


async def _moved(record: RecordedRequest, faults: Sequence[Faults], reply: Reply) -> Reply:
    """Run the hooks whose turn this look-up is, when its answer is complete and before any of it is sent."""
    due = [hook for each in faults for hook in each.hooks_due(record)]
    if not due:
        return reply
    body = b"".join([chunk async for chunk in reply.body])
    for hook in due:
        await hook.callback()
    return _reply(reply.status, reply.headers, body)


async def _send(
    request: web.BaseRequest, record: RecordedRequest, faults: Sequence[Faults], reply: Reply
) -> web.StreamResponse:
    response = web.StreamResponse(status=reply.status, headers=reply.headers)
    cut = _first(CutOff, record, faults)
    marks: list[tuple[int, Hold | CutOff]] = [
        (hold.after_bytes, hold) for hold in _holds(record, faults) if hold.after_bytes is not None
    ]
    if cut is not None:
        cut.use()
        marks.append((cut.after_bytes, cut))
    marks.sort(key=lambda mark: mark[0])
    try:
        await _reach(marks, 0)
        record.status = reply.status
        await response.prepare(request)
        await _send_body(response, record, reply.body, marks)
    except _Cut:
        assert request.transport is not None
        request.transport.close()  # after what was written, and without the mark that ends the body
        return response
    await response.write_eof()
    record.complete = True
    return response


async def _send_body(
    response: web.StreamResponse,
    record: RecordedRequest,
    body: AsyncIterator[bytes],
    marks: list[tuple[int, Hold | CutOff]],
) -> None:
    sent, tail = 0, b""
    async for whole in body:
        tail = tail[-len(_PACK) :] + whole
        record.sent_pack |= record.kind is Kind.FETCH and _PACK in tail
        chunk = whole
        while marks and marks[0][0] <= sent + len(chunk):
            split = marks[0][0] - sent
            if split:
                await response.write(chunk[:split])
            sent, chunk = sent + split, chunk[split:]
            await _reach(marks, sent)
        if chunk:
            await response.write(chunk)
        sent += len(chunk)
    await _reach(marks, None)


async def _reach(marks: list[tuple[int, Hold | CutOff]], sent: int | None) -> None:
    """Do what is to be done after so many bytes; None: at the end, all that is left."""
    while marks and (sent is None or marks[0][0] <= sent):
        _, rule = marks.pop(0)
        match rule:
            case Hold():
                await rule.wait()
            case CutOff():
                raise _Cut
            case _:
                assert_never(rule)


def _first(kind: type[RuleT], record: RecordedRequest, faults: Sequence[Faults]) -> RuleT | None:
    return next((rule for each in faults if (rule := each.find(kind, record))), None)


def _holds(record: RecordedRequest, faults: Sequence[Faults]) -> list[Hold]:
    return [hold for each in faults for hold in each.holds(record)]


def _reply(status: int, headers: Mapping[str, str], body: bytes) -> Reply:
    async def once() -> AsyncIterator[bytes]:
        yield body

    return Reply(status, headers, once())
