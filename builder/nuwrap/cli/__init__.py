"""The `nuwrap` command."""
