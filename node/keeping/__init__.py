"""What a site does with what its node has: moving it, keeping it elsewhere, looking after it."""
