"""`python -m schemas.golden`: store the samples that are missing; never touches a stored one."""

import sys

from schemas.golden import store_missing
from schemas.golden.samples import SAMPLES

for name in store_missing(SAMPLES):
    sys.stdout.write(f"stored {name}\n")
