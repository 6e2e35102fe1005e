"""Mechanics that several systems share: attitude, one rigid body, planar trees of links."""
