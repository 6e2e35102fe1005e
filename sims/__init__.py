"""Physics: systems, their parameters, models with Jacobians, gymnasium environments.

Importing this package registers the gymnasium environments (if gymnasium is installed) and nothing
else: no Warp, no MuJoCo, no torch.
"""

from importlib.util import find_spec

if find_spec("gymnasium") is not None:
    from sims.registration import register_environments

    register_environments()
