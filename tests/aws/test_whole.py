"""A stack as a whole, on the emulator: what is left out there, sign-in on the first day, the closed
gateway, and its end."""

import json
from ast import literal_eval
from collections.abc import Iterator
from typing import Any

import httpx
import pytest
from cfnlint.decode import decode_str

from aws_local.emulator import REGION, Emulator
from aws_local.stack import TEMPLATE, Stack, adapted, deploy
from contract.ports.suite import a_post
from destroy import CannotDestroyError, _of, _resources, destroy
from image_poster.adapters.clock import SystemClock
from image_poster.adapters.dynamodb.posts import DynamoPostStore
from image_poster.domain.posts import published_post
from image_poster.editions import StartError
from image_poster.editions.aws import container, operate
from stacks import WrongStageError, check_stage
from support.renderer import RENDERED
from support.tables import EmulatedTable

pytestmark = pytest.mark.anyio
NAME = "whole"
ACCOUNT = "000000000000"  # the emulator's


def test_the_emulator_is_given_all_but_the_gradual_deployment_and_ratios() -> None:
    """And the Lambdas' code is its own, and TLS is what it does not speak."""
    ours, theirs = (load_text(text) for text in (TEMPLATE.read_text(), adapted_template()))
    for name, resource in ours["Resources"].items():
        properties, adapted_properties = (
            dict(each.get("Properties", {})) for each in (resource, theirs["Resources"][name])
        )
        if resource["Type"] == "AWS::Serverless::Function":
            properties.pop("DeploymentPreference", None)
            assert properties.pop("CodeUri") != adapted_properties.pop("CodeUri")
        elif "Metrics" in properties:
            del properties["Metrics"]
            for key in ("Namespace", "MetricName", "Statistic", "Period"):
                del adapted_properties[key]
        elif resource["Type"] == "AWS::S3::BucketPolicy":
            properties = literal_eval(str(properties).replace("'false'", "'true'"))
        assert properties == adapted_properties, name
    assert ours.keys() == theirs.keys()


def adapted_template() -> str:
    return adapted(TEMPLATE.read_text())


def load_text(text: str) -> Any:
    document, problems = decode_str(text)
    assert not problems
    return document


@pytest.fixture(scope="module")
def stack(emulator: Emulator) -> Stack:
    """Of stage dev, with users of its own."""
    return deploy(emulator, NAME)


@pytest.fixture
def operated(
    emulator: Emulator, stack: Stack, monkeypatch: pytest.MonkeyPatch
) -> Iterator[operate.Stack]:
    clients: dict[str, Any] = {}

    def client(service: str) -> Any:
        return clients.setdefault(service, emulator.client(service))

    monkeypatch.setattr(container, "client", client)
    yield operate.Stack(stack.outputs)
    for service_client in clients.values():
        service_client.close()


class Gateway:
    """API Gateway's own address, and what CloudFront would say to it."""

    def __init__(self, emulator: Emulator, stack: Stack) -> None:
        secret = emulator.client("secretsmanager").get_secret_value(
            SecretId=stack.outputs["OriginSecret"]
        )
        self._secret = secret["SecretString"]
        host = f"{stack.outputs['ApiId']}.execute-api.localhost"
        self._http = httpx.Client(base_url=emulator.url, headers={"host": host}, timeout=120)

    def ask(
        self, method: str, path: str, *, token: str = "", secret: str | None = None, **body: Any
    ) -> httpx.Response:
        headers = {"x-origin-secret": self._secret if secret is None else secret}
        if token:
            headers["authorization"] = f"Bearer {token}"
        return self._http.request(method, path, headers=headers, **body)

    def close(self) -> None:
        self._http.close()


@pytest.fixture
def gateway(emulator: Emulator, stack: Stack) -> Iterator[Gateway]:
    gateway = Gateway(emulator, stack)
    yield gateway
    gateway.close()


@pytest.mark.parametrize("secret", ["", "guessed"])
def test_the_gateway_is_closed_to_whoever_does_not_come_through_cloudfront(
    gateway: Gateway, secret: str
) -> None:
    answer = gateway.ask("GET", "/limits", secret=secret)
    assert (answer.status_code, answer.json()["code"]) == (403, "direct_access")
    assert answer.json()["request_id"] == answer.headers["x-request-id"]
    assert answer.headers["cache-control"] == "no-store"
    assert gateway.ask("GET", "/limits").status_code == 200


