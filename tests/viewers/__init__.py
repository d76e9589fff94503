"""A real archive, a real viewer in a real browser, and a reader who opens series after series."""
