"""How good a model is on labelled images: the node's own pipeline, and what came of it counted."""
