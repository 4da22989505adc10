"""The template: clean, least privilege, private, and kept in production."""

import json
import os
import re
import shutil
import string
import subprocess
from collections.abc import Iterator
from fnmatch import fnmatch
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
from cfnlint.api import lint_file
from cfnlint.decode.cfn_yaml import load
from samtranslator.translator.transform import transform

from aws_local.rules import QUEUE_RULE, example_rules
from aws_local.stack import TEMPLATE
from image_poster.adapters.eventbridge import SOURCE
from image_poster.adapters.s3.schema import ORIGINALS
from image_poster.adapters.webhooks import HOOK_SECONDS, decoded_secret
from image_poster.domain.events import EventType
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.editions.aws import container
from image_poster.editions.aws.events import COUNT_WAIT_SECONDS
from image_poster.editions.aws.settings import AwsSettings
from image_poster.editions.logs import emf
from image_poster.http.gallery import content_security_policy
from image_poster.http.gallery import load as load_gallery
from image_poster.services.review import RETRY_DELAYS_MS
from support.filters import EVENT_MAPPING, MAX_FILTERS, STREAM_MAPPING, patterns

ROOT = TEMPLATE.parents[1]
DOCUMENT = load(str(TEMPLATE))
RESOURCES = DOCUMENT["Resources"]
# What AWS offers no resource for (Service Authorization Reference, AWS X-Ray).
WITHOUT_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
BUCKETS = ("UploadsBucket", "ImagesBucket", "GalleryBucket")
MAX_WAIT_SECONDS = 20  # of `?wait=`
# The gallery comes from the package, as often as it is put there.
KEEPING = ("UploadsBucket", "ImagesBucket")
FUNCTIONS = (
    *("ApiFunction", "ImageFunction", "StreamFunction", "HealingFunction"),
    "EventFunction",
)
MAPPINGS = ("StreamMapping", "EventMapping")
# At most two consumers may read a shard of a stream (DynamoDB quotas, "DynamoDB Streams").
MAX_CONSUMERS = 2


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def allowed() -> Iterator[tuple[str, list[str], list[Any]]]:
    """Role, actions and resources of each statement that allows something."""
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for choice in policy["PolicyDocument"]["Statement"]:
                statement = choice.get("Fn::If", ["", choice])[1]
                assert statement["Effect"] == "Allow"
                actions, resources = statement["Action"], statement["Resource"]
                yield (
                    name,
                    actions if isinstance(actions, list) else [actions],
                    resources if isinstance(resources, list) else [resources],
                )


def test_cfn_lint_finds_nothing() -> None:
    assert lint_file(TEMPLATE) == []


def test_no_role_may_more_than_it_names() -> None:
    for role, actions, resources in allowed():
        assert not [action for action in actions if "*" in action], role
        for resource in resources:
            if resource == "*":
                assert set(actions) <= WITHOUT_RESOURCES, (role, actions)


def test_each_function_has_a_role_and_a_log_of_its_own() -> None:
    roles = [RESOURCES[name]["Properties"]["Role"]["Fn::GetAtt"][0] for name in FUNCTIONS]
    logs = [RESOURCES[name]["Properties"]["LoggingConfig"]["LogGroup"]["Ref"] for name in FUNCTIONS]
    assert len(set(roles)) == len(set(logs)) == len(FUNCTIONS)
    assert set(of_type("AWS::IAM::Role")) == set(roles)


def test_the_api_may_neither_delete_items_nor_read_whole_tables() -> None:
    actions = {action for role, names, _ in allowed() if role == "ApiRole" for action in names}
    assert not actions & {"dynamodb:DeleteItem", "dynamodb:Scan", "dynamodb:BatchWriteItem"}
    images = {action for role, names, _ in allowed() if role == "ImageRole" for action in names}
    assert "dynamodb:PutItem" not in images  # a late event cannot make a post anew


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_are_private_encrypted_and_speak_tls_only(bucket: str) -> None:
    properties = RESOURCES[bucket]["Properties"]
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    statements = RESOURCES[f"{bucket}Policy"]["Properties"]["PolicyDocument"]["Statement"]
    (tls,) = [statement for statement in statements if statement["Sid"] == "TlsOnly"]
    assert (tls["Effect"], tls["Principal"], tls["Action"]) == ("Deny", "*", "s3:*")
    assert tls["Condition"] == {"Bool": {"aws:SecureTransport": "false"}}
    assert len(tls["Resource"]) == 2
    for statement in statements:
        if statement["Effect"] == "Allow":
            assert statement["Principal"] == {"Service": "cloudfront.amazonaws.com"}
            assert "AWS:SourceArn" in statement["Condition"]["StringEquals"]


