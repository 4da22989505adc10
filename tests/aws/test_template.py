"""The template: clean, least privilege, private, and kept in production."""

from collections.abc import Iterator
from fnmatch import fnmatch
from typing import Any

import pytest
from cfnlint.api import lint_file
from cfnlint.decode.cfn_yaml import load

from aws_local.stack import TEMPLATE
from image_poster.adapters.s3.schema import ORIGINALS
from image_poster.domain.limits import UPLOAD_KEPT_MS
from image_poster.editions.aws.settings import Settings
from image_poster.editions.logs import emf
from image_poster.http.gallery import content_security_policy
from image_poster.http.gallery import load as load_gallery
from support.filters import MAX_FILTERS, patterns

DOCUMENT = load(str(TEMPLATE))
RESOURCES = DOCUMENT["Resources"]
# What AWS offers no resource for (Service Authorization Reference, AWS X-Ray).
WITHOUT_RESOURCES = {"xray:PutTraceSegments", "xray:PutTelemetryRecords"}
BUCKETS = ("UploadsBucket", "ImagesBucket", "GalleryBucket")
FUNCTIONS = ("ApiFunction", "ImageFunction", "StreamFunction", "HealingFunction")


def of_type(kind: str) -> dict[str, Any]:
    return {name: found for name, found in RESOURCES.items() if found["Type"] == kind}


def allowed() -> Iterator[tuple[str, list[str], list[Any]]]:
    """Role, actions and resources of each statement that allows something."""
    for name, role in of_type("AWS::IAM::Role").items():
        for policy in role["Properties"]["Policies"]:
            for statement in policy["PolicyDocument"]["Statement"]:
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
    actions = {action for role, found, _ in allowed() if role == "ApiRole" for action in found}
    assert not actions & {"dynamodb:DeleteItem", "dynamodb:Scan", "dynamodb:BatchWriteItem"}
    images = {action for role, found, _ in allowed() if role == "ImageRole" for action in found}
    assert "dynamodb:PutItem" not in images  # a late event cannot make a post anew


@pytest.mark.parametrize("bucket", BUCKETS)
def test_buckets_are_private_encrypted_and_speak_tls_only(bucket: str) -> None:
    properties = RESOURCES[bucket]["Properties"]
    assert all(properties["PublicAccessBlockConfiguration"].values())
    assert len(properties["PublicAccessBlockConfiguration"]) == 4
    assert properties["BucketEncryption"]["ServerSideEncryptionConfiguration"]
    assert properties["OwnershipControls"]["Rules"] == [{"ObjectOwnership": "BucketOwnerEnforced"}]
    statements = RESOURCES[f"{bucket}Policy"]["Properties"]["PolicyDocument"]["Statement"]
    (tls,) = [found for found in statements if found["Sid"] == "TlsOnly"]
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


@pytest.mark.parametrize("name", ["Table", "UploadsBucket", "ImagesBucket", "UserPool"])
def test_production_keeps_what_is_stored(name: str) -> None:
    for policy in ("DeletionPolicy", "UpdateReplacePolicy"):
        assert RESOURCES[name][policy] == {"Fn::If": ["IsProd", "Retain", "Delete"]}


def test_production_can_be_restored_and_not_deleted() -> None:
    table, users = RESOURCES["Table"]["Properties"], RESOURCES["UserPool"]["Properties"]
    in_prod = {"Fn::If": ["IsProd", True, False]}
    assert table["DeletionProtectionEnabled"] == in_prod
    assert table["PointInTimeRecoverySpecification"]["PointInTimeRecoveryEnabled"] == in_prod
    assert users["DeletionProtection"] == {"Fn::If": ["IsProd", "ACTIVE", "INACTIVE"]}


