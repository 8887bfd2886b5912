"""Which certificates the HTTP clients of this program trust."""

import ssl

import httpx

from workspace_server.errors import SettingsError


def trusted(file: str | None, directory: str | None) -> ssl.SSLContext:
    """Trust what the operator named, else the system's certificates and those of the HTTP library.

    Raises SettingsError when the named ones cannot be read. Reads files: the first time it takes a while.
    """
    try:
        if file or directory:
            return ssl.create_default_context(cafile=file, capath=directory)
    except OSError as error:
        raise SettingsError(
            f"the trusted certificates in {file or directory} cannot be read",
            hint="SSL_CERT_FILE, CURL_CA_BUNDLE or GIT_SSL_CAINFO must name a file of PEM certificates",
        ) from error
    context = httpx.create_ssl_context(trust_env=False)
    context.load_default_certs()
    return context