def test_images_come_from_cloudfront_only_and_originals_not_at_all() -> None:
    distribution = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    origins = {origin["Id"]: origin for origin in distribution["Origins"]}
    assert origins["images"]["OriginAccessControlId"] == {"Ref": "ImagesAccess"}
    assert "UploadsBucket" not in str(origins)
    for behavior in (distribution["DefaultCacheBehavior"], *distribution["CacheBehaviors"]):
        assert behavior["ViewerProtocolPolicy"] == "https-only"


@pytest.mark.parametrize(
    "name",
    ["Table", "UploadsBucket", "ImagesBucket", "UserPool", *of_type("AWS::Logs::LogGroup")],
)
def test_production_keeps_what_is_stored_and_its_logs(name: str) -> None:
    """Except if the first deployment fails: then their names are free again."""
    policy = RESOURCES[name]["DeletionPolicy"]
    assert policy == {"Fn::If": ["IsProd", "RetainExceptOnCreate", "Delete"]}
    # RetainExceptOnCreate is no value of it (template reference).
    assert RESOURCES[name]["UpdateReplacePolicy"] == {"Fn::If": ["IsProd", "Retain", "Delete"]}


def test_nothing_is_retained_after_a_failed_creation() -> None:
    for name, resource in RESOURCES.items():
        assert "'Retain'" not in str(resource.get("DeletionPolicy", "")), name


def test_production_can_be_restored_and_not_deleted() -> None:
    table, users = RESOURCES["Table"]["Properties"], RESOURCES["UserPool"]["Properties"]
    in_prod = {"Fn::If": ["IsProd", True, False]}
    assert table["DeletionProtectionEnabled"] == in_prod
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == in_prod
    assert users["DeletionProtection"] == {"Fn::If": ["IsProd", "ACTIVE", "INACTIVE"]}


