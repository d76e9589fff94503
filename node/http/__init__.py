"""What answers by HTTP: a server in a thread, and how a node goes on without it."""
