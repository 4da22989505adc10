"""Posts, comments, idempotency records, uploads, usage, moderation and accounts in one DynamoDB
table.

`schema` converts the items below, `database` has the requests and `boto` sends them, `stream`
decodes the table's stream. Each other module is named for its port.

| item      | PK             | SK            | attributes                                         |
| post      | POST#{post}    | POST          | id, status, since_ms, creator, head, latest,       |
|           |                |               | total, version, counted, feed, creator_feed,       |
|           |                |               | unfinished, rank, error, failures, request_id,     |
|           |                |               | upload_*, staged, published, image_hash, due,      |
|           |                |               | due_at, deleted_by, ended, record, ttl             |
| comment   | POST#{post}    | COMMENT#{id}  | creator, doc, counted, deleted_by, request_id,     |
|           |                |               | record, author, id                                 |
| gone      | POST#{post}    | GONE#{id}     | deleted_by, ttl: a comment that was deleted        |
| past rank | POST#{post}    | RANK#{until}  | feed, creator_feed, rank, ttl                      |
| record    | USER#{user}    | KEY#{SHA-256} | key, fingerprint, body, location, resource,        |
|           |                |               | expires_ms, ttl                                    |
| used key  | USED#{SHA-256} | USED          | expires_ms, ttl: of a deleted account              |
| usage     | USER#{user}    | TAKEN         | day, booked, under_way, passed, minute, writes,    |
|           |                |               | writes_before, stopped_until, version, ttl         |
| account   | USER#{user}    | ACCOUNT       | ban_decision, ban_reason, ban_until, blocks,       |
|           |                |               | deleting, begun_ms, counted, due, due_at           |
| block     | USER#{user}    | BL#{other}    | created_at, or ended, ttl                          |
| pair      | PAIR#{SHA-256} | PAIR          | by_first, by_second: blocks between two users      |
| report    | USER#{user}    | REPORT#{id}   | report: the document, and the id of its entry      |
| reported  | USER#{user}    | REPORTED#{po} | at: the user reported this post                    |
| decision  | USER#{owner}   | DECISION#{id} | doc, appeal_text, appealed_at, appeal_entry        |
| log entry | DECISIONS      | {decision}    | doc                                                |
| state     | SUBJECT#{key}  | STATE#{com}   | last, in_force, version: documents of decisions    |
| entry     | SUBJECT#{key}  | ENTRY#{com}#… | id, entry, due, due_at, version, by its kind       |
| closed    | SUBJECT#{key}  | CLOSED#{id}   | action: the one that closed the entry              |
| reporter  | SUBJECT#{key}  | REPORTER#{…}  | report: of an entry's id and a hash of the user    |
| hash      | HASHES         | {decision}    | hash: PDQ hash of a blocked image                  |
| probe     | PROBE#{number} | PROBE         | at_ms: the time of its last write (64 items)       |
| cursor    | HEALING        | HEALING       | after, started_ms, until_ms: the cursor of the     |
|           |                |               | full reconciliation                                |

| index       | partition    | sort   | items                                                  |
| top         | feed         | rank   | ready posts, most commented first                      |
| new         | feed         | id     | ready posts, newest first                              |
| creator_top | creator_feed | rank   | a creator's ready posts, most commented first          |
| creator_new | creator_feed | id     | a creator's ready posts, newest first                  |
| unfinished  | unfinished   | id     | a creator's posts that are not ready, newest first     |
| due         | due          | due_at | posts with a scheduled check, by its time; open        |
|             |              |        | entries of the queue, by their id; accounts that are   |
|             |              |        | being deleted, by user                                 |
| author      | author       | id     | a user's comments, newest first                        |

- `feed` (FEED#{shard}) and `creator_feed` (CREATOR#{name}): only a ready post has them, and so is
  in the feed's indexes. Until then it has `unfinished` (CREATOR#{name}).
- `rank`: the post's count, zero-padded, its id, and the first epoch of this rank. A rank without
  an epoch counts from the beginning.
- A past rank (`domain.feed`) is in `top` and `creator_top`, in partitions of its own:
  PAST#FEED#{shard} and PAST#CREATOR#{name}. Its `rank` has `until` before `since`.
- `version` changes with every change, except of an upload's offset and refused bytes.
- `staged`: the bytes are pieces under `staging/`, not one object yet.
- `total`: the number of comments that are `counted`.
- `counted` of a post: false after a write of its creator (except a deletion) and after it was
  hidden, for the stream. The next write removes it.
- `record`: the sort key of the idempotency record of a post or comment. Its `resource` is the id
  of the post or comment, whose deletion removes the record's `body`.
- A deleted post stays as a tombstone without text until its `ttl`. `ended`: it was an upload
  without all its bytes. `deleted_by` of a purged post, and of a comment that is gone, is a hash of
  the user's name; it is empty for the service.
- `due` (DUE#{part}): a post has it while it waits for its image, its image work, or its purge, and
  while it is `failed`. After its renditions had to move, it has it for some minutes. QUEUE and
  DELETIONS are the partitions of entries and of accounts.
- The key of a subject is `post:{post}` or `user:{user}`. A comment's items are in the partition of
  its post, with its id in the sort key. A closed entry leaves its ENTRY item empty.
- `author` (AUTHOR#{user}): a comment has it until it is deleted.
- `counted` of an account: false while its deletion is new, for the stream.
- `published`: the post was ready once, so a CDN may have its images.

Sizes: an item has at most 400 KB. Ten comments of 2,000 characters of four bytes, a caption and an
alt text have at most 110 KB. An entry of the queue has five reports of at most 4 KB each. The
gateway limits an upload's metadata, with all headers, to 10 KB. The longest user's name (255
characters) makes a sort key of 1,023 bytes in the list of blocks; DynamoDB takes 1,024.
"""
