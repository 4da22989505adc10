"""Image work with libvips (Pillow for BMP, pillow-heif for HEIC), each image in a confined process
of its own (docs/decisions/0020).

In the server:

- `renderer`: `VipsImageRenderer`, which starts one child for each image and supervises it
- `memory`: one memory budget for all children
- `protocol`: the messages of server, fork server and child, and the server's checks of them
- `selftest`: a check that each format can be decoded here, and of the confinement

In the fork server and its children:

- `fork_server`: imports everything, opens nothing, forks one child for each image
- `child`: the steps of a child: confine, ask for memory, work, answer
- `confinement`: resource limits, no_new_privs, Landlock
- `seccomp`: the filter of system calls
- `pipeline`: one decode, two renditions
- `decoders`: open an image of each format; `heif`, `bmp`: the formats that libvips does not open
- `cost`: an estimate of memory and work, from the header
- `header_facts`: more facts from headers; `isobmff`, `isobmff_boxes`, `sequences`: those of HEIF
- `colour`: colours by code points, and HDR
"""
