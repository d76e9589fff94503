"""What the objects of a modality show."""
