"""The migrations of the database, in SQL. A release never changes one of an earlier release.

`schema` describes the tables that they create together.
"""

_FIRST = """
CREATE TABLE posts (
    id TEXT NOT NULL PRIMARY KEY,
    status TEXT NOT NULL,
    creator TEXT NOT NULL,
    total_comments INTEGER NOT NULL DEFAULT 0,
    head BLOB NOT NULL,
    latest BLOB NOT NULL DEFAULT x'',
    due_at INTEGER NOT NULL,
    attempts INTEGER NOT NULL DEFAULT 0,
    error TEXT
);
CREATE INDEX feed_top ON posts (total_comments, id) WHERE status = 'ready';
CREATE INDEX feed_new ON posts (id) WHERE status = 'ready';
CREATE INDEX feed_creator_top ON posts (creator, total_comments, id) WHERE status = 'ready';
CREATE INDEX feed_creator_new ON posts (creator, id) WHERE status = 'ready';
CREATE INDEX jobs_due ON posts (due_at) WHERE status = 'processing';
CREATE INDEX jobs_parked ON posts (id) WHERE status = 'failed' AND error IS NOT NULL;

CREATE TABLE comments (
    post_id TEXT NOT NULL,
    id TEXT NOT NULL,
    creator TEXT NOT NULL,
    doc BLOB NOT NULL,
    PRIMARY KEY (post_id, id)
) WITHOUT ROWID;

CREATE TABLE tombstones (
    id TEXT NOT NULL PRIMARY KEY,
    user TEXT NOT NULL,
    deleted_at INTEGER NOT NULL,
    pending INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX tombstones_pending ON tombstones (deleted_at) WHERE pending = 1;
CREATE INDEX tombstones_done ON tombstones (deleted_at) WHERE pending = 0;
"""


_RECEIPTS = """
CREATE TABLE receipts (
    user TEXT NOT NULL,
    key TEXT NOT NULL,
    fingerprint BLOB NOT NULL,
    body BLOB NOT NULL,
    location TEXT NOT NULL,
    kept_at INTEGER NOT NULL,
    PRIMARY KEY (user, key)
) WITHOUT ROWID;
CREATE INDEX receipts_kept ON receipts (kept_at);
"""

_FAILURES = """
ALTER TABLE posts RENAME COLUMN attempts TO leases;
ALTER TABLE posts ADD COLUMN failures INTEGER NOT NULL DEFAULT 0;
"""

_UPLOADS = """
CREATE TABLE uploads (
    post_id TEXT NOT NULL PRIMARY KEY,
    length INTEGER,
    expires_at INTEGER NOT NULL,
    metadata TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX posts_awaiting ON posts (id) WHERE status = 'awaiting_upload';
"""

_DIGESTS = """
ALTER TABLE uploads ADD COLUMN sha256 BLOB NOT NULL DEFAULT x''
"""

_RENAMED_RECEIPTS = """
ALTER TABLE receipts RENAME TO idempotency_records;
DROP INDEX receipts_kept;
CREATE INDEX idempotency_records_kept ON idempotency_records (kept_at)
"""

_TURNS = """
ALTER TABLE posts ADD COLUMN turn INTEGER NOT NULL DEFAULT 0;
DROP INDEX jobs_due;
CREATE INDEX jobs_by_turn ON posts (turn, due_at, id) WHERE status = 'processing';
CREATE INDEX jobs_by_creator ON posts (creator, turn) WHERE status = 'processing'
"""

_ABORTED_UPLOADS = """
ALTER TABLE tombstones ADD COLUMN ended INTEGER NOT NULL DEFAULT 0
"""

_PROBE = """
CREATE TABLE probe (at INTEGER NOT NULL);
INSERT INTO probe VALUES (0)
"""

_LIMITS = """
CREATE TABLE daily_bytes (
    user TEXT NOT NULL PRIMARY KEY,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TABLE bookings (
    post_id TEXT NOT NULL PRIMARY KEY,
    user TEXT NOT NULL,
    day INTEGER NOT NULL,
    bytes INTEGER NOT NULL,
    expires_at INTEGER NOT NULL,
    is_upload INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX bookings_of_user ON bookings (user, expires_at);
CREATE INDEX bookings_of_requests ON bookings (post_id) WHERE is_upload = 0
"""

