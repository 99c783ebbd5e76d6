"""Embedded topics: an SNS that needs nothing but the database and a key.

* ``schema``, ``rows``: the tables, and the SQL on them as plain functions
* ``topics``, ``subscriptions``: what callers may do, durable when it returns
* ``signer``, ``envelope``: the signed JSON that a subscriber gets
* ``pusher``: delivers it, and tries again
* ``notifier``: the Notifier port on top of a topic
"""
