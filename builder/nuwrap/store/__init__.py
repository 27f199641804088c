"""What runs have left behind, read without trusting it."""
