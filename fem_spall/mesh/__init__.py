"""From surfaces to a tagged tetrahedral mesh: embed, remesh, fill, check, distribute."""
