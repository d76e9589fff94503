"""3 to 6 Select, infer, conclude, build: one study as a plain call, without network or database."""
