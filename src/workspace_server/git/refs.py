"""Lists of refs, as a Git host answers ``GET info/refs?service=git-upload-pack`` in protocol v0.

Pure: bytes in, refs out. The parser takes any cut of the bytes, so that reading can stop as soon as the answer is
known: HEAD is the first of, at times, many thousand lines.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass

HEAD = "HEAD"
PEELED = "^{}"

_LENGTH = re.compile(rb"[0-9a-fA-F]{4}")
_SERVICE = re.compile(rb"# service=git-upload-pack\n?")
_LINE = re.compile(rb"([0-9a-f]{64}|[0-9a-f]{40}) ([^\0\n]+)(?:\0([^\0\n]*))?\n?")
_SHALLOW = re.compile(rb"shallow [0-9a-f]+\n?")
_NO_REFS = "capabilities^{}"  # the name in the only line of an empty repository, if it has a line at all
_LARGEST = 65520  # git's own limit of a packet, its length's four digits included
_SERVICE_LENGTH = 30  # so that text that begins with four hex digits is not waited for


class RefsError(ValueError):
    """The bytes are no list of refs. The sentence says what is wrong and repeats nothing of them."""


@dataclass(frozen=True, slots=True)
class Ref:
    """A ref's full name and the object it points to. ``refs/tags/x^{}`` is the commit behind an annotated tag."""

    name: str
    id: str


class RefsParser:
    """Turns the pieces of an answer into refs. ``ended`` tells whether the list came to its end.

    ``default_branch`` is the branch that HEAD names, known after the first ref; None when HEAD is detached.
    """

    def __init__(self) -> None:
        self.ended = False
        self.default_branch: str | None = None
        self._pending = b""
        self._id_length = 0  # of every id in the list; 0 before the first ref
        self._announced = False  # the line that names the service was there
        self._started = False  # and the flush after it

    def feed(self, data: bytes) -> Iterator[Ref]:
        """The refs that are complete with ``data``, in the host's order; raises RefsError.

        Lazy: whoever stops in the middle has not looked at the rest, and must not feed more.
        """
        for packet in self._packets(data):
            ref = self._take(packet)
            if ref is not None:
                yield ref

    def _packets(self, data: bytes) -> Iterator[bytes | None]:
        """The complete packets; None is a flush."""
        data = self._pending + data
        start = 0
        while len(data) - start >= 4:  # noqa: PLR2004 - the digits of a length
            size = _packet_size(data[start : start + 4], _LARGEST if self._announced else _SERVICE_LENGTH)
            if len(data) - start < size:
                break
            yield data[start + 4 : start + size] if size else None
            start += size or 4
        self._pending = data[start:]

    def _take(self, packet: bytes | None) -> Ref | None:
        if self.ended:
            raise RefsError("the list goes on after its end")
        if not self._started:
            self._begin(packet)
            return None
        if packet is None:
            self.ended = True
            return None
        if packet.startswith(b"ERR "):
            raise RefsError("the host reports an error of its own")
        if self._id_length and _SHALLOW.fullmatch(packet):
            return None
        return self._ref(packet)

    def _begin(self, packet: bytes | None) -> None:
        if not self._announced:
            if packet is None or not _SERVICE.fullmatch(packet):
                raise RefsError("the answer does not begin with the name of the service")
            self._announced = True
        elif packet is None:
            self._started = True
        else:
            raise RefsError("the name of the service is not followed by a flush")

    def _ref(self, packet: bytes) -> Ref | None:
        line = _LINE.fullmatch(packet)
        if line is None:
            raise RefsError("a line is no ref")
        first = not self._id_length
        object_id, name = line[1].decode(), line[2].decode("utf-8", "surrogateescape")
        if first:
            self._id_length = len(object_id)
            self._read_capabilities(line[3] or b"")
        elif line[3] is not None or len(object_id) != self._id_length:
            raise RefsError("a line is of another form than the first")
        if name == _NO_REFS:
            if not first or object_id.strip("0"):
                raise RefsError("the line of an empty repository is among others")
            return None
        return Ref(name, object_id)

    def _read_capabilities(self, text: bytes) -> None:
        for word in text.split(b" "):
            name, _, value = word.partition(b"=")
            if name == b"symref" and value.startswith(b"HEAD:"):
                self.default_branch = value.removeprefix(b"HEAD:").decode("utf-8", "surrogateescape")
            if name == b"object-format" and {b"sha1": 40, b"sha256": 64}.get(value) != self._id_length:
                raise RefsError("the ids are not of the announced object format")


class Search:
    """Looks for one thing in a list of refs by exact names: HEAD (None), else the branch, else the tag of that name."""

    def __init__(self, ref: str | None) -> None:
        self._names = [HEAD] if ref is None else [f"refs/heads/{ref}", f"refs/tags/{ref}{PEELED}", f"refs/tags/{ref}"]
        self._seen: dict[str, Ref] = {}

    @property
    def patterns(self) -> list[str]:
        """The names looked for, the best first."""
        return list(self._names)

    def offer(self, ref: Ref) -> bool:
        """Take a ref; whether the answer is known, whatever may follow: a branch outranks a tag."""
        if ref.name in self._names:
            self._seen.setdefault(ref.name, ref)
        return self._names[0] in self._seen

    @property
    def found(self) -> Ref | None:
        """The best of what was offered: its id, and the full name that a fetch may ask for."""
        for name in self._names:
            if (ref := self._seen.get(name)) is not None:
                return Ref(ref.name.removesuffix(PEELED), ref.id)
        return None


def _packet_size(digits: bytes, largest: int) -> int:
    """The length of a packet, its own four digits included; 0 for a flush."""
    if not _LENGTH.fullmatch(digits):
        raise RefsError("a packet does not begin with its length")
    size = int(digits, 16)
    if 0 < size < 4 or size > largest:  # noqa: PLR2004 - 1 to 3 mark things that protocol v0 does not have
        raise RefsError("a packet has a length that does not exist")
    return size
