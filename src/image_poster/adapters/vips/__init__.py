"""Image work with libvips (Pillow for BMP, pillow-heif for HEIC), each worker in a process of its
own.

renderer    `ImageRenderer`: a few child processes, one image each at a time, watched
child       what runs in such a process
pipeline    decode once, make both renditions
decoders    open an image of each format, its size checked before its pixels are decoded
"""
