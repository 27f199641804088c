"""The other end of the worker's socket: gets the code, installs what it needs, starts the worker, answers for it."""
