"""The systems, a file or a few each; `sims.registry` names them."""
