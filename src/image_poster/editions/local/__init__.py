"""The edition for one machine: SQLite, files, libvips and Granian.

- settings, container: every setting with its rule; the class for each port
- serve, server: the processes; the socket and connections
- background, maintenance, moderation: work beside the requests, and its steps; block lists
- data_folder, ownership: the mark, lock and database of a data folder; its owner
- access: its secrets; identity, CORS origins, proxies and limits by address
- snapshot: copies of a data folder at one moment, for the four modules below and for migrations
- generations, backup, restore, export: backups and plain files, and the way back
- doctor, checks: the check of everything, and its repairs
"""