# The first rank of a post holds since always (0). Indexes have `since`, so that a walk need not
# read the posts that it passes over.
_RANKS = """
ALTER TABLE posts ADD COLUMN since INTEGER NOT NULL DEFAULT 0;
DROP INDEX feed_top;
DROP INDEX feed_creator_top;
CREATE INDEX feed_top ON posts (total_comments, id, since) WHERE status = 'ready';
CREATE INDEX feed_creator_top ON posts (creator, total_comments, id, since)
    WHERE status = 'ready';
CREATE TABLE past_ranks (
    total_comments INTEGER NOT NULL,
    id TEXT NOT NULL,
    until INTEGER NOT NULL,
    since INTEGER NOT NULL,
    creator TEXT NOT NULL,
    PRIMARY KEY (total_comments, id, until)
) WITHOUT ROWID;
CREATE INDEX past_ranks_creator ON past_ranks (creator, total_comments, id, until, since);
CREATE INDEX past_ranks_until ON past_ranks (until);
CREATE TABLE feed_clock (epoch INTEGER NOT NULL);
INSERT INTO feed_clock VALUES (0);
UPDATE posts SET latest = fitting_latest(latest) WHERE length(latest) > 16384
"""

_UNFINISHED = """
ALTER TABLE uploads ADD COLUMN content_type TEXT NOT NULL DEFAULT '';
CREATE INDEX posts_unfinished ON posts (creator, id) WHERE status <> 'ready'
"""

_FILES = """
CREATE TABLE files (
    post_id TEXT NOT NULL,
    name TEXT NOT NULL,
    size INTEGER NOT NULL,
    sha256 BLOB NOT NULL,
    PRIMARY KEY (post_id, name)
) WITHOUT ROWID
"""

# All locations end with the id of a post or comment.
_RECORDS_BY_RESOURCE = """
CREATE INDEX idempotency_records_resource ON idempotency_records (substr(location, -26));
UPDATE idempotency_records SET body = x''
    WHERE substr(location, -26) IN (SELECT id FROM tombstones)
"""

_REFUSED = """
ALTER TABLE uploads ADD COLUMN refused_bytes INTEGER NOT NULL DEFAULT 0
"""

