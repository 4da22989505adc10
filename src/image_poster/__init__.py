"""image-poster-api: phones on bad connections post images, others comment, a feed ranks them."""

__version__ = "0.1.0"
