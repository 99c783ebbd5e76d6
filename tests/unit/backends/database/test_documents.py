"""Dataclasses come back from their documents as they were."""

from dataclasses import replace

import pytest
from tests.support import entities as make

from tarry.backends.database.documents import dump, load
from tarry.core.catalog import Container, Model
from tarry.core.deployment import Deployment
from tarry.core.errors import InvalidRequest
from tarry.core.invocation import Invocation


@pytest.mark.parametrize("text", ["", "ä€😀", "\x00\x1f\x7f", '"\\/', "\u2028", "a" * 200_000])
def test_any_text_comes_back(text: str) -> None:
    model = make.model(containers=(Container(image="i", environment={text: text}),), described_back={"x": [text, {text: None}]})
    assert load(Model, dump(model)) == model
    invocation = make.invocation("1", custom_attributes=text)
    assert load(Invocation, dump(invocation)) == invocation


def test_the_same_value_is_the_same_document() -> None:
    one, two = make.deployment(), make.deployment()
    assert dump(one) == dump(two) == dump(load(Deployment, dump(one)))


def test_half_of_a_surrogate_pair_is_refused() -> None:
    with pytest.raises(InvalidRequest, match="surrogate"):
        dump(replace(make.invocation("1"), custom_attributes="\ud800"))
    with pytest.raises(InvalidRequest, match="surrogate"):
        dump(make.model(described_back={"VpcConfig": "\udfff"}))
