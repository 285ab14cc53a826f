"""Procedural radiographs of children's left hands, drawn bone by bone for a given bone age."""
