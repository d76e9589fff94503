"""Mammograms: views, standard views, what a breast looks like, lesions, hanging."""
