"""From results to DICOM objects: one module per kind of object, all with one signature.

To add a kind, write a module with `build(draft: Draft) -> list[Dataset]`, take every header
from `header`, and add a line to the table in `node/kinds.py`. Building is pure: the same draft
gives the same bytes.
"""
