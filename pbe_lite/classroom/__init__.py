"""The assignments: release, run confined, grade."""
