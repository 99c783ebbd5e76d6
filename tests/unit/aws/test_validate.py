"""Violations in AWS's words; wording as quoted in public reports of its Java services."""

from typing import Any

import pytest

from tarry.aws.errors import AwsError
from tarry.aws.patterns import compile_pattern
from tarry.aws.specs import OperationModel, load_spec
from tarry.aws.validate import SHOWN_MAX, VIOLATIONS_MAX, validate


def check(service: str, name: str, params: dict[str, Any]) -> AwsError | None:
    spec = load_spec(service)
    operation: OperationModel = spec.operation(name)
    try:
        validate(spec, operation, params)
    except AwsError as error:
        return error
    return None


def message(service: str, name: str, params: dict[str, Any]) -> str:
    error = check(service, name, params)
    assert error is not None
    return error.message


def test_several_are_told_together() -> None:
    variant = {"VariantName": "v", "InstanceType": "ml.none", "InitialInstanceCount": 0}
    told = message("sagemaker", "CreateEndpointConfig", {"ProductionVariants": [variant]})
    assert told.startswith(
        "3 validation errors detected: Value null at 'endpointConfigName' failed to satisfy constraint: Member must not be null; "
        "Value '0' at 'productionVariants.1.member.initialInstanceCount' failed to satisfy constraint: "
        "Member must have value greater than or equal to 1; "
        "Value 'ml.none' at 'productionVariants.1.member.instanceType' failed to satisfy constraint: "
        "Member must satisfy enum value set: [ml.t2.medium, "
    )


@pytest.mark.parametrize(
    ("params", "constraint"),
    [
        (
            {"EndpointName": "a" * 64},
            f"Value '{'a' * 64}' at 'endpointName' failed to satisfy constraint: "
            "Member must have length less than or equal to 63",
        ),
        (
            {"EndpointName": "a_b"},
            "Value 'a_b' at 'endpointName' failed to satisfy constraint: Member must satisfy regular expression pattern: "
            "[a-zA-Z0-9](-*[a-zA-Z0-9]){0,62}",
        ),
        ({}, "Value null at 'endpointName' failed to satisfy constraint: Member must not be null"),
    ],
)
def test_one_value(params: dict[str, Any], constraint: str) -> None:
    error = check("sagemaker", "DescribeEndpoint", params)
    assert error is not None
    assert error.code == "ValidationException"
    assert constraint in error.message


def test_pattern_is_for_the_whole_text() -> None:
    assert check("sagemaker", "DescribeEndpoint", {"EndpointName": "ab\n"}) is not None
    assert check("sagemaker", "DescribeEndpoint", {"EndpointName": "ab"}) is None


def test_role_of_the_seed_is_refused_as_on_aws() -> None:
    told = message("sagemaker", "CreateModel", {"ModelName": "m", "ExecutionRoleArn": "arn:aws:iam::123456789012:role/*"})
    assert "at 'executionRoleArn'" in told


def test_lists_and_maps_of_plain_values_are_told_as_one() -> None:
    params = {"ModelName": "m", "VpcConfig": {"SecurityGroupIds": ["ok", "a b"], "Subnets": ["s"]}}
    assert (
        "Value '[ok, a b]' at 'vpcConfig.securityGroupIds' failed to satisfy constraint: Member must satisfy constraint: "
        "[Member must have length less than or equal to 32, Member must satisfy regular expression pattern: [-0-9a-zA-Z]+]"
    ) in message("sagemaker", "CreateModel", params)
    params = {"ModelName": "m", "PrimaryContainer": {"Environment": {"1": "x"}}}
    assert "Value '{1=x}' at 'primaryContainer.environment' failed to satisfy constraint: Map keys must satisfy" in message(
        "sagemaker", "CreateModel", params
    )


def test_runtime_says_validation_error() -> None:
    error = check("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": "e", "InferenceId": " x"})
    assert error is not None
    assert error.code == "ValidationError"
    assert r"pattern: \A\S[\p{Print}]*\z" in error.message
    assert check("sagemaker-runtime", "InvokeEndpointAsync", {"EndpointName": "e", "InferenceId": "x y"}) is None


def test_messages_are_bounded() -> None:
    tags = [{"Key": "k" * 10_000, "Value": "v"}] * 49
    told = message("sagemaker", "AddTags", {"ResourceArn": "arn:aws:sagemaker:us-east-1:123456789012:x", "Tags": tags})
    assert told.count("failed to satisfy") == VIOLATIONS_MAX
    assert "k" * (SHOWN_MAX + 1) not in told


def test_s3_is_left_to_its_own_errors() -> None:
    assert check("s3", "GetObject", {}) is None


@pytest.mark.parametrize(
    ("pattern", "good", "bad"),
    [
        (r"\p{ASCII}*", "a\n~", "é"),
        (r"[\p{L}\p{N}]+", "aé5", "a b"),
        (r"[^\p{Alnum}]+", "-_", "-a"),
        (r"\p{L}+", "é", "5"),
        ("[\\u0020-\\uD7FF\\uE000-\\uFFFD\\uD800\\uDC00-\\uDBFF\\uDFFF\\t]*", "a\t😀", "\x00"),
        (r"\A\S[\p{Print}]*\z", "x y", "x\ty"),
    ],
)
def test_java_patterns(pattern: str, good: str, bad: str) -> None:
    compiled = compile_pattern(pattern)
    assert compiled is not None
    assert compiled.fullmatch(good)
    assert not compiled.fullmatch(bad)


def test_a_broken_pattern_refuses_nothing() -> None:
    assert compile_pattern("(a)${1,128}") is None


def test_every_pattern_of_the_served_descriptions_compiles_but_the_known_broken_ones() -> None:
    broken = set()
    for service in ("sagemaker", "sagemaker-runtime", "sns", "sts"):
        model = load_spec(service).model
        patterns = {model.shape_for(name).metadata.get("pattern") for name in model.shape_names} - {None}
        broken |= {pattern for pattern in patterns if compile_pattern(pattern) is None}
    assert len(broken) <= 2, broken
