"""`hostile` in a process as large as the one of decoders: to measure what a fork of that costs."""

import image_poster.adapters.images.pipeline  # noqa: F401 - for its size
from support.hostile import main

if __name__ == "__main__":
    main()
