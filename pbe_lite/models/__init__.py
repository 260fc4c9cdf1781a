"""The networks, and how they load."""
