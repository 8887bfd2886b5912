"""HTTP in, HTTP out: routes, bodies, response forms, who may call. No decisions; the only home of status codes."""
