"""What tests share: servers to talk to, pictures to send, and a small HTTP helper."""
