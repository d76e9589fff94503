"""The page for people: the reading list, each study, and how the node is."""
