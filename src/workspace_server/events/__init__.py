"""What happened, told twice: recorded in the transaction of the change, and sent to listeners once it is committed."""

from workspace_server.events.log import EventLog

__all__ = ["EventLog"]
