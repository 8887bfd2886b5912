"""Real servers, fixture templates and engine probes that the tests start and look through."""
