"""The command `image-poster`: one file for each kind of user (who serves, who posts, who
operates)."""
