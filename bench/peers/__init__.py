"""What people run today, as yardsticks: FastAPI with Celery and Redis, FastAPI with procrastinate and PostgreSQL.

They run in an environment of their own (`requirements/bench.txt`), with the durability that makes the comparison fair: Redis
syncs its log at every write, PostgreSQL at every commit.
"""
