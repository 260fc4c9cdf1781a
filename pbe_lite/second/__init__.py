"""The second edition of the miniature world; it takes over when its weights are final."""
