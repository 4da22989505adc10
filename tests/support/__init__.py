"""Helpers that tests share: servers to talk to, images to send, and a small HTTP helper."""
