"""Amazon SageMaker's control plane: models, endpoint configurations, endpoints and tags.

* ``members``: what becomes of every member of every request: honoured, described back, or refused
* ``models``, ``endpoint_configs``, ``endpoints``, ``tags``: request → dataclass → command → answer
* ``describe``: endpoints as they are now
"""

from tarry.aws.services.sagemaker.service import sagemaker_service

__all__ = ["sagemaker_service"]
