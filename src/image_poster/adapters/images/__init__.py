"""Image work with libvips (Pillow for BMP, pillow-heif for HEIC), each image in a confined process
of its own (docs/decisions/0020).

In the server:

- `renderer`: `VipsImageRenderer`, which requests one child for each image and supervises it
- `memory`: one memory budget for all children
- `protocol`: the messages of server, fork server and child, and the server's checks of them

In the fork server and its children:

- `fork_server`: imports everything, opens nothing, forks one child for each image; the steps of a
  child
- `confinement`: resource limits, no_new_privs, Landlock, and the filter of system calls
- `pipeline`: one decode, two renditions, a placeholder and a PDQ hash
- `decoders`: choose the decoder of a format; libvips
- `header`: facts and an estimate of memory and work, before a pixel is decoded
- `jpeg`, `png_gif_webp`, `bmp`, `heif`: facts of these formats, and decoders beside libvips
- `isobmff`, `heif_rebuild`: the boxes of HEIC and AVIF, and files rebuilt from them
- `colour`: shrinks to the working size, upright and in sRGB; colours by code points, and HDR
"""
