"""The edition for one machine: SQLite, files, libvips and Granian.

- settings: every setting, with its default and its rule
- container: the class for each port
- background: background work beside the requests
- maintenance: the steps of that work: sweeping, settling uploads, rebuilding
- data_folder: the lock for one server, the database and the keys
- serve: one process, or several on one data folder
- operate: the operators' commands, beside a running server or without one
- export, imports: a data folder to plain files, and back
- doctor: a check of everything that the service depends on
"""
