"""The process that holds the user's function: speaks the Nuclio processor's protocol, never imports the host."""
