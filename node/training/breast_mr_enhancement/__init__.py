"""Recipe of models/breast-mr-enhancement: what enhances in the breasts, by a written graph."""
