"""Image work with libvips (Pillow for BMP, pillow-heif for HEIC), each image in a process of its
own that is confined to it (docs/decisions/0020).

In the server:
renderer      `ImageRenderer`: asks for a child an image, and watches it
memory        one budget for all of them
protocol      what server, template and child say to each other, and what the server believes
selftest      whether each format is read here, and what confines its decoder

In the template process and its children:
template      imports everything, opens nothing, forks a child an image
child         the child's life: confine, ask for memory, work, answer
confinement   resource limits, no_new_privs, Landlock
seccomp       the filter of system calls
pipeline      decode once, make both renditions
decoders      open an image of each format; heif, bmp: those that libvips does not open
cost          what an image will take, told from its header
header_facts  what headers say beyond that; isobmff, isobmff_boxes, sequences: those of HEIF
colour        colours by code points, and HDR
"""
