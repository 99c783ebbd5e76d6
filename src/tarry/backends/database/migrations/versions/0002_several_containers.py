"""A model has several containers, model data has a form, an instance has an address for each container.

Documents of models, of deployments (each holds copies of its models) and of instances are rewritten.
"""

import json
from collections.abc import Callable
from typing import Any

import sqlalchemy as sa
from alembic import op

revision = "0002"
down_revision = "0001"
branch_labels = None
depends_on = None


def upgrade() -> None:
    _rewrite("model", _model)
    _rewrite("deployment", _deployment)
    _rewrite("instance", _instance)


def _rewrite(table: str, change: Callable[[dict[str, Any]], None]) -> None:
    rows = sa.table(table, sa.column("seq"), sa.column("document"))
    connection = op.get_bind()
    for seq, text in connection.execute(sa.select(rows.c.seq, rows.c.document)).all():
        document = json.loads(text)
        change(document)
        connection.execute(rows.update().where(rows.c.seq == seq).values(document=json.dumps(document, ensure_ascii=False)))


def _model(model: dict[str, Any]) -> None:
    container = model.pop("container")
    url = container.pop("model_data_url", None)
    container["model_data"] = None if url is None else {"s3_uri": url, "form": "Archive"}
    container["hostname"] = container.get("described_back", {}).pop("ContainerHostname", None)
    model["containers"] = [container]


def _deployment(deployment: dict[str, Any]) -> None:
    for variant in deployment["variants"]:
        _model(variant["model"])


def _instance(instance: dict[str, Any]) -> None:
    address = instance.pop("address", None)
    instance["addresses"] = [] if address is None else [address]