def test_whatever_is_given_up_waits_in_a_queue_that_somebody_watches() -> None:
    image = RESOURCES["ImageFunction"]["Properties"]["EventInvokeConfig"]
    mapping = RESOURCES["StreamMapping"]["Properties"]
    assert image["MaximumRetryAttempts"] == 2
    assert image["DestinationConfig"]["OnFailure"]["Type"] == "SQS"
    assert mapping["FunctionResponseTypes"] == ["ReportBatchItemFailures"]
    assert mapping["BisectBatchOnFunctionError"] is True
    assert mapping["MaximumRetryAttempts"] > 0
    assert mapping["MaximumRecordAgeInSeconds"] > 0
    assert mapping["DestinationConfig"]["OnFailure"]["Destination"]
    alarms = of_type("AWS::CloudWatch::Alarm").values()
    watched = [str(alarm["Properties"]["Dimensions"]) for alarm in alarms]
    for queue in of_type("AWS::SQS::Queue"):
        assert any(queue in value for value in watched), queue


def test_the_mapping_has_no_more_filters_than_lambda_takes() -> None:
    """https://docs.aws.amazon.com/lambda/latest/dg/invocation-eventfiltering.html: five. And what
    is not under `dynamodb` filters nothing."""
    assert 0 < len(patterns()) <= MAX_FILTERS
    assert {name for pattern in patterns() for name in pattern} == {"dynamodb"}


def test_there_is_an_alarm_for_errors_throttles_age_and_slowness() -> None:
    metrics = {
        (alarm["Properties"]["Namespace"], alarm["Properties"]["MetricName"])
        for alarm in of_type("AWS::CloudWatch::Alarm").values()
    }
    assert metrics >= {
        ("AWS/Lambda", "Errors"),
        ("AWS/Lambda", "Throttles"),
        ("AWS/Lambda", "IteratorAge"),
        ("image-poster", "Failures"),
        ("AWS/ApiGateway", "5xx"),
        ("AWS/ApiGateway", "Latency"),
        ("AWS/SQS", "ApproximateNumberOfMessagesVisible"),
        ("AWS/DynamoDB", "ReadThrottleEvents"),
        ("AWS/DynamoDB", "WriteThrottleEvents"),
    }


def test_every_alarm_has_an_entry_in_the_run_book() -> None:
    book = (TEMPLATE.parents[1] / "docs" / "aws.md").read_text()
    for name in of_type("AWS::CloudWatch::Alarm"):
        assert f"`{name}`" in book, name


def test_every_parameter_is_documented() -> None:
    book = (TEMPLATE.parents[1] / "docs" / "aws.md").read_text()
    for name in DOCUMENT["Parameters"]:
        assert f"`{name}`" in book, name


def test_functions_are_told_settings_that_there_are() -> None:
    known = {f"IMAGE_POSTER_{name.upper()}" for name in Settings.__dataclass_fields__}
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
    (directive,) = emf(Failures="Count")["CloudWatchMetrics"]
    for alarm in of_type("AWS::CloudWatch::Alarm").values():
        properties = alarm["Properties"]
        if properties["Namespace"] == directive["Namespace"]:
            names = [one["Name"] for one in properties["Dimensions"]]
            assert names in directive["Dimensions"]


def test_pieces_live_longer_than_their_uploads_and_originals_for_ever() -> None:
    rules = RESOURCES["UploadsBucket"]["Properties"]["LifecycleConfiguration"]["Rules"]
    days = {rule.get("Prefix"): rule.get("ExpirationInDays") for rule in rules}
    assert days["staging/"] * 86_400_000 > UPLOAD_KEPT_MS
    assert ORIGINALS not in days


def test_the_gallery_has_the_policy_that_it_has_on_one_machine() -> None:
    config = RESOURCES["GalleryHeaders"]["Properties"]["ResponseHeadersPolicyConfig"]
    text, _ = config["SecurityHeadersConfig"]["ContentSecurityPolicy"]["ContentSecurityPolicy"][
        "Fn::Sub"
    ]
    uploads = "https://${UploadsBucket.RegionalDomainName}"
    assert text == content_security_policy("${Issuer}", uploads)


def test_every_file_of_the_gallery_is_behind_a_path_of_the_distribution() -> None:
    config = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]
    patterns = [
        one["PathPattern"] for one in config["CacheBehaviors"] if one["TargetOriginId"] == "gallery"
    ]
    for name in load_gallery():
        assert [pattern for pattern in patterns if fnmatch(f"/{name}", pattern)], name
    assert "/" in patterns
