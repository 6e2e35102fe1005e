"""Experiments: matrices of training runs, in parallel, resumed where they stopped.

A `Cell` is one training run. It does not belong to an experiment: experiments select cells, so one
that two of them need runs once. Files and their meaning are in `deepilc.experiment.store`.
"""
