"""What an engine can do to its clients, switched on and off by a test at any time."""

import json
import re
from dataclasses import dataclass
from http import HTTPStatus
from typing import Literal, TypeVar

from .gate import Gate

When = Literal["before", "after"]
"""Whether a request is held before the engine gets it, or its answer after the engine did the work."""

_VERSION = re.compile(r"^/v\d+\.\d+(?=/)")


@dataclass(frozen=True, slots=True)
class Call:
    """One request that came to the engine: the path is without the API's version."""

    method: str
    path: str
    query: str

    @classmethod
    def of(cls, method: str, target: str) -> "Call":
        """Return the call of a request line."""
        path, _, query = target.partition("?")
        return cls(method, _VERSION.sub("", path), query)

    def matches(self, method: str | None, pattern: str) -> bool:
        """Tell whether the method is this one (None: any) and the whole path matches the pattern."""
        return method in (None, self.method) and re.fullmatch(pattern, self.path) is not None


class Rule:
    """One fault: for which calls, and for how many of them (None: until it is removed)."""

    def __init__(self, method: str | None, pattern: str, times: int | None = None) -> None:
        self.method = method
        self.pattern = pattern
        self.times = times

    def applies(self, call: Call) -> bool:
        """Tell whether the fault is for this call, now."""
        return self.times != 0 and call.matches(self.method, self.pattern)

    def use(self) -> None:
        """Count one call that the fault was applied to."""
        if self.times is not None:
            self.times -= 1


class Hold(Rule, Gate):
    """Calls that wait at a gate."""

    def __init__(self, method: str | None, pattern: str, when: When, seconds: float | None) -> None:
        Rule.__init__(self, method, pattern)
        Gate.__init__(self, seconds)
        self.when = when


class Answer(Rule):
    """An error instead of the engine's answer; the engine never sees the call."""

    def __init__(self, method: str | None, pattern: str, status: int, message: str, times: int | None) -> None:
        super().__init__(method, pattern, times)
        self.status = status
        self.message = message

    @property
    def raw(self) -> bytes:
        """The answer as the engine would send it."""
        body = json.dumps({"message": self.message}, separators=(",", ":")).encode() + b"\n"
        return (
            f"HTTP/1.1 {self.status} {HTTPStatus(self.status).phrase}\r\n"
            f"Content-Type: application/json\r\nContent-Length: {len(body)}\r\n\r\n"
        ).encode() + body


class CutOff(Rule):
    """A connection that ends in the middle of an answer."""

    def __init__(self, method: str | None, pattern: str, after_bytes: int, times: int | None) -> None:
        super().__init__(method, pattern, times)
        self.after_bytes = after_bytes


RuleT = TypeVar("RuleT", bound=Rule)


class EngineFaults:
    """The faults of one proxy; the latest of a kind wins.

    ``method`` None means any. ``pattern`` is a regular expression for the whole path without the API's version, as in
    ``r"/containers/[^/]+/start"``.
    """

    def __init__(self) -> None:
        self._rules: list[Rule] = []

    def hold(self, method: str | None, pattern: str, *, when: When = "before", seconds: float | None = None) -> Hold:
        """Let calls wait until they are released: before the engine gets them, or after it has done the work.

        With ``seconds``, each at most so long.
        """
        return self._add(Hold(method, pattern, when, seconds))

    def answer(
        self,
        method: str | None,
        pattern: str,
        *,
        status: int = 500,
        message: str = "broken by a test",
        times: int | None = None,
    ) -> Answer:
        """Answer with an error of the engine's form; the engine does not get the call."""
        return self._add(Answer(method, pattern, status, message, times))

    def cut_off(self, method: str | None, pattern: str, after_bytes: int, *, times: int | None = None) -> CutOff:
        """Close the connection after so many bytes of the answer's body as it is on the wire, or at its end.

        With 0 the answer is lost whole, status and all, after the engine has done the work.
        """
        return self._add(CutOff(method, pattern, after_bytes, times))

    def remove(self, *rules: Rule) -> None:
        """Take faults away again; what they hold is released."""
        for rule in rules:
            self._rules.remove(rule)
            if isinstance(rule, Hold):
                rule.release()

    def clear(self) -> None:
        """Take every fault away; what they hold is released."""
        self.remove(*self._rules)

    def find(self, kind: type[RuleT], call: Call) -> RuleT | None:
        """Return the latest fault of this kind that is for this call."""
        rules = [rule for rule in self._rules if isinstance(rule, kind)]
        return next((rule for rule in reversed(rules) if rule.applies(call)), None)

    def holds(self, call: Call, when: When) -> list[Hold]:
        """Return every hold that is for this call at this moment."""
        return [rule for rule in self._rules if isinstance(rule, Hold) and rule.when == when and rule.applies(call)]

    def _add(self, rule: RuleT) -> RuleT:
        self._rules.append(rule)
        return rule
