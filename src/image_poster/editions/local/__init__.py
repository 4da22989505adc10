"""One machine: SQLite, files, libvips and Granian.

settings     every setting, with its default and its rule
container    which class stands for which port
background   work beside the requests
data_folder  one server at a time, and its key
serve        one process, or several on one data folder
operate      the operators' commands, beside a running server or without one
export       out of a data folder as plain files, and into one
doctor       a look at everything that the service stands on
"""
