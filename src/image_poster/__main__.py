"""`python -m image_poster` is the command `image-poster`."""

from image_poster.cli.main import main

main()
