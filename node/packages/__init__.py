"""Tools for whoever makes a model package: begin one, look at its tensors, check it."""
