"""Learning from a real system with the Jacobians of an approximate model (Deep-ILC, VG-SAC).

See `deepilc --help` for the commands and README.md for how the parts fit together. Importing this
package imports neither torch nor warp; the modules that need them do.
"""

from deepilc import blas

blas.load()  # has an effect only before torch is imported

__version__ = "0.1.0"
