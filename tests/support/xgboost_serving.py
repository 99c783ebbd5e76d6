"""The modules of the XGBoost image, imported from where they lie: they run inside an instance, so tarry does not import them."""

import importlib
import sys
from pathlib import Path
from typing import Any

import tarry

IMAGE = Path(tarry.__file__).parent / "serving" / "sagemaker-xgboost"
MODELS = Path(__file__).parent / "xgboost_models"
"""Model files of older versions; see its README."""

sys.path.insert(0, str(IMAGE))
try:
    answers: Any = importlib.import_module("xgboost_serving.answers")
    models: Any = importlib.import_module("xgboost_serving.models")
    payloads: Any = importlib.import_module("xgboost_serving.payloads")
    pickles: Any = importlib.import_module("xgboost_serving.pickles")
    recordio: Any = importlib.import_module("xgboost_serving.recordio")
    selectable: Any = importlib.import_module("xgboost_serving.selectable")
    source: Any = importlib.import_module("xgboost_serving.source")
    tags: Any = importlib.import_module("xgboost_serving.tags")
    variables: Any = importlib.import_module("xgboost_serving.variables")
finally:
    sys.path.remove(str(IMAGE))
