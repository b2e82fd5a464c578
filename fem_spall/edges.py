"""Sharp edges of the lithium: where they run, and how strongly the current crowds there."""
