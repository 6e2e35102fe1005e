"""Ready-made kinds of systems for your own; docs/add-a-system.md shows how."""
