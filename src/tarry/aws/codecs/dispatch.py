"""The four codecs behind two names: an answer, and an error, in the protocol of a service."""

from collections.abc import Mapping
from typing import Any

from tarry.aws.codecs import json, query, rest_json, rest_xml
from tarry.aws.codecs.answer import Answer, AnswerContext
from tarry.aws.errors import AwsError
from tarry.aws.specs import Family, OperationModel, Spec


def serialise(
    spec: Spec, operation: OperationModel, output: Mapping[str, Any], status: int | None, context: AnswerContext
) -> Answer:
    """The answer to a request that succeeded; ``status`` overrides the description's."""
    match spec.family:
        case "json":
            return json.serialise(spec, operation, output, status)
        case "rest-json":
            return rest_json.serialise(operation, output, status)
        case "query":
            return query.serialise(spec, operation, output, status, context)
        case "rest-xml":
            return rest_xml.serialise(operation, output, status)


def error_answer(family: Family, spec: Spec | None, error: AwsError, context: AnswerContext) -> Answer:
    """An error in a protocol's envelope; ``spec`` is None where the service is not known."""
    match family:
        case "json":
            return json.error_answer(spec, error, context)
        case "rest-json":
            return rest_json.error_answer(error, context)
        case "query":
            return query.error_answer(spec, error, context)
        case "rest-xml":
            return rest_xml.error_answer(error, context)
