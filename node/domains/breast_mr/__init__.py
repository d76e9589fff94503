"""Dynamic contrast-enhanced MRI of the breast: from headers to phases with times."""
