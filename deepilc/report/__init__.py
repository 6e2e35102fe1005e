"""Tables and figures of an experiment, made from its `curves.csv` and `experiment.json` alone.

`curves` reads, `statistics` estimates, `tables` and `goals` arrange, `figures` draws, `report`
writes the folder.
"""

__all__: list[str] = []
