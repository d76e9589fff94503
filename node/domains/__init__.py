"""What the objects of a modality show, and what follows for a model that reads them.

A domain is a module that has the functions of `domain.Domain`, and a line in `table.DOMAINS`.
"""
