"""What runs a model file: one small interface, an engine per file format."""
