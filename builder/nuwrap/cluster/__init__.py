"""The Kubernetes API: one gate for platforms, engines and commands."""