def test_the_origin_secret_is_exchanged_without_an_outage(
    emulator: Emulator, stack: Stack, gateway: Gateway, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Both values hold, in an environment that began before, too."""
    manager: Any = emulator.client("secretsmanager")
    arn = stack.outputs["OriginSecret"]
    former = manager.get_secret_value(SecretId=arn)["SecretString"]
    monkeypatch.setattr(container, "client", emulator.client)
    assert container.secret_values(arn) == (former,)
    manager.put_secret_value(SecretId=arn, SecretString="exchanged")
    assert container.secret_values(arn) == ("exchanged", former)
    assert gateway.ask("GET", "/limits", secret=former).status_code == 200
    manager.put_secret_value(SecretId=arn, SecretString=former)  # for the other tests


IMAGE = {"image": {"size": 9, "content_type": "image/jpeg"}}


def test_a_token_of_a_test_user_works_on_the_first_day(
    gateway: Gateway, operated: operate.Stack
) -> None:
    """Made, or found again; an admin by the group. People are called by the names they chose."""
    tokens = [operate.token(operated, "alice", admin=False) for _ in range(2)]
    post, again = (
        gateway.ask("POST", "/posts", token=token, json=IMAGE).json() for token in tokens
    )
    assert post["creator"] == again["creator"]
    assert post["creator_name"] == "alice"
    bob = operate.token(operated, "bob", admin=False)
    path = f"/posts/{post['id']}"
    assert gateway.ask("DELETE", path, token=bob).status_code == 404  # not ready: not there
    root = operate.token(operated, "root", admin=True)
    assert gateway.ask("DELETE", path, token=root).status_code == 204


def test_the_pool_of_a_stack_requires_a_verified_address(emulator: Emulator, stack: Stack) -> None:
    users: Any = emulator.client("cognito-idp")
    pool = users.describe_user_pool(UserPoolId=stack.outputs["UserPool"])["UserPool"]
    (email,) = [each for each in pool["SchemaAttributes"] if each["Name"] == "email"]
    assert email["Required"] is True
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}
    assert pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"] is False


async def test_a_stack_takes_a_table_that_was_restored(emulator: Emulator) -> None:
    """As docs/aws.md says, "Restore the table to a point in time": by name, and by its stream."""
    table = EmulatedTable(emulator)
    posts, post = DynamoPostStore(table, SystemClock()), a_post()
    await posts.add(post)
    await posts.update(post.id, lambda current: published_post(current, RENDERED))
    description = emulator.client("dynamodb").describe_table(TableName=table.name)["Table"]
    restored = {"TableName": table.name, "TableStreamArn": description["LatestStreamArn"]}
    stack = deploy(emulator, "again", **restored)
    assert stack.outputs["Table"] == table.name
    gateway = Gateway(emulator, stack)
    assert gateway.ask("GET", f"/posts/{post.id}").json()["id"] == post.id
    gateway.close()
    mappings = emulator.client("lambda").list_event_source_mappings()["EventSourceMappings"]
    assert description["LatestStreamArn"] in [mapping["EventSourceArn"] for mapping in mappings]


@pytest.mark.parametrize(
    ("forwarded", "address"),
    [
        ("203.0.113.7, 130.176.0.1", "203.0.113.7"),
        ("a claim, another, 203.0.113.7, 130.176.0.1", "203.0.113.7"),
        ("203.0.113.7", "203.0.113.7"),
        ("", ""),
    ],
)
def test_the_log_has_the_address_that_cloudfront_saw_whatever_a_viewer_claims(
    forwarded: str, address: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", REGION)  # the module makes a client
    from image_poster.editions.aws.api import _viewer

    assert _viewer({"x-forwarded-for": forwarded} if forwarded else {}) == address


def test_tokens_of_test_users_are_not_for_prod_nor_for_other_issuers(
    operated: operate.Stack,
) -> None:
    with pytest.raises(StartError, match="not prod"):
        operate.token(operate.Stack({**operated.outputs, "Stage": "prod"}), "alice", admin=False)
    foreign = {key: value for key, value in operated.outputs.items() if key != "UserPool"}
    with pytest.raises(StartError, match="its issuer"):
        operate.token(operate.Stack(foreign), "alice", admin=False)


class EmulatedSession:
    def __init__(self, emulator: Emulator) -> None:
        self._emulator = emulator

    def create_client(self, service: str) -> Any:
        return self._emulator.client(service)


def test_a_dev_stack_can_be_deleted_with_what_is_in_it_and_made_again(
    emulator: Emulator, stack: Stack
) -> None:
    storage: Any = emulator.client("s3")
    bucket = stack.outputs["UploadsBucket"]
    for _ in range(2):
        storage.put_object(Bucket=bucket, Key="originals/1", Body=b"image")
    storage.delete_object(Bucket=bucket, Key="originals/1")
    storage.put_object(Bucket=bucket, Key="originals/2", Body=b"image")
    buckets = {stack.outputs[f"{kind}Bucket"] for kind in ("Uploads", "Images", "Gallery")}
    gallery = storage.list_objects_v2(Bucket=stack.outputs["GalleryBucket"])
    assert gallery["KeyCount"]  # as `make deploy` put it there
    session: Any = EmulatedSession(emulator)
    destroy(session, NAME, pause_seconds=0.05)
    assert not buckets & {bucket["Name"] for bucket in storage.list_buckets()["Buckets"]}
    with pytest.raises(Exception, match="does not exist"):
        emulator.client("cloudformation").describe_stacks(StackName=NAME)
    # Names are free again.
    again = deploy(emulator, NAME)
    assert again.outputs["UploadsBucket"] == bucket


def test_a_stack_of_more_than_a_hundred_resources_is_emptied_of_all_buckets(
    emulator: Emulator,
) -> None:
    """With what SAM adds, ours has about as many."""
    formation: Any = emulator.client("cloudformation")
    topics = {f"Topic{number:03}": {"Type": "AWS::SNS::Topic"} for number in range(101)}
    resources = {**topics, "Last": {"Type": "AWS::S3::Bucket"}}
    formation.create_stack(
        StackName="large",
        TemplateBody=json.dumps({"Resources": resources}),
    )
    assert len(_of(_resources(formation, "large"), "AWS::S3::Bucket")) == 1
    formation.delete_stack(StackName="large")


STAGE = {"Stage": {"Type": "String", "Default": "dev"}}
IN_PROD = [{"ParameterKey": "Stage", "ParameterValue": "prod"}]


def test_what_prod_has_stored_is_not_deleted(emulator: Emulator) -> None:
    """By the stack's parameter: a stack that never came up has no outputs."""
    formation: Any = emulator.client("cloudformation")
    body = {"Parameters": STAGE, "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    formation.create_stack(StackName="kept", TemplateBody=json.dumps(body), Parameters=IN_PROD)
    session: Any = EmulatedSession(emulator)
    with pytest.raises(CannotDestroyError, match="prod"):
        destroy(session, "kept")
    assert formation.describe_stacks(StackName="kept")["Stacks"]


@pytest.mark.parametrize(
    ("stage", "reason"), [("prod", None), ("dev", "STAGE=prod"), ("", "STAGE=prod")]
)
def test_a_stack_of_another_stage_is_not_deployed(
    emulator: Emulator, stage: str, reason: str | None
) -> None:
    """`make deploy STACK=image-poster-prod` without STAGE would make it a dev stack."""
    formation: Any = emulator.client("cloudformation")
    body = {"Parameters": STAGE, "Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}
    name = f"staged-{stage or 'none'}"
    formation.create_stack(StackName=name, TemplateBody=json.dumps(body), Parameters=IN_PROD)
    if reason is None:
        check_stage(formation, name, stage)
    else:
        with pytest.raises(WrongStageError, match=reason):
            check_stage(formation, name, stage)


def test_a_new_name_may_be_deployed_and_a_foreign_stack_may_not(emulator: Emulator) -> None:
    formation: Any = emulator.client("cloudformation")
    check_stage(formation, "not-there", "dev")
    formation.create_stack(
        StackName="foreign", TemplateBody='{"Resources": {"Queue": {"Type": "AWS::SQS::Queue"}}}'
    )
    with pytest.raises(WrongStageError, match="no stack of image-poster"):
        check_stage(formation, "foreign", "dev")


def test_a_failed_first_deployment_of_prod_is_cleared_and_repeated(emulator: Emulator) -> None:
    """The protected table and users stop the rollback, and what is retained would stay when the
    stack is deleted. A bucket of a former stack, for which the creation failed, is not touched."""
    formation, storage = emulator.client("cloudformation"), emulator.client("s3")
    former = f"first-images-{ACCOUNT}-{REGION}"
    place = {"LocationConstraint": REGION}
    storage.create_bucket(Bucket=former, CreateBucketConfiguration=place)
    storage.put_object(Bucket=former, Key="images/1", Body=b"image")
    with pytest.raises(RuntimeError, match="ROLLBACK"):
        deploy(emulator, "first", Stage="prod")
    with pytest.raises(WrongStageError, match="make destroy STACK=first"):
        check_stage(formation, "first", "prod")
    session: Any = EmulatedSession(emulator)
    destroy(session, "first", pause_seconds=0.05)
    assert storage.list_objects_v2(Bucket=former)["KeyCount"] == 1
    names = {bucket["Name"] for bucket in storage.list_buckets()["Buckets"]}
    assert {name for name in names if name.startswith("first-")} == {former}
    tables = emulator.client("dynamodb").list_tables()["TableNames"]
    assert not [table for table in tables if table.startswith("first-")]
    storage.delete_object(Bucket=former, Key="images/1")
    storage.delete_bucket(Bucket=former)
    again = deploy(emulator, "first", Stage="prod")
    assert again.outputs["Stage"] == "prod"