# The conditions of some indexes keep them small: few entries are open, few accounts are deleted.
# The days of posts that failed earlier begin now (`due_at` is the time of the failure).
_MODERATION = """
ALTER TABLE posts ADD COLUMN image_hash TEXT NOT NULL DEFAULT '';
CREATE INDEX posts_failed ON posts (due_at, id) WHERE status = 'failed';
UPDATE posts SET due_at = max(due_at, CAST(strftime('%s', 'now') AS INTEGER) * 1000)
    WHERE status = 'failed';
CREATE INDEX comments_of_creator ON comments (creator, id);
CREATE INDEX tombstones_of_user ON tombstones (user);
CREATE TABLE accounts (
    user TEXT NOT NULL PRIMARY KEY,
    deleting INTEGER NOT NULL DEFAULT 0,
    deleting_since INTEGER NOT NULL DEFAULT 0,
    ban_decision TEXT,
    ban_reason TEXT,
    ban_until INTEGER
) WITHOUT ROWID;
CREATE INDEX accounts_deleting ON accounts (user) WHERE deleting = 1;
CREATE TABLE blocks (
    user TEXT NOT NULL,
    blocked TEXT NOT NULL,
    created_at TEXT NOT NULL,
    PRIMARY KEY (user, blocked)
) WITHOUT ROWID;
CREATE TABLE entries (
    id TEXT NOT NULL PRIMARY KEY,
    subject TEXT NOT NULL,
    kind TEXT NOT NULL,
    since TEXT NOT NULL,
    closed_by TEXT,
    reports INTEGER NOT NULL DEFAULT 0,
    reasons TEXT NOT NULL DEFAULT '{}',
    match_line INTEGER,
    match_decision TEXT
) WITHOUT ROWID;
CREATE UNIQUE INDEX entries_open ON entries (subject, kind) WHERE closed_by IS NULL;
CREATE INDEX entries_queue ON entries (id) WHERE closed_by IS NULL;
CREATE TABLE reports (
    id TEXT NOT NULL PRIMARY KEY,
    reporter TEXT NOT NULL,
    post_id TEXT NOT NULL,
    comment_id TEXT,
    reason TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL,
    entry_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX reports_of_user ON reports (reporter, id);
CREATE INDEX reports_of_subject ON reports (reporter, post_id, comment_id);
CREATE INDEX reports_of_entry ON reports (entry_id, id);
CREATE TABLE decisions (
    id TEXT NOT NULL PRIMARY KEY,
    made_by TEXT NOT NULL,
    action TEXT NOT NULL,
    post_id TEXT,
    comment_id TEXT,
    user TEXT,
    reason TEXT,
    text TEXT NOT NULL,
    until TEXT,
    created_at TEXT NOT NULL,
    owner TEXT NOT NULL,
    subject TEXT NOT NULL
);
CREATE INDEX decisions_of_owner ON decisions (owner, id);
CREATE INDEX decisions_of_subject ON decisions (subject);
CREATE TABLE appeals (
    decision_id TEXT NOT NULL PRIMARY KEY,
    owner TEXT NOT NULL,
    text TEXT NOT NULL,
    created_at TEXT NOT NULL,
    entry_id TEXT NOT NULL
) WITHOUT ROWID;
CREATE INDEX appeals_of_owner ON appeals (owner) WHERE text <> '';
CREATE INDEX appeals_of_entry ON appeals (entry_id);
CREATE TABLE blocked_hashes (
    hash TEXT NOT NULL PRIMARY KEY,
    decision_id TEXT NOT NULL
);
CREATE TABLE used_keys (
    hash BLOB NOT NULL PRIMARY KEY,
    kept_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX used_keys_kept ON used_keys (kept_at)
"""

_REVIEWS = """
CREATE TABLE reviews (
    post_id TEXT NOT NULL PRIMARY KEY,
    review BLOB NOT NULL,
    due_at INTEGER NOT NULL
) WITHOUT ROWID;
CREATE INDEX reviews_due ON reviews (due_at);
CREATE TABLE deleted_accounts (
    hash BLOB NOT NULL PRIMARY KEY,
    kept_at INTEGER NOT NULL
) WITHOUT ROWID
"""

# Rows are deleted after delivery. AUTOINCREMENT: a late result never meets another event's row.
_EVENTS = """
CREATE TABLE webhook_endpoints (
    id INTEGER PRIMARY KEY,
    url TEXT NOT NULL UNIQUE,
    is_configured INTEGER NOT NULL,
    is_off INTEGER NOT NULL DEFAULT 0,
    removed_at INTEGER,
    dropped INTEGER NOT NULL DEFAULT 0,
    last_error TEXT,
    failed_ms INTEGER
);
CREATE TABLE outbox (
    row INTEGER PRIMARY KEY AUTOINCREMENT,
    endpoint_id INTEGER NOT NULL,
    id TEXT NOT NULL,
    type TEXT NOT NULL,
    post_id TEXT,
    comment_id TEXT,
    record_id TEXT,
    user TEXT,
    occurred_ms INTEGER NOT NULL,
    since_ms INTEGER NOT NULL,
    due_at INTEGER NOT NULL,
    tries INTEGER NOT NULL DEFAULT 0,
    is_parked INTEGER NOT NULL DEFAULT 0,
    trace TEXT
);
CREATE INDEX outbox_due ON outbox (endpoint_id, is_parked, due_at);
ALTER TABLE posts ADD COLUMN trace TEXT
"""

MIGRATIONS = (
    *(_FIRST, _RECEIPTS, _FAILURES, _UPLOADS, _DIGESTS, _RENAMED_RECEIPTS, _TURNS),
    *(_ABORTED_UPLOADS, _PROBE, _LIMITS, _RANKS, _UNFINISHED, _FILES, _RECORDS_BY_RESOURCE),
    *(_REFUSED, _MODERATION, _REVIEWS, _EVENTS),
)
