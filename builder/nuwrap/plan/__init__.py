"""Pure plans: a checked value in, a document or a Dockerfile out; no process, no network, no file but our template."""
