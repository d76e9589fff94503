"""Somebody is told when something is wrong: found, raised once, and told by mail or webhook."""
