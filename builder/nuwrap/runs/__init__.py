"""Runs from being asked for to their end: recorded, watched by a process of their own, and what they leave kept."""
