"""Pure plans: a checked value in, a launch document out; no process, no network, no file."""
