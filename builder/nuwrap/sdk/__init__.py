"""What a person imports: projects, functions, runs and data as objects, on top of the history and the runs."""
