"""`image-poster`, which syncs resumable uploads as often as small ones need it to be seen."""

from image_poster.adapters.files import uploads
from image_poster.cli.main import main

uploads._SYNC_EVERY_BYTES = 20_000
main()
