"""The only user of the git protocol: what a template's ref is now, and the files of one commit of it.

``Resolver`` asks a repository for a commit, ``CheckoutStore`` hands out the verified tree of that commit, ``GitAccess``
says what of our environment git may see and whom the token may be shown. Failures are errors of
``workspace_server.errors`` in their final words; ``CommitMovedError`` alone is a signal to the caller: resolve again.
"""

from workspace_server.git.environment import GitAccess
from workspace_server.git.fetch import Checkout, CheckoutStore, CommitMovedError
from workspace_server.git.remote import open_http_client
from workspace_server.git.resolve import Resolver

__all__ = ["Checkout", "CheckoutStore", "CommitMovedError", "GitAccess", "Resolver", "open_http_client"]
