"""The command line: thin, and a client of the server's own API."""