def test_whatever_is_given_up_waits_in_a_queue_that_somebody_watches() -> None:
    image = RESOURCES["ImageFunction"]["Properties"]["EventInvokeConfig"]
    assert image["MaximumRetryAttempts"] == 2
    assert image["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
    for name in MAPPINGS:
        mapping = RESOURCES[name]["Properties"]
        assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
        assert mapping["BisectBatchOnFunctionError"] is True
        assert mapping["MaximumRecordAgeInSeconds"] > 0
        assert mapping["DestinationConfig"]["OnFailure"]["Destination"]
    # A saturated partition uses any number up.
    assert RESOURCES[STREAM_MAPPING]["Properties"]["MaximumRetryAttempts"] == -1
    assert RESOURCES[EVENT_MAPPING]["Properties"]["MaximumRetryAttempts"] > 0
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    watched = [str(alarm["Properties"].get("Dimensions")) for alarm in alarms]
    for queue in of_type("AWS::SQS::Queue"):
        assert any(queue in value for value in watched), queue


@pytest.mark.parametrize("name", [STREAM_MAPPING, EVENT_MAPPING])
def test_a_mapping_has_no_more_filters_than_lambda_takes(name: str) -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html: five. And what
    is not under `dynamodb` filters nothing."""
    assert 0 < len(patterns(name)) <= MAX_FILTERS
    assert {key for pattern in patterns(name) for key in pattern} == {"dynamodb"}


def test_the_stream_has_no_more_consumers_than_dynamodb_takes() -> None:
    mappings = of_type("AWS::Lambda::EventSourceMapping")
    assert set(mappings) == set(MAPPINGS)
    assert len(mappings) <= MAX_CONSUMERS


def test_events_are_off_and_everything_of_theirs_is_there_with_them_only() -> None:
    parameter = DOCUMENT["Parameters"]["Events"]
    assert (parameter["Default"], parameter["AllowedValues"]) == ("off", ["off", "on"])
    of_events = {name for name in RESOURCES if name.startswith("Event")}
    conditional = {
        name for name, resource in RESOURCES.items() if resource.get("Condition") == "HasEvents"
    }
    assert of_events == conditional
    outputs = {"EventBus", "EventDeadLetters", "EventFunction"}
    assert {DOCUMENT["Outputs"][name]["Condition"] for name in outputs} == {"HasEvents"}


def test_the_counting_function_has_nothing_to_do_with_events() -> None:
    """A bus that fails delays no count."""
    actions = {action for role, names, _ in allowed() if role == "StreamRole" for action in names}
    assert "events:PutEvents" not in actions
    mappings = [RESOURCES[name]["Properties"]["FunctionName"]["Ref"] for name in MAPPINGS]
    assert mappings == ["StreamFunction.Alias", "EventFunction.Alias"]


def test_the_event_function_may_put_events_on_the_stacks_bus_only() -> None:
    statements = [
        (actions, resources) for role, actions, resources in allowed() if role == "EventRole"
    ]
    assert (["events:PutEvents"], [{"Fn::GetAtt": ["EventBus", "Arn"]}]) in statements
    on_table = {action for actions, _ in statements for action in actions if "Item" in action}
    assert on_table == {"dynamodb:GetItem"}


@pytest.mark.parametrize("target", ["queue", "function", "API destination"])
def test_the_example_rules_of_the_docs_are_whole_templates(target: str, tmp_path: Path) -> None:
    assert QUEUE_RULE in example_rules()
    template = tmp_path / "rule.yaml"
    template.write_text(example_rules()[target])
    assert lint_file(template) == []
    (rule,) = [
        resource["Properties"]
        for resource in load(str(template))["Resources"].values()
        if resource["Type"] == "AWS::Events::Rule"
    ]
    assert rule["EventBusName"] == {"Ref": "Bus"}
    assert rule["EventPattern"]["source"] == [SOURCE]
    assert set(rule["EventPattern"].get("detail-type", ())) <= set(EventType)


def test_an_alarm_watches_failed_entries_dead_letters_and_the_delay_of_events() -> None:
    watched = {
        (alarm["Properties"]["MetricName"], str(alarm["Properties"]["Dimensions"]))
        for name, alarm in of_type("AWS::CloudWatch::Alarm").items()
        if name.startswith("Event")
    }
    metrics = {metric for metric, _ in watched}
    assert metrics == {
        *("Errors", "Failures", "IteratorAge", "DestinationDeliveryFailures"),
        "ApproximateNumberOfMessagesVisible",
    }
    (failures,) = [dimensions for metric, dimensions in watched if metric == "Failures"]
    assert "events" in failures


def test_the_stream_lambda_has_time_to_wait_while_dynamodb_throttles() -> None:
    """Beside the deletion of an account, and a minute of its own work."""
    timeout = RESOURCES["StreamFunction"]["Properties"]["Timeout"]
    assert timeout >= COUNT_WAIT_SECONDS + 30 + 60


def test_batches_of_one_shard_are_applied_ten_at_a_time() -> None:
    """The fold does not rely on their order."""
    assert RESOURCES["StreamMapping"]["Properties"]["ParallelizationFactor"] == 10


def test_image_work_may_have_a_share_of_the_account_and_by_default_has_none() -> None:
    """A new account has 10 environments, of which none can be reserved (Lambda quotas)."""
    reserved = RESOURCES["ImageFunction"]["Properties"]["ReservedConcurrentExecutions"]
    share, none = {"Ref": "ImageConcurrency"}, {"Ref": "AWS::NoValue"}
    assert reserved == {"Fn::If": ["HasImageConcurrency", share, none]}
    assert DOCUMENT["Parameters"]["ImageConcurrency"]["Default"] == 0


def metrics_of(alarm: dict[str, Any]) -> list[dict[str, Any]]:
    """The metrics that an alarm looks at, each with namespace, name and dimensions."""
    properties = alarm["Properties"]
    if "Metrics" not in properties:
        return [properties]
    return [each["MetricStat"]["Metric"] for each in properties["Metrics"] if "MetricStat" in each]


def test_there_is_an_alarm_for_errors_throttles_age_and_slowness() -> None:
    metrics = {
        (metric["Namespace"], metric["MetricName"])
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        for metric in metrics_of(alarm)
    }
    assert metrics >= {
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "IteratorAge"),
        ("image-poster", "Failures"),
        ("AWS/ApiGateway", "5xx"),
        ("image-poster", "Latency"),
        ("AWS/Lambda", "DestinationDeliveryFailures"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/DynamoDB", "ReadThrottleEvents"),
        ("AWS/DynamoDB", "WriteThrottleEvents"),
    }


def test_every_alarm_has_an_entry_in_the_run_book() -> None:
    book = (ROOT / "docs" / "aws.md").read_text()
    for name in of_type("AWS::CloudWatch::Alarm"):
        assert f"`{name}`" in book, name


def test_every_parameter_is_documented() -> None:
    book = (ROOT / "docs" / "aws.md").read_text()
    for name in DOCUMENT["Parameters"]:
        assert f"`{name}`" in book, name


def test_functions_are_told_settings_that_there_are() -> None:
    known = {f"IMAGE_POSTER_{name.upper()}" for name in AwsSettings.__dataclass_fields__}
    told = set(DOCUMENT["Globals"]["Function"]["Environment"]["Variables"])
    for name in FUNCTIONS:
        variables = RESOURCES[name]["Properties"].get("Environment", {}).get("Variables", {})
        told |= set(variables)
    assert told <= known


def test_writes_need_a_token_that_the_gateway_has_checked() -> None:
    """Reads go to the Lambda whoever asks; it looks at tokens itself."""
    for name, route in of_type("AWS::ApiGatewayV2::Route").items():
        key = route["Properties"]["RouteKey"]
        open_to_all = key == "$default"
        assert open_to_all != (route["Properties"].get("AuthorizationType") == "JWT"), name


def test_the_alarms_of_our_own_metrics_look_where_the_lambdas_write() -> None:
    directives = [*emf()["CloudWatchMetrics"], *emf("version")["CloudWatchMetrics"]]
    dimensions = [names for directive in directives for names in directive["Dimensions"]]
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        for metric in metrics_of(alarm):
            if metric["Namespace"] == directives[0]["Namespace"]:
                names = [dimension["Name"] for dimension in metric["Dimensions"]]
                assert names in dimensions


def test_the_alarms_of_a_deployment_are_ratios_of_the_new_version_alone() -> None:
    """CodeDeploy stops while an alarm of the deployment is on, "or before a deployment starts" (SAM
    specification). So an incident of the former version must turn none on.

    A new name makes a new alarm, whose state is INSUFFICIENT_DATA. An updated one would keep its
    state (CloudWatch API reference, PutMetricAlarm).
    """
    gradual = RESOURCES["ApiFunction"]["Properties"]["DeploymentPreference"]
    version = {"Fn::GetAtt": ["ApiFunction", "Version.Version"]}
    for reference in gradual["Alarms"]:
        alarm = RESOURCES[reference["Ref"]]
        assert alarm["Properties"]["AlarmName"]["Fn::Sub"][1] == {"Version": version}
        (ratio,) = [each for each in alarm["Properties"]["Metrics"] if "Expression" in each]
        assert "/" in ratio["Expression"]
        for metric in metrics_of(alarm):
            of_version = [
                each["Value"] for each in metric["Dimensions"] if "ersion" in each["Name"]
            ]
            assert of_version == [version]


class NoPolicies:
    """SAM's policy templates, of which the template uses none."""

    def load(self) -> dict[str, Any]:
        return {}


def translated(**parameters: str) -> dict[str, Any]:
    """The resources that SAM makes of the template."""
    template = json.loads(json.dumps(DOCUMENT))
    for name in FUNCTIONS:
        template["Resources"][name]["Properties"]["CodeUri"] = "s3://bucket/code.zip"
    return dict(transform(template, parameters, NoPolicies())["Resources"])


def test_a_hotfix_knows_no_alarms(monkeypatch: pytest.MonkeyPatch) -> None:
    """`make deploy HOTFIX=1` sets Deployment=AllAtOnce. Then SAM makes no deployment group, and the
    alias moves with the stack."""
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    gradual, hotfix = translated(), translated(Deployment="AllAtOnce")
    group = gradual["ApiFunctionDeploymentGroup"]["Properties"]
    assert group["AlarmConfiguration"]["Enabled"] is True
    assert len(group["AlarmConfiguration"]["Alarms"]) == 2
    assert "UpdatePolicy" in gradual["ApiFunctionAliaslive"]
    assert "UpdatePolicy" not in hotfix["ApiFunctionAliaslive"]
    assert not [each for each in hotfix.values() if each["Type"].startswith("AWS::CodeDeploy")]
    makefile = (ROOT / "Makefile").read_text()
    assert "Deployment=$(if $(HOTFIX),AllAtOnce,Canary10Percent5Minutes)" in makefile
    assert "HOTFIX=1" in (ROOT / "docs" / "aws.md").read_text()


def test_pieces_live_longer_than_their_uploads_and_originals_for_ever() -> None:
    rules = RESOURCES["UploadsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    (originals,) = [rule for rule in rules if rule.get("Prefix") == ORIGINALS]
    assert not {"ExpirationInDays", "ExpirationDate"} & originals.keys()
    assert originals["Transitions"][0]["StorageClass"] == "GLACIER_IR"  # read at once, if at all
    days = {rule.get("Prefix"): rule.get("ExpirationInDays") for rule in rules}
    for prefix in ("staging/", "incoming/", "complete/"):
        assert days[prefix] * 86_400_000 > UPLOAD_KEPT_MS


@pytest.mark.parametrize("bucket", KEEPING)
def test_production_keeps_what_was_deleted_for_a_month(bucket: str) -> None:
    """So that a table that was restored to a second has its images (docs/aws.md)."""
    properties = RESOURCES[bucket]["Properties"]
    status = properties["VersioningConfiguration"]["Status"]
    assert status == {"Fn::If": ["IsProd", "Enabled", "Suspended"]}
    rules = properties["LifecycleConfiguration"]["Rules"]
    assert [rule["NoncurrentVersionExpiration"] for rule in rules if rule["Id"] == "versions"] == [
        {"NoncurrentDays": 30}
    ]


def test_names_carry_account_region_and_stack_or_are_left_to_cloudformation() -> None:
    """So that it can be deployed anywhere, twice, and again. Buckets' names are unique in the
    world, those of CloudFront's resources in the account, wherever their stack is."""
    for name in KEEPING:
        template = str(RESOURCES[name]["Properties"]["BucketName"]["Fn::Sub"])
        for part in ("${AWS::StackName}", "${AWS::AccountId}", "${AWS::Region}"):
            assert part in template
    for kind, place in (
        ("OriginAccessControl", "OriginAccessControlConfig"),
        ("CachePolicy", "CachePolicyConfig"),
        ("ResponseHeadersPolicy", "ResponseHeadersPolicyConfig"),
    ):
        for resource in of_type(f"AWS::CloudFront::{kind}").values():
            template = str(resource["Properties"][place]["Name"]["Fn::Sub"])
            assert "${AWS::StackName}" in template
            assert "${AWS::Region}" in template
    for kind in ("AWS::DynamoDB::Table", "AWS::Serverless::Function", "AWS::SQS::Queue"):
        for resource in of_type(kind).values():
            assert not {"TableName", "FunctionName", "QueueName"} & resource["Properties"].keys()


def test_everything_calls_an_alias_and_that_of_the_api_is_moved_gradually() -> None:
    """It is rolled back by alarms of its own. Events of the other functions are tried again."""
    assert DOCUMENT["Globals"]["Function"]["AutoPublishAlias"] == "live"
    gradual = RESOURCES["ApiFunction"]["Properties"]["DeploymentPreference"]
    assert gradual["Type"].startswith("Canary")
    for name in FUNCTIONS[1:]:
        assert "DeploymentPreference" not in RESOURCES[name]["Properties"]
    callers = [
        RESOURCES["ApiIntegration"]["Properties"]["IntegrationUri"],
        *(RESOURCES[name]["Properties"]["FunctionName"] for name in MAPPINGS),
        RESOURCES["HealingClock"]["Properties"]["Targets"][0]["Arn"],
        *(
            permission["Properties"]["FunctionName"]
            for permission in of_type("AWS::Lambda::Permission").values()
        ),
        *(
            configuration["Function"]
            for configuration in RESOURCES["UploadsBucket"]["Properties"][
                "NotificationConfiguration"
            ]["LambdaConfigurations"]
        ),
    ]
    assert all(str(caller["Ref"]).endswith("Function.Alias") for caller in callers)


def test_no_secret_is_in_an_environment() -> None:
    for name in FUNCTIONS:
        properties = RESOURCES[name]["Properties"]
        for value in properties.get("Environment", {}).get("Variables", {}).values():
            assert "{{resolve" not in str(value), name


def test_sdk_time_outs_fit_into_what_the_gateway_waits() -> None:
    """Also for the last look after `?wait=20`. An attempt may be silent while it connects and while
    it waits for its answer. Retries of the mode `standard` wait at most 1 s, 2 s … before (SDK
    reference guide, "Retry behavior")."""
    told = RESOURCES["ApiFunction"]["Properties"]["Environment"]["Variables"]
    connect, read, tries = (
        int(told[f"IMAGE_POSTER_SDK_{name}"])
        for name in ("CONNECT_SECONDS", "READ_SECONDS", "TRIES")
    )
    longest = tries * (connect + read) + sum(2**n for n in range(tries - 1))
    timeout = RESOURCES["ApiFunction"]["Properties"]["Timeout"]
    assert MAX_WAIT_SECONDS + longest < timeout < 30
    assert RESOURCES["ApiIntegration"]["Properties"]["TimeoutInMillis"] == 30_000


def test_the_image_lambda_has_time_for_a_hook_that_hangs_beside_its_image_work() -> None:
    """A minute is for S3 and DynamoDB."""
    tries = len(RETRY_DELAYS_MS) + 1
    hook = tries * HOOK_SECONDS + sum(RETRY_DELAYS_MS) // 1000
    timeout = RESOURCES["ImageFunction"]["Properties"]["Timeout"]
    assert timeout >= AwsSettings().image_seconds + hook + 60


def test_the_hook_needs_a_url_and_its_secret_is_there_with_it_only() -> None:
    hook = DOCUMENT["Conditions"]["HasHook"]
    assert DOCUMENT["Rules"]["AHookHasAUrl"]["RuleCondition"] == hook
    assert DOCUMENT["Rules"]["AUrlHasAHook"]["Assertions"][0]["Assert"] == hook
    assert RESOURCES["WebhookSecret"]["Condition"] == "HasHook"
    generated = RESOURCES["WebhookSecret"]["Properties"]["GenerateSecretString"]
    assert generated["ExcludePunctuation"] is True
    assert generated["ExcludeCharacters"] == string.punctuation
    assert 24 <= len(decoded_secret("a1" * (generated["PasswordLength"] // 2))) <= 64


@pytest.mark.parametrize(
    ("url", "is_good"),
    [
        ("", True),
        ("https://review.example/hook", True),
        ("http://127.0.0.1:9000/", True),
        ("http://localhost", True),
        ("http://review.example/hook", False),
        ("http://127.0.0.1.example/", False),
    ],
)
def test_only_https_leads_to_a_hook_elsewhere(url: str, *, is_good: bool) -> None:
    pattern = DOCUMENT["Parameters"]["ReviewUrl"]["AllowedPattern"]
    assert bool(re.fullmatch(pattern, url)) is is_good


def test_a_page_may_read_the_errors_that_the_gateway_answers_itself() -> None:
    """401, 413, 429 and 5xx of its own have no CORS headers; ours are left as they are."""
    behavior = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]["DefaultCacheBehavior"]
    policy = RESOURCES[behavior["ResponseHeadersPolicyId"]["Ref"]]["Properties"]
    cors = policy["ResponseHeadersPolicyConfig"]["CorsConfig"]
    assert cors["OriginOverride"] is False
    assert cors["AccessControlAllowOrigins"] == {"Items": ["*"]}
    assert "WWW-Authenticate" in cors["AccessControlExposeHeaders"]["Items"]


# Their partitions are those of one user, whom their throttling affects alone.
OF_ONE_USER = {"creator_top", "creator_new", "unfinished", "author"}


def test_every_index_of_all_users_has_alarms_for_throttled_reads_and_writes() -> None:
    watched = {
        (dimension["Value"], alarm["Properties"]["MetricName"])
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
        for dimension in alarm["Properties"].get("Dimensions", ())
        if dimension["Name"] == "GlobalSecondaryIndexName"
    }
    indexes = {
        index["IndexName"] for index in RESOURCES["Table"]["Properties"]["GlobalSecondaryIndexes"]
    }
    assert indexes > OF_ONE_USER
    metrics = ("ReadThrottleEvents", "WriteThrottleEvents")
    assert watched == {(index, metric) for index in indexes - OF_ONE_USER for metric in metrics}


def test_no_metric_is_paid_for_that_no_alarm_uses() -> None:
    """Detailed metrics are one for each route."""
    assert "DetailedMetricsEnabled" not in str(RESOURCES["ApiStage"])


def test_tokens_may_be_for_any_of_a_list_of_audiences() -> None:
    """In the gateway's check as in ours (`listed`)."""
    jwt = RESOURCES["ApiAuthorizer"]["Properties"]["JwtConfiguration"]
    assert jwt["Audience"]["Fn::If"][2] == {"Fn::Split": [",", {"Ref": "JwtAudience"}]}


def test_the_access_log_has_id_address_user_and_the_integrations_error() -> None:
    logged = json.loads(RESOURCES["ApiStage"]["Properties"]["AccessLogSettings"]["Format"])
    assert (
        logged.items()
        >= {
            "gateway_id": "$context.requestId",
            "address": "$context.identity.sourceIp",
            "user": "$context.authorizer.claims.sub",
            "integration_error": "$context.integrationErrorMessage",
        }.items()
    )


WAF = TEMPLATE.with_name("waf.yaml")


def test_what_one_address_may_ask_is_limited_before_cloudfront() -> None:
    assert lint_file(WAF) == []
    waf = load(str(WAF))
    (rule,) = waf["Resources"]["WebAcl"]["Properties"]["Rules"]
    assert waf["Resources"]["WebAcl"]["Properties"]["Scope"] == "CLOUDFRONT"
    assert rule["Statement"]["RateBasedStatement"]["AggregateKeyType"] == "IP"
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    assert config["WebACLId"]["Fn::If"][1] == {"Ref": "WebAclArn"}
    alarm = waf["Resources"]["CdnFaults"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("AWS/CloudFront", "5xxErrorRate")


def test_each_exception_of_checkov_has_its_reason() -> None:
    lines = TEMPLATE.with_name("checkov.yaml").read_text().splitlines()
    skipped = [at for at, line in enumerate(lines) if line.startswith("  - CKV")]
    assert skipped
    for at in skipped:
        assert lines[at - 1].startswith("  # "), lines[at]


def tool(name: str) -> str:
    """The program of `make tools-aws`, or another one in the path."""
    ours = ROOT / ".venv-aws" / name / "bin" / name
    program = str(ours) if ours.exists() else shutil.which(name)
    if program is None:
        pytest.skip(f"{name} is not installed: make tools-aws")
    return program


def test_checkov_finds_nothing_else() -> None:
    checkov = tool("checkov")
    done = subprocess.run(
        [checkov, "--config-file", "infra/checkov.yaml"],
        cwd=ROOT,
        env={**os.environ, "BC_SKIP_MAPPING": "TRUE"},
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout


def test_sam_takes_the_templates() -> None:
    """With LanguageExtensions: SAM CLI 1.150 or newer."""
    sam = tool("sam")
    for template in (TEMPLATE, WAF):
        done = subprocess.run(
            [sam, "validate", "--lint", "--template", str(template)],
            env={**os.environ, "AWS_DEFAULT_REGION": "eu-central-1", "SAM_CLI_TELEMETRY": "0"},
            capture_output=True,
            text=True,
            check=False,
        )
        assert done.returncode == 0, done.stderr


def test_the_gallery_has_the_policy_that_it_has_on_one_machine() -> None:
    config = RESOURCES["GalleryHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    text, named = config["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"][
        "Fn::Sub"
    ]
    uploads = "https://${UploadsBucket.RegionalDomainName}"
    assert text == content_security_policy("${Issuer}", uploads)
    # Cognito gives tokens at the domain of its sign-in page, not where its keys are.
    _, own, others = named["Issuer"]["Fn::If"]
    assert own["Fn::Sub"].split()[1] == DOCUMENT["Outputs"]["SignInPage"]["Value"]["Fn::Sub"]
    assert others["Fn::Join"][1][1] == {"Ref": "JwtTokenOrigin"}


def test_every_file_of_the_gallery_is_behind_a_path_of_the_distribution() -> None:
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    patterns = [
        behavior["PathPattern"]
        for behavior in config["CacheBehaviors"]
        if behavior["TargetOriginId"] == "gallery"
    ]
    for name in load_gallery():
        assert [pattern for pattern in patterns if fnmatch(f"/{name}", pattern)], name
    assert "/" in patterns


def test_members_of_the_pools_group_are_the_admins() -> None:
    told = RESOURCES["ApiFunction"]["Properties"]["Environment"]["Variables"]
    group = RESOURCES["AdminsGroup"]["Properties"]["GroupName"]
    assert told["IMAGE_POSTER_JWT_ADMIN_CLAIM"]["Fn::If"] == [
        "HasOwnUsers",
        f"cognito:groups={group}",
        {"Ref": "JwtAdminClaim"},
    ]


def test_people_can_sign_up_and_their_names_ignore_case() -> None:
    """A user without an address gets no code and stays unconfirmed. None of this can be changed
    once there is a user (Cognito developer guide, "Settings you can't change")."""
    pool = RESOURCES["UserPool"]["Properties"]
    (email,) = [attribute for attribute in pool["Schema"] if attribute["Name"] == "email"]
    assert email["Required"] is True
    assert pool["AutoVerifiedAttributes"] == pool["AliasAttributes"] == ["email"]
    assert pool["UsernameConfiguration"] == {"CaseSensitive": False}
    update = pool["UserAttributeUpdateSettings"]
    assert update["AttributesRequireVerificationBeforeUpdate"] == ["email"]


def test_sign_up_can_be_closed_and_mail_sent_by_ses() -> None:
    pool = RESOURCES["UserPool"]["Properties"]
    closed = pool["AdminCreateUserConfig"]["AllowAdminCreateUserOnly"]
    assert closed == {"Fn::If": ["IsSignUpClosed", True, False]}
    assert DOCUMENT["Parameters"]["SignUp"]["Default"] == "open"
    _, by_ses, by_cognito = pool["EmailConfiguration"]["Fn::If"]
    assert by_ses == {"EmailSendingAccount": "DEVELOPER", "SourceArn": {"Ref": "SesAddressArn"}}
    assert by_cognito == {"EmailSendingAccount": "COGNITO_DEFAULT"}
    pattern = DOCUMENT["Parameters"]["SesAddressArn"]["AllowedPattern"]
    assert re.fullmatch(pattern, "arn:aws:ses:eu-central-1:123456789012:identity/me@example.org")
    assert not re.fullmatch(pattern, "me@example.org")


# CloudFront developer guide, "HTTP 4xx and 5xx status codes that CloudFront caches": always, and
# where the origin allows it by `max-age`. It does as `no-store` says of `HEEDS_NO_STORE` only
# ("Control how long CloudFront caches errors").
CACHED = {404, 405, 410, 414, 500, 501, 502, 503, 504}
CACHED_BY_MAX_AGE = {400, 403, 412, 415}
HEEDS_NO_STORE = {404, 410, 414, 501}
# API reference, CustomErrorResponse; CloudFront refuses any other code.
SETTABLE = {400, 403, 404, 405, 414, 416, 500, 501, 502, 503, 504}


def test_the_cdn_gives_nobody_the_error_of_somebody_else() -> None:
    """Each code that CloudFront caches has no time, or is one whose `no-store` it heeds: all our
    problems say it (`assert_problem`), and none says `max-age`."""
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    times = {
        each["ErrorCode"]: each["ErrorCachingMinTTL"] for each in config["CustomErrorResponses"]
    }
    assert times == dict.fromkeys(SETTABLE, 0)
    assert CACHED - SETTABLE <= HEEDS_NO_STORE
    assert all(len(each) == 2 for each in config["CustomErrorResponses"])  # the body stays


def test_without_authorization_in_the_key_nothing_personal_is_cached() -> None:
    """The managed policy CachingDisabled has TTLs of 0. With those, CloudFront takes no header as a
    part of the key. The only other behavior of the API serves a list that is the same for all."""
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    disabled = "4135ea2d-6df8-44a3-9df3-4b5a84be39ad"
    assert config["DefaultCacheBehavior"]["CachePolicyId"] == disabled
    api = [each for each in config["CacheBehaviors"] if each["TargetOriginId"] == "api"]
    assert {each["PathPattern"] for each in api} == {"/posts"}
    for each in api:
        policy = RESOURCES[each["CachePolicyId"]["Ref"]]["Properties"]["CachePolicyConfig"]
        assert (policy["MinTTL"], policy["DefaultTTL"]) == (0, 0)


def test_an_exchanged_secret_reaches_cloudfront() -> None:
    """CloudFormation resolves a reference again only if the reference itself changes."""
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    (header,) = config["Origins"][0]["OriginCustomHeaders"]
    _, of_version, current = header["HeaderValue"]["Fn::If"]
    version = "{{resolve:secretsmanager:${OriginSecret}:SecretString:::${OriginSecretVersion}}}"
    assert of_version == {"Fn::Sub": version}
    assert current == {"Fn::Sub": "{{resolve:secretsmanager:${OriginSecret}}}"}


def test_the_table_has_the_key_that_costs_nothing() -> None:
    """Without SSESpecification it is a key of AWS (API reference, SSESpecification)."""
    assert "SSESpecification" not in RESOURCES["Table"]["Properties"]


def test_the_cdn_compresses_only_what_it_caches_and_the_service_does_not() -> None:
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    for behavior in (config["DefaultCacheBehavior"], *config["CacheBehaviors"]):
        assert behavior["Compress"] is (behavior["TargetOriginId"] == "gallery")


@pytest.mark.parametrize("region", ["us-east-1", "eu-central-1"])
def test_signed_urls_lead_to_the_host_of_the_gallerys_policy(
    monkeypatch: pytest.MonkeyPatch, region: str
) -> None:
    """The bucket's RegionalDomainName. In us-east-1, botocore would sign for the global host."""
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "test")
    monkeypatch.setenv("AWS_DEFAULT_REGION", region)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    container._session.cache_clear()
    storage = container.client.__wrapped__("s3")
    container._session.cache_clear()
    place = {"Bucket": "uploads", "Key": "incoming/1"}
    url = urlsplit(storage.generate_presigned_url("put_object", Params=place))
    assert url.hostname == f"uploads.s3.{region}.amazonaws.com"


def test_the_slowness_of_requests_that_wait_is_not_measured(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")  # the module makes a client
    from image_poster.editions.aws import api

    names = []
    for waits in (False, True):
        api._waits.set(waits)
        (first, _) = api._metrics()["CloudWatchMetrics"]
        names.append({metric["Name"] for metric in first["Metrics"]})
    assert names[0] - names[1] == {"Latency"}
    alarm = RESOURCES["ApiSlow"]["Properties"]
    assert (alarm["Namespace"], alarm["MetricName"]) == ("image-poster", "Latency")
