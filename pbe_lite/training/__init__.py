"""Losses, the loop, and what makes a run resumable."""
