"""Writes predictions in the form that a client accepts.

Piece by piece: one call that wrote a million numbers would keep Python's lock so long that a ping is not answered in time.
"""

import json

from xgboost_serving import recordio

CSV, JSON, JSON_LINES, RECORDIO = "text/csv", "application/json", "application/jsonlines", "application/x-recordio-protobuf"
# AWS: the types and the text of NotAcceptable (aws/sagemaker-xgboost-container, serve.py).
TYPES = (JSON, JSON_LINES, RECORDIO, CSV)
ANY = "*/*"
BLOCK_ROWS = 1000


class NotAcceptable(Exception):
    """The client takes none of our types; the text is the answer's body."""


def accepted(header, default):
    """The type to answer with; ``default`` for a client that takes anything. Raises NotAcceptable."""
    wanted = (header or "").partition(";")[0].strip()
    if wanted in ("", ANY):
        wanted = default or CSV
    if wanted.lower() not in TYPES:
        raise NotAcceptable(f"Accept type {wanted} is not supported. Please use supported accept types: {list(TYPES)}.")
    return wanted.lower()


def plain(scores, accept, *, batch=False):
    """Scores (numbers, or lists of them) as each type has them: one line or one record for each.

    # AWS: ``batch`` (SAGEMAKER_BATCH) is one line for each, whatever the type is called (algorithm_mode/serve.py).
    # OURS: the container answers 500 for JSON Lines and recordio unless SAGEMAKER_INFERENCE_OUTPUT is set; here they are what the
    # other built-in algorithms answer.
    """
    if batch:
        return "".join(f"{score}\n" for score in scores)
    if accept == CSV:
        return "".join(f"{','.join(map(str, score)) if isinstance(score, list) else score}\n" for score in scores)
    return _structured([{"score": score} for score in scores], accept)


def in_one_line(scores, *, batch=False):
    """The csv of the tags before 1.2-2."""
    return "".join(f"{score}\n" for score in scores) if batch else ",".join(str(score) for score in scores)


def selected(rows, keys, accept, *, batch=False):
    """Chosen content. ``rows``: for each prediction its content by key; ``keys``: the order of the columns of csv."""
    if accept == CSV:
        lines = (",".join(f'"{row[key]}"' if isinstance(row[key], list) else str(row[key]) for key in keys) for row in rows)
        return "\n".join(lines) + ("\n" if batch else "")
    return _structured(rows, accept)


def _structured(rows, accept):
    if accept == JSON:
        blocks = (json.dumps(rows[start : start + BLOCK_ROWS])[1:-1] for start in range(0, len(rows), BLOCK_ROWS))
        return f'{{"predictions": [{", ".join(blocks)}]}}'
    if accept == JSON_LINES:
        return "".join(json.dumps(row) + "\n" for row in rows)
    lists = ({key: value if isinstance(value, list) else [value] for key, value in row.items()} for row in rows)
    return recordio.write(lists)
