"""Passing HTTP/1.1 requests and upgraded connections between a client and the engine, with faults in between."""

import asyncio
from collections.abc import AsyncIterator, Callable

from .engine_faults import Answer, Call, CutOff, EngineFaults, When
from .http_wire import Head, Wire
from .tasks import background


class Relay:
    """One client's connection and its twin to the engine, until one of the two sides ends it."""

    def __init__(self, client: Wire, engine: Wire, faults: EngineFaults, record: Callable[[Call], None]) -> None:
        self._client = client
        self._engine = engine
        self._faults = faults
        self._record = record

    async def serve(self) -> None:
        """Pass on one request after the other until one of the two sides ends the connection."""
        goes_on = True
        while goes_on and (request := await self._client.head()) is not None:
            call = Call.of(*request.start[:2])
            self._record(call)
            async with background(self._client.ended()) as client_ended:
                await self._hold(call, "before", client_ended)
            fault = self._faults.find(Answer, call)
            if fault is None:
                goes_on = await self._exchange(request, call)
            else:
                fault.use()
                async for _ in self._client.body(request.request_framing):
                    pass
                await self._client.send(fault.raw)

    async def _hold(self, call: Call, when: When, client_ended: asyncio.Task[None]) -> None:
        """Wait at every gate for this call; raises ConnectionError when the client goes away meanwhile."""
        for hold in self._faults.holds(call, when):
            async with background(hold.wait()) as released:
                await asyncio.wait([client_ended, released], return_when=asyncio.FIRST_COMPLETED)
                if not released.done():
                    raise ConnectionResetError("the client did not wait")

    async def _exchange(self, request: Head, call: Call) -> bool:
        """Pass on one request and its answer, at the same time; return whether another may follow."""
        await self._engine.send(request.raw)
        sent = asyncio.Event()
        async with background(self._send_body(request, sent)) as sending:
            answer = await self._answer_head()
            if answer is None:
                return False
            await self._hold(call, "after", sending)
            cut = self._faults.find(CutOff, call)
            if cut is not None:
                cut.use()
                if cut.after_bytes == 0:
                    return False
            await self._client.send(answer.raw)
            if not answer.starts_tunnel:
                framing = answer.answer_framing(call.method)
                whole = await _copy(self._engine.body(framing), self._client, cut)
                await sent.wait()
                return whole and framing != "until closed"
        await self._tunnel(cut)
        return False

    async def _answer_head(self) -> Head | None:
        """Read the head of the answer; what comes before it (100 Continue) is passed on."""
        while (answer := await self._engine.head()) is not None and answer.is_interim:
            await self._client.send(answer.raw)
        return answer

    async def _send_body(self, request: Head, sent: asyncio.Event) -> None:
        """Pass on the request's body, then let the engine know when the client goes away before its answer."""
        try:
            async for piece in self._client.body(request.request_framing):
                await self._engine.send(piece)
        finally:
            sent.set()
        await self._client.ended()
        self._engine.end_sending()

    async def _tunnel(self, cut: CutOff | None) -> None:
        """Pass on both directions unseen; the end of one does not end the other."""

        async def send() -> None:
            await _copy(self._client.body("until closed"), self._engine, None)
            self._engine.end_sending()

        async with background(send()) as sending:
            if await _copy(self._engine.body("until closed"), self._client, cut):
                self._client.end_sending()
                await asyncio.wait([sending])


async def _copy(source: AsyncIterator[bytes], to: Wire, cut: CutOff | None) -> bool:
    """Pass on a body; return whether it is whole. One that is to be cut off never is."""
    left = None if cut is None else cut.after_bytes
    async for piece in source:
        await to.send(piece[:left])
        if left is not None and (left := left - len(piece)) <= 0:
            return False
    return left is None
