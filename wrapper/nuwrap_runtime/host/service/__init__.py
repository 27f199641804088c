"""The gateway: HTTP on one side, workers on the other, and a second port that tells how it goes."""
