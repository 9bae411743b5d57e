"""Python imports this file when it starts, as `vendor/sitecustomize.py` on the PYTHONPATH of a lab.

A process that fails before it has made a run leaves one: see `taglab.tracking.failed_start`.
"""

import os
import sys

if os.path.basename(sys.argv[0]) == "main.py":
    from taglab.tracking.failed_start import watch
    watch()

# Of several such files Python imports the first one alone: run the next one, too.
place = os.path.dirname(__file__)
further = sys.path[sys.path.index(place) + 1:] if place in sys.path else []
for finder in sys.meta_path:
    other = finder.find_spec("sitecustomize", further)
    if code := getattr(other and other.loader, "get_code", None):
        origin = other and other.origin
        exec(code("sitecustomize"), {"__name__": "sitecustomize", "__file__": origin})
        break
