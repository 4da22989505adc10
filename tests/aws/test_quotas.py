"""The service stays within the quotas of AWS that cannot be raised.

Sources:

https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html

https://docs.aws.amazon.com/lambda/latest/dg/gettingstarted-limits.html

https://docs.aws.amazon.com/AWSCloudFormation/latest/UserGuide/cloudformation-limits.html
"""

from pathlib import Path
from typing import Any

from cfnlint.decode.cfn_yaml import load

from aws_local.stack import TEMPLATE
from image_poster.adapters.dynamodb.database import (
    MAX_IN_BATCH_GET,
    MAX_IN_BATCH_WRITE,
    MAX_IN_TRANSACTION,
)
from image_poster.domain.limits import FEED_PAGE_MAX, LATEST_KEPT, PAGE_MAX_BYTES, WAIT_MAX_SECONDS
from image_poster.editions.aws.settings import MULTIPART_BYTES, PIECE_BYTES
from image_poster.tus import METADATA_MAX_BYTES

RESOURCES = load(str(TEMPLATE))["Resources"]
# API Gateway, HTTP APIs.
GATEWAY_SECONDS, GATEWAY_BODY_BYTES, GATEWAY_HEADER_BYTES = 30, 10 * 1024 * 1024, 10_240
MAX_ROUTES, MAX_INTEGRATIONS, MAX_AUTHORIZERS, MAX_AUDIENCES = 300, 300, 10, 50
# Lambda, synchronous invocations, both ways; environment variables of a function together.
LAMBDA_BODY_BYTES, LAMBDA_ENVIRONMENT_BYTES, LAMBDA_SECONDS = 6_291_456, 4096, 900
# What an event has beside its body: headers, which are twice in it at worst, and context.
EVENT_BYTES = 3 * GATEWAY_HEADER_BYTES


def of_type(kind: str) -> dict[str, Any]:
    return {name: resource for name, resource in RESOURCES.items() if resource["Type"] == kind}


def in_base64(size: int) -> int:
    return -(-size // 3) * 4


def test_bodies_fit_into_an_invocation() -> None:
    """API Gateway hands a binary body over in Base64."""
    assert in_base64(MULTIPART_BYTES) + EVENT_BYTES < LAMBDA_BODY_BYTES
    assert in_base64(PIECE_BYTES) + EVENT_BYTES < LAMBDA_BODY_BYTES
    assert max(MULTIPART_BYTES, PIECE_BYTES) < GATEWAY_BODY_BYTES


def test_the_longest_metadata_leave_room_for_other_headers() -> None:
    """Of a token, above all: one of Cognito's has about 1 KB."""
    assert METADATA_MAX_BYTES + 1500 < GATEWAY_HEADER_BYTES


def test_the_longest_page_fits_into_an_answer() -> None:
    """As JSON in JSON: a quotation mark is two characters there, and compressed it is Base64."""
    assert 2 * PAGE_MAX_BYTES < LAMBDA_BODY_BYTES


def test_answers_come_before_the_gateway_gives_up() -> None:
    assert RESOURCES["ApiFunction"]["Properties"]["Timeout"] < GATEWAY_SECONDS
    assert RESOURCES["ApiFunction"]["Properties"]["Timeout"] > WAIT_MAX_SECONDS
    assert RESOURCES["ApiIntegration"]["Properties"]["TimeoutInMillis"] <= GATEWAY_SECONDS * 1000
    origins = RESOURCES["Distribution"]["Properties"]["DistributionConfig"]["Origins"]
    (api,) = [origin for origin in origins if origin["Id"] == "api"]
    assert api["CustomOriginConfig"]["OriginReadTimeout"] >= GATEWAY_SECONDS


def test_the_api_has_no_more_of_anything_than_one_may_have() -> None:
    assert len(of_type("AWS::ApiGatewayV2::Route")) <= MAX_ROUTES
    assert len(of_type("AWS::ApiGatewayV2::Integration")) <= MAX_INTEGRATIONS
    assert len(of_type("AWS::ApiGatewayV2::Authorizer")) <= MAX_AUTHORIZERS


def test_a_page_is_one_batch_and_a_fold_one_transaction() -> None:
    assert FEED_PAGE_MAX <= MAX_IN_BATCH_GET == 100
    assert LATEST_KEPT < MAX_IN_TRANSACTION == 100
    assert MAX_IN_BATCH_WRITE == 25


def test_functions_have_no_more_time_than_there_is() -> None:
    functions = of_type("AWS::Serverless::Function")
    assert len(functions) == 5
    for name, function in functions.items():
        assert function["Properties"]["Timeout"] <= LAMBDA_SECONDS, name


def test_the_template_can_be_deployed_from_a_bucket() -> None:
    """1 MB there, 51,200 bytes by itself: `sam deploy --resolve-s3` puts it into one. 500
    resources, 200 parameters and as many outputs."""
    assert TEMPLATE.stat().st_size < 1_000_000
    assert "--resolve-s3" in (Path(TEMPLATE).parents[1] / "Makefile").read_text()
    document = load(str(TEMPLATE))
    # A function is five: function, version, alias, invoke configuration, deployment group.
    assert len(RESOURCES) + 5 * 4 + 2 <= 500
    assert max(len(document["Parameters"]), len(document["Outputs"])) <= 200
