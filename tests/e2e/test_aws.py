"""The AWS edition as `make aws-local` serves it: its commands, its operators, its large images,
and its log."""

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

import httpx
import pytest
from botocore.session import Session

from aws_local.rules import QUEUE_RULE, deploy_rule
from image_poster.client import ImagePosterClient
from support import samples
from support.api import AWS as AWS_EDITION
from support.api import Api, assert_problem, fields, someone
from support.clients import IMAGE, new_post
from support.letters import answers_at_once, answers_empty_first
from support.moderation import (
    decide,
    delete_account,
    new_key,
    post_subject,
    send_report,
    user_subject,
    walk,
)
from support.servers import AWS, start
from support.shell import Shell
from support.waiting import wait_until

Found = TypeVar("Found")
WORDS = "lists/words.txt"
TUS = {"tus-resumable": "1.0.0"}
PIECE = {**TUS, "content-type": "application/offset+octet-stream"}


@dataclass
class Stack:
    """A whole edition, with the limits that are the default; `variables` and `words` are those of
    the command that it prints for operators."""

    url: str
    folder: Path
    variables: dict[str, str]
    words: list[str]

    def client(self, service: str) -> Any:
        return Session().create_client(
            service,
            endpoint_url=self.variables["AWS_ENDPOINT_URL"],
            region_name=self.variables["AWS_DEFAULT_REGION"],
            aws_access_key_id=self.variables["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=self.variables["AWS_SECRET_ACCESS_KEY"],
        )

    @property
    def outputs(self) -> dict[str, str]:
        described = self.client("cloudformation").describe_stacks(StackName=self.words[-1])
        (stack_description,) = described["Stacks"]
        return {
            output["OutputKey"]: output["OutputValue"] for output in stack_description["Outputs"]
        }

    def store_words(self, content: bytes) -> None:
        """Store the list of blocked words; without one, no text is accepted."""
        bucket = self.outputs["UploadsBucket"]
        self.client("s3").put_object(Bucket=bucket, Key=WORDS, Body=content)

    def operate(self, *words: str) -> str:
        """Run the printed command with other words."""
        shell = Shell(self.url, self.folder)
        shell.variables |= self.variables
        return shell.run(*words, *self.words[-2:]).stdout


@pytest.fixture(scope="module")
def stack(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    folder = tmp_path_factory.mktemp("aws")
    said = folder / "said"
    with said.open("w") as stderr:
        server = start(AWS, "Admins=root", f"BlockedWords={WORDS}", "Events=on", log=stderr)
    try:
        match = wait_until(lambda: re.search(r"to operate it: (.*)\n", said.read_text()))
        command = match[1].split()
        variables = dict(word.split("=", 1) for word in command if "=" in word)
        words = [word for word in command if "=" not in word]
        with answers_at_once(variables["AWS_ENDPOINT_URL"]) as queues:
            variables["AWS_ENDPOINT_URL_SQS"] = queues
            running = Stack(server.url, folder, variables, words)
            running.store_words(b"# none yet\n")
            yield running
    finally:
        server.stop()


@pytest.fixture
def api(stack: Stack) -> Iterator[Api]:
    with Api(stack.url, AWS_EDITION) as server_api:
        yield server_api


@pytest.fixture
def photo(tmp_path: Path) -> Path:
    path = tmp_path / "photo.jpg"
    path.write_bytes(samples.noisy(700))
    return path


def test_the_commands_work_as_on_one_machine(stack: Stack, photo: Path, tmp_path: Path) -> None:
    shell = Shell(stack.url, tmp_path)
    post = json.loads(
        shell.run("post", photo, "--caption", "Zoë", "--as", shell.user, "--json").stdout
    )
    assert (post["status"], post["caption"], post["creator"]) == ("ready", "Zoë", shell.user)
    shell.run("comment", post["id"], "Nice!", "--as", "bob")
    wait_until(lambda: "bob: Nice!" in shell.run("show", post["id"]).stdout)
    assert post["id"] in shell.run("feed").stdout
    assert "deleted" in shell.run("delete", post["id"], "--as", shell.user).stdout
    shell.run("show", post["id"], code=1)


def test_the_commands_take_a_bearer_token(
    stack: Stack, api: Api, photo: Path, tmp_path: Path
) -> None:
    shell = Shell(stack.url, tmp_path)
    token = api.get(f"/_token/{shell.user}").json()["access_token"]
    shell.variables["IMAGE_POSTER_TOKEN"] = token
    post = json.loads(shell.run("post", photo, "--json").stdout)
    assert post["creator"] == shell.user
    shell.variables["IMAGE_POSTER_TOKEN"] = token[:-4] + "AAAA"
    shell.run("comment", post["id"], "Nice!", code=1)
    shell.run(
        "show", post["id"], code=1
    )  # a token that does not hold is told, also where none is needed


@pytest.mark.parametrize("way", ["put", "tus"])
def test_a_hundred_megabytes_are_taken(api: Api, way: str) -> None:
    """A defect of the prototype: it could take no more than a Lambda's 6 MB."""
    alice, content = someone("alice"), samples.bitmap(5770, 5770)
    assert 99_000_000 < len(content) <= 100_000_000
    image = {"size": len(content), "content_type": "image/bmp"}
    reserved = api.send("POST", "/posts", alice, json={"image": image}).json()
    if way == "put":
        put = reserved["upload"]["put"]
        assert api.http.put(put["url"], content=content, headers=put["headers"]).is_success
    else:
        most = api.get("/limits").json()["upload"]["max_piece_bytes"]
        for at in range(0, len(content), most):
            sent = {**PIECE, "upload-offset": str(at)}
            piece = content[at : at + most]
            answer = api.send(
                "PATCH", reserved["upload"]["tus"], alice, content=piece, headers=sent
            )
            assert answer.status_code == 204, answer.text
    path = f"/posts/{reserved['id']}"
    post = {"status": "awaiting_upload"}
    while post["status"] in {"awaiting_upload", "processing"}:
        post = api.processed(path, alice)
    assert post["status"] == "ready"
    assert api.get(f"{path}/original", alice).content == content
    shown = samples.opened(api.get(post["image"]["url"]).content)  # type: ignore[index]
    assert samples.looks_like(samples.corner_colours(shown), samples.CORNERS)


def test_one_request_id_leads_through_all_three_lambdas(stack: Stack, api: Api) -> None:
    request_id, alice = f"request-{someone()}", someone("alice")
    files = {"image": ("photo.jpg", samples.jpeg())}
    headers = {"x-request-id": request_id}
    post = api.send("POST", "/posts", alice, files=files, headers=headers).json()
    assert api.processed(f"/posts/{post['id']}", alice)["status"] == "ready"
    part = f'"request_id": "{request_id}"'
    for group in ("ApiLogs", "StreamLogs", "ImageLogs"):
        wait_until(partial(logged, stack, group, part))


def logged(stack: Stack, group: str, part: str) -> list[str]:
    """The lines of a Lambda's log, in CloudWatch, that have this part."""
    name = f"/aws/cloudformation/{stack.words[-1]}/{group}"
    events = stack.client("logs").filter_log_events(logGroupName=name)["events"]
    return [event["message"] for event in events if part in event["message"]]


def test_a_redelivered_s3_event_changes_nothing(stack: Stack, api: Api) -> None:
    """A defect of the prototype: it wrote the post anew, with no comments, on each event. Here the
    Lambda is handed the event again, and has ended when that is answered."""
    post = api.ready_by_put(someone("alice"))
    comment = api.comment(post["id"], "bob")
    api.eventually(lambda: api.latest(post["id"]), [comment])
    before = api.get(f"/posts/{post['id']}").json()
    event = {"Records": [{"s3": {"object": {"key": f"incoming/{post['id']}"}}}]}
    for _ in range(2):
        ended = stack.client("lambda").invoke(
            FunctionName=stack.outputs["ImageFunction"], Payload=json.dumps(event)
        )
        assert "FunctionError" not in ended
        assert api.get(f"/posts/{post['id']}").json() == before
    assert before["total_comments"] == 1


# What operators do


def test_given_up_image_work_is_listed_and_replayed(stack: Stack, api: Api) -> None:
    """The emulator imitates no retries and no dead-letter queue: here they are done by hand, with
    the message that Lambda documents."""
    alice, content = someone("alice"), samples.jpeg()
    image = {"size": len(content), "content_type": "image/jpeg"}
    reserved = api.send("POST", "/posts", alice, json={"image": image}).json()
    key, path = f"incoming/{reserved['id']}", f"/posts/{reserved['id']}"
    event = {"Records": [{"s3": {"object": {"key": key}}}]}
    assert "nothing has failed" in stack.operate("failed")
    for _ in range(3):  # its original is missing
        ended = stack.client("lambda").invoke(
            FunctionName=stack.outputs["ImageFunction"], Payload=json.dumps(event)
        )
        assert "FunctionError" in ended
    given_up = {
        "version": "1.0",
        "requestContext": {"condition": "RetriesExhausted", "approximateInvokeCount": 3},
        "requestPayload": event,
        "responsePayload": {"errorMessage": "the original is missing"},
    }
    stack.client("sqs").send_message(
        QueueUrl=stack.outputs["ImageDeadLetters"], MessageBody=json.dumps(given_up)
    )
    post = api.get(path, alice).json()
    assert (post["status"], post["failure"]["code"]) == ("failed", "processing_failed")
    for _ in range(2):  # looking takes nothing out
        assert f"{key}  the original is missing" in stack.operate("failed")
    put = reserved["upload"]["put"]
    api.http.put(put["url"], content=content, headers=put["headers"])
    assert f"{key} will be tried again" in stack.operate("failed", "--replay")
    api.eventually(lambda: api.get(path, alice).json()["status"], "ready")
    assert "nothing has failed" in stack.operate("failed")


@pytest.fixture
def deaf_stack(stack: Stack) -> Iterator[Stack]:
    """Its stream Lambda is told nothing."""
    client = stack.client("lambda")
    (mapping,) = [
        mapping
        for mapping in client.list_event_source_mappings()["EventSourceMappings"]
        if f":{stack.outputs['StreamFunction']}:" in mapping["FunctionArn"]
    ]
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=False)
    yield stack
    client.update_event_source_mapping(UUID=mapping["UUID"], Enabled=True)


def records_of(stack: Stack, comment_id: str) -> tuple[str, str, dict[str, Any]]:
    streams = stack.client("dynamodbstreams")
    (arn,) = [stream["StreamArn"] for stream in streams.list_streams()["Streams"]]
    for shard in streams.describe_stream(StreamArn=arn)["StreamDescription"]["Shards"]:
        iterator = streams.get_shard_iterator(
            StreamArn=arn, ShardId=shard["ShardId"], ShardIteratorType="TRIM_HORIZON"
        )["ShardIterator"]
        for record in streams.get_records(ShardIterator=iterator, Limit=1000)["Records"]:
            if comment_id in record["dynamodb"]["Keys"]["SK"]["S"]:
                return arn, shard["ShardId"], record
    raise AssertionError("the stream has no such record")


def test_a_given_up_batch_of_the_stream_is_listed_and_replayed(deaf_stack: Stack, api: Api) -> None:
    post = api.ready_by_put(someone("alice"))
    comment = api.comment(post["id"], "bob")
    arn, shard, record = records_of(deaf_stack, comment["id"])
    give_up(deaf_stack, arn, shard, record, record, 1)
    assert api.total(post["id"]) == 0
    assert "1 changes of 2026-11-24T12:00:00Z  its changes could" in deaf_stack.operate("failed")
    assert "will be tried again" in deaf_stack.operate("failed", "--replay")
    assert api.total(post["id"]) == 1
    assert "nothing has failed" in deaf_stack.operate("failed")


def give_up(
    stack: Stack,
    arn: str,
    shard: str,
    first: Any,
    last: Any,
    size: int,
    queue: str = "StreamDeadLetters",
) -> None:
    """A letter as Lambda documents it (services-dynamodb-errors)."""
    batch = {
        "streamArn": arn,
        "shardId": shard,
        "startSequenceNumber": first["dynamodb"]["SequenceNumber"],
        "endSequenceNumber": last["dynamodb"]["SequenceNumber"],
        "approximateArrivalOfFirstRecord": "2026-11-24T12:00:00Z",
        "approximateArrivalOfLastRecord": "2026-11-24T12:00:00Z",
        "batchSize": size,
    }
    stack.client("sqs").send_message(
        QueueUrl=stack.outputs[queue],
        MessageBody=json.dumps({"version": "1.0", "DDBStreamBatchInfo": batch}),
    )


def test_list_and_replay_are_exact_though_aws_answers_empty_first(
    deaf_stack: Stack, api: Api
) -> None:
    """As SQS and DynamoDB Streams may, and the emulator never does. A batch that is not whole
    stays, and says why; an image whose Lambda ended without a word is told."""
    post = api.ready_by_put(someone("alice"))
    comments = [api.comment(post["id"], "bob") for _ in range(3)]
    arn, shard, first = records_of(deaf_stack, comments[0]["id"])
    _, _, last = records_of(deaf_stack, comments[-1]["id"])
    give_up(deaf_stack, arn, shard, first, last, 3)
    give_up(deaf_stack, arn, shard, first, last, 999)
    event = {"Records": [{"s3": {"object": {"key": f"complete/{post['id']}"}}}]}
    for _ in range(2):
        deaf_stack.client("sqs").send_message(
            QueueUrl=deaf_stack.outputs["ImageDeadLetters"],
            MessageBody=json.dumps({"requestPayload": event, "responsePayload": None}),
        )
    with answers_empty_first(deaf_stack.variables["AWS_ENDPOINT_URL"]) as url:
        proxied = {"AWS_ENDPOINT_URL_SQS": url, "AWS_ENDPOINT_URL_DYNAMODB_STREAMS": url}
        behind = replace(deaf_stack, variables=deaf_stack.variables | proxied)
        for _ in range(2):
            listed = behind.operate("failed").splitlines()
            assert sorted(line.partition("  ")[0] for line in listed) == [
                "3 changes of 2026-11-24T12:00:00Z",
                "999 changes of 2026-11-24T12:00:00Z",
                *[f"complete/{post['id']}"] * 2,
            ]
            assert listed[0].endswith("it exceeded its time or its memory")
        said = behind.operate("failed", "--replay")
        assert said.count("will be tried again") == 3
        assert "999 changes of 2026-11-24T12:00:00Z the stream has 3 of the batch's 999" in said
        assert api.total(post["id"]) == 3
        assert behind.operate("failed").startswith("999 changes")
        assert "corrected its count" not in behind.operate("rebuild")
        assert "nothing has failed" in behind.operate("failed")


def test_what_the_stream_has_forgotten_is_rebuilt(deaf_stack: Stack, api: Api) -> None:
    """Counts, image work that never began, and what is left of deleted posts."""
    alice = someone("alice")
    counted = api.ready_by_put(alice)
    gone = api.ready_by_put(alice)
    api.comment(counted["id"], "bob")
    api.comment(gone["id"], "bob")
    api.send("DELETE", f"/posts/{gone['id']}", alice)
    waiting = api.upload(alice).json()
    said = deaf_stack.operate("rebuild")
    assert f"{counted['id']}: corrected its count from 0 to 1" in said
    assert api.total(counted["id"]) == 1
    api.eventually(lambda: api.get(f"/posts/{waiting['id']}", alice).json()["status"], "ready")
    table = deaf_stack.outputs["Table"]
    left = deaf_stack.client("dynamodb").query(
        TableName=table,
        KeyConditionExpression="PK = :pk",
        ExpressionAttributeValues={":pk": {"S": f"POST#{gone['id']}"}},
    )
    assert [item["SK"]["S"] for item in left["Items"]] == ["POST"]  # the tombstone


def test_the_reconciliation_ends_deletions_of_accounts_and_the_names_begin_anew(
    stack: Stack, api: Api
) -> None:
    """It waits two minutes, until no Lambda accepts a write from before. A ban stays."""
    bob, carol = someone("bob"), someone("carol")
    post, mine = api.ready(someone("alice")), api.ready(bob)
    api.comment(post["id"], carol)
    comment = api.comment(post["id"], bob)
    assert api.send("PUT", "/me/blocks/mallory", bob).status_code == 204
    retry = partial(send_report, api, bob, post_subject(post), headers=new_key())
    assert retry().status_code == 201
    decide(api, "ban", user_subject(carol), reason="hate")
    for user in (bob, carol):
        delete_account(api, user)
    healing = partial(stack.client("lambda").invoke, FunctionName=stack.outputs["HealingFunction"])

    def code_after_a_round(send: Callable[[], httpx.Response]) -> str:
        assert "FunctionError" not in healing()
        return str(send().json().get("code"))

    wait_until(lambda: code_after_a_round(retry) == "gone", every=5, seconds=300)
    assert_problem(add_comment(api, post, carol), 403, "banned")
    anew = add_comment(api, post, bob)
    assert anew.status_code == 201
    assert anew.json()["id"] != comment["id"]
    api.eventually(lambda: walk(api, "/me/comments", bob), [anew.json()])
    for path in ("/me/posts", "/me/reports", "/me/blocks"):
        assert walk(api, path, bob) == []
    assert api.get(f"/posts/{mine['id']}", bob).status_code == 404
    api.assert_no_image(mine["image"]["url"])
    api.eventually(lambda: api.total(post["id"]), 1)


def test_blocked_words_are_an_object_that_is_read_again_each_minute(stack: Stack, api: Api) -> None:
    post, bob = api.ready(someone("alice")), someone("bob")
    assert add_comment(api, post, bob, "a grape").status_code == 201
    stack.store_words(b"# ours\ngrape\n")

    def refused_comment() -> httpx.Response | None:
        answer = add_comment(api, post, bob, "a grape")
        return None if answer.status_code == 201 else answer

    answer = wait_until(refused_comment, every=2, seconds=120)
    assert fields(assert_problem(answer, 422, "text_blocked")) == {"content"}
    assert add_comment(api, post, bob, "an apple").status_code == 201
    stack.store_words(b"# none any more\n")
    wait_until(lambda: refused_comment() is None, every=2, seconds=120)


def add_comment(
    api: Api, post: dict[str, Any], user: str, content: str = "a comment"
) -> httpx.Response:
    path = f"/posts/{post['id']}/comments"
    return api.send("POST", path, user, json={"content": content})


# Events


@dataclass
class EventQueue:
    """The queue of the example rule in docs/aws.md, and the events that it got."""

    stack: Stack
    url: str
    events: list[dict[str, Any]] = field(default_factory=list)

    def event(self, type_: str, resource_id: str) -> dict[str, Any] | None:
        """The newest event of this type about this resource, once it is there."""
        sqs = self.stack.client("sqs")
        received = sqs.receive_message(QueueUrl=self.url, MaxNumberOfMessages=10)
        for message in received.get("Messages", []):
            self.events.append(json.loads(message["Body"]))
            sqs.delete_message(QueueUrl=self.url, ReceiptHandle=message["ReceiptHandle"])
        about = [
            event
            for event in self.events
            if (event["detail-type"], event["detail"]["data"]["id"]) == (type_, resource_id)
        ]
        return about[-1] if about else None


@pytest.fixture(scope="module")
def queue(stack: Stack) -> EventQueue:
    outputs = deploy_rule(stack, "comment-queue", QUEUE_RULE, Bus=stack.outputs["EventBus"])
    return EventQueue(stack, outputs["Queue"])


def test_events_reach_the_queue_of_the_example_rule(queue: EventQueue, api: Api) -> None:
    post, bob = api.ready(someone("alice")), someone("bob")
    comment = api.comment(post["id"], bob)
    created = wait_until(lambda: queue.event("comment.created", comment["id"]))
    detail = created["detail"]
    assert created["source"] == "image-poster"
    assert (detail["type"], detail["data"]) == ("comment.created", comment)
    path = f"/posts/{post['id']}/comments/{comment['id']}"
    assert api.send("DELETE", path, bob).status_code == 204
    deleted = wait_until(lambda: queue.event("comment.deleted", comment["id"]))
    assert deleted["detail"]["data"] == {"id": comment["id"], "post_id": post["id"]}
    assert deleted["detail"]["id"] != detail["id"]
    types = {event["detail-type"] for event in queue.events}
    assert types == {"comment.created", "comment.deleted"}  # the rule's, though posts have events


def test_given_up_events_are_listed_and_put_again_with_the_same_id(
    stack: Stack, queue: EventQueue, api: Api
) -> None:
    post = api.ready(someone("alice"))
    comment = api.comment(post["id"], "bob")
    first = wait_until(lambda: queue.event("comment.created", comment["id"]))
    arn, shard, record = records_of(stack, comment["id"])
    give_up(stack, arn, shard, record, record, 1, queue="EventDeadLetters")
    assert "its events could not be put on the event bus" in stack.operate("failed")
    queue.events.clear()
    assert "will be tried again" in stack.operate("failed", "--replay")
    again = wait_until(lambda: queue.event("comment.created", comment["id"]))
    assert again["detail"]["id"] == first["detail"]["id"]
    assert "nothing has failed" in stack.operate("failed")


def test_a_stack_that_is_not_there_is_told(stack: Stack) -> None:
    shell = Shell(stack.url, stack.folder)
    shell.variables |= stack.variables
    said = shell.run("failed", "--stack", "nonsense", code=2).stderr
    assert "the stack nonsense cannot be read" in said


def test_a_takeout_follows_signed_urls_and_continues_by_ranges(
    stack: Stack, tmp_path: Path
) -> None:
    """S3 refuses a request that has the caller's identity beside a signature."""
    folder = tmp_path / "takeout"
    with ImagePosterClient(stack.url, someone("alice")) as alice:
        post = new_post(alice)
        alice.block("mallory")
        assert alice.takeout(folder).received == len(IMAGE)
        (original,) = (folder / "originals").iterdir()
        assert (original.name, original.read_bytes()) == (f"{post.id}.jpeg", IMAGE)
        original.with_suffix(".part").write_bytes(IMAGE[:5000])
        original.unlink()
        result = alice.takeout(folder)
    assert (result.blocks, result.received) == (1, len(IMAGE) - 5000)
    assert original.read_bytes() == IMAGE
