"""The one place that picks concrete backends and connects everything.

* ``directory``: the data directory: its lock, its scope, its first key, ``server.json``
* ``build``: which class stands behind which port
* ``serve``: one process from the first flag to the last signal
"""
