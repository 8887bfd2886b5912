"""What this agent does. Replace this file with your agent; the other modules make a workspace of it."""

SKILLS: list[dict[str, object]] = [
    {
        "id": "echo",
        "name": "Echo",
        "description": "Answers with the text of the message.",
        "tags": ["example"],
    },
]


def answer(text: str) -> str:
    """Return the reply to one message.

    Called in a thread of its own for each message, several at once. An exception is logged, reaches the caller as a
    JSON-RPC error without its text, and counts in the error rate that the heartbeats report.
    """
    return text
