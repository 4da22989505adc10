"""The commands: `operator` for operators, `moderation` for admins, `posts` for users, `accounts`
for users and operators."""

import sys

# httpx's own command, which httpx does without where rich is not installed: it would take a quarter
# of the time in which ours begins.
sys.modules.setdefault("httpx._main", None)  # type: ignore[arg-type]
