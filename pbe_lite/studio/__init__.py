"""The widget: draw a hole, pick a thing, look."""
