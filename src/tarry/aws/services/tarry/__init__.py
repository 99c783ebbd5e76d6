"""Tarry's own service: what it offers beyond AWS, described and signed like an AWS service.

* ``invocations``, ``redrives``, ``queues``: request → command → answer
* ``describe``: invocations in the form of the extension API
* ``instance_logs``: what model servers have printed
* ``keys``: access keys
"""

from tarry.aws.services.tarry.service import tarry_service

__all__ = ["tarry_service"]
