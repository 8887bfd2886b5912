"""What a Git host can do to a client, switched on and off by a test at any time, also between two requests."""

import base64
import hmac
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeVar

from .gate import Gate
from .git_requests import RecordedRequest, Where


@dataclass(slots=True, kw_only=True, eq=False)
class Rule:
    """One fault: for which requests, and for how many of them (None: until it is removed)."""

    where: Where = "any"
    times: int | None = None

    def use(self) -> None:
        """Count one request that the fault was applied to."""
        if self.times is not None:
            self.times -= 1

    def applies(self, request: RecordedRequest) -> bool:
        """Tell whether the fault is for this request, now."""
        return self.times != 0 and request.matches(self.where)


@dataclass(slots=True, kw_only=True, eq=False)
class Token(Rule):
    """Basic credentials that are asked for."""

    secret: str = field(repr=False)
    user: str
    missing: int
    wrong: int

    def accepts(self, request: RecordedRequest) -> bool:
        """Tell whether the request carries exactly these credentials."""
        expected = base64.b64encode(f"{self.user}:{self.secret}".encode()).decode()
        return hmac.compare_digest(request.headers.get("Authorization", "").encode(), f"Basic {expected}".encode())


@dataclass(slots=True, kw_only=True, eq=False)
class Answer(Rule):
    """A fixed answer instead of git's."""

    status: int
    body: str | bytes
    headers: Mapping[str, str]


@dataclass(slots=True, kw_only=True, eq=False)
class Redirect(Rule):
    """The same request, sent somewhere else."""

    to: str
    status: int


@dataclass(slots=True, kw_only=True, eq=False)
class CutOff(Rule):
    """A connection that ends in the middle of an answer."""

    after_bytes: int


class Hold(Rule, Gate):
    """Requests that wait at a gate, before anything is done or in the middle of an answer."""

    def __init__(self, *, where: Where, after_bytes: int | None, seconds: float | None = None) -> None:
        Rule.__init__(self, where=where)
        Gate.__init__(self, seconds)
        self.after_bytes = after_bytes


@dataclass(slots=True, kw_only=True, eq=False)
class AfterRefs(Rule):
    """A change to the repository after the n-th look-up of its refs."""

    remaining: int
    callback: Callable[[], Awaitable[object]]


@dataclass(slots=True, kw_only=True, eq=False)
class RefuseUnadvertised(Rule):
    """Protocol v0 with git's strictest setting."""


RuleT = TypeVar("RuleT", bound=Rule)


class Faults:
    """The faults of one repository, or of the whole host. The latest of a kind wins; a repository's own come first."""

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def require_token(
        self,
        secret: str,
        *,
        user: str = "oauth2",
        missing: Literal["401", "404"] = "401",
        wrong: Literal["401", "403"] = "401",
    ) -> Token:
        """Ask for Basic credentials; answer ``missing`` without any and ``wrong`` to others."""
        return self._add(Token(secret=secret, user=user, missing=int(missing), wrong=int(wrong)))

    def hold(self, where: Where = "any", *, after_bytes: int | None = None) -> Hold:
        """Let requests wait before anything is done, or after so many bytes of the answer's body (or at its end)."""
        return self._add(Hold(where=where, after_bytes=after_bytes))

    def delay(self, seconds: float, where: Where = "any", *, after_bytes: int | None = None) -> Hold:
        """Let every request wait so long; a release ends the wait and the fault."""
        return self._add(Hold(where=where, after_bytes=after_bytes, seconds=seconds))

    def cut_off(self, after_bytes: int, where: Where = "any", *, times: int | None = None) -> CutOff:
        """Close the connection after so many bytes of the answer's body, or before its end if it is shorter.

        With 0 the connection is closed before the status line.
        """
        return self._add(CutOff(where=where, times=times, after_bytes=after_bytes))

    def answer(
        self,
        status: int,
        body: str | bytes = "",
        content_type: str = "text/plain; charset=utf-8",
        *,
        where: Where = "any",
        times: int | None = None,
        headers: Mapping[str, str] | None = None,
    ) -> Answer:
        """Answer with this instead of git's own answer."""
        every = {"Content-Type": content_type, **(headers or {})}
        return self._add(Answer(where=where, times=times, status=status, body=body, headers=every))

    def redirect(self, to: str, *, status: int = 301, where: Where = "any", times: int | None = None) -> Redirect:
        """Redirect to the same service and query below ``to``: a repository's URL here, or on another origin."""
        return self._add(Redirect(where=where, times=times, to=to.removesuffix("/"), status=status))

    def move_head_after(self, n_refs_requests: int, callback: Callable[[], Awaitable[object]]) -> AfterRefs:
        """Await ``callback`` once, after the n-th look-up from now was worked out and before its answer is sent.

        So that answer says what was before, and any request that follows it sees what the callback made.
        """
        return self._add(AfterRefs(where="refs", times=1, remaining=n_refs_requests, callback=callback))

    def refuse_unadvertised(self) -> RefuseUnadvertised:
        """Speak protocol v0 only and give out only commits that a ref points to, as old hosts do."""
        return self._add(RefuseUnadvertised())

    def remove(self, *rules: Rule) -> None:
        """Take faults away again; what they hold is released."""
        for rule in rules:
            self._rules.remove(rule)
            if isinstance(rule, Hold):
                rule.release()

    def clear(self) -> None:
        """Take every fault away; what they hold is released."""
        self.remove(*self._rules)

    def find(self, kind: type[RuleT], request: RecordedRequest) -> RuleT | None:
        """Return the latest fault of this kind that is for this request."""
        return next((rule for rule in reversed(self._all(kind)) if rule.applies(request)), None)

    def holds(self, request: RecordedRequest) -> list[Hold]:
        """Return every hold that is for this request."""
        return [hold for hold in self._all(Hold) if hold.applies(request)]

    def hooks_due(self, request: RecordedRequest) -> list[AfterRefs]:
        """Count this look-up for every waiting hook and return those whose turn has come."""
        waiting = [hook for hook in self._all(AfterRefs) if hook.applies(request)]
        for hook in waiting:
            hook.remaining -= 1
        return [hook for hook in waiting if hook.remaining == 0]

    def _all(self, kind: type[RuleT]) -> list[RuleT]:
        return [rule for rule in self._rules if isinstance(rule, kind)]

    def _add(self, rule: RuleT) -> RuleT:
        self._rules.append(rule)
        return rule
