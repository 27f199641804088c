"""What a registry says of an image, without a pull: reading, credentials, and whether a push would be allowed."""
