"""Commands on endpoints: they write what is desired and answer at once; the reconciler does the rest."""

from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from tarry.control.actions import say_moved
from tarry.control.context import Context, Kind, tags_change
from tarry.control.endpoint_configs import check_count, check_weight
from tarry.control.requests import CreateEndpoint, UpdateEndpoint
from tarry.control.tags import checked_tags
from tarry.core.catalog import EndpointConfig
from tarry.core.deployment import MOVING, DeployedVariant, Deployment, DeploymentState, DesiredCapacity, Routing, with_capacities
from tarry.core.endpoint import IN_PROGRESS, MAY_RESCALE, MAY_UPDATE, Endpoint, EndpointStatus, require_transition
from tarry.core.errors import Conflict, InProgress, InvalidRequest
from tarry.core.instance import Instance, InstanceState
from tarry.core.planning import waiting_for
from tarry.core.retry_policy import RetryPolicy, check_policy
from tarry.core.rollout import DeploymentConfig, Rollout
from tarry.core.rollout_limits import check
from tarry.ports import Add, Alarms, Change, Page, PageQuery, Replace

_TRIES = 5


@dataclass(frozen=True, slots=True, kw_only=True)
class EndpointDescription:
    """An endpoint as it is now. ``running`` counts the InService instances by (deployment id, variant name)."""

    endpoint: Endpoint
    active: Deployment | None
    """The deployment that serves; None before the first has become healthy."""
    pending: Deployment | None
    """The deployment that an update is about: being started, given its part of the work, or handing it back."""
    mixed: Deployment | None
    """One that kept a part of the work, since its rollback failed."""
    latest: Deployment | None
    """The newest one, whatever became of it."""
    running: Mapping[tuple[str, str], int]
    running_on: Mapping[tuple[str, str, str], int]
    """The same, by instance type as well."""
    waiting_for: Mapping[tuple[str, str], str]
    """What each (deployment id, variant name) lacks, in a sentence; those that lack nothing are not in it."""
    routing: Routing | None
    now_us: int


class EndpointCommands:
    """CreateEndpoint, DescribeEndpoint, ListEndpoints, UpdateEndpoint, UpdateEndpointWeightsAndCapacities, DeleteEndpoint."""

    def __init__(self, context: Context, alarms: Alarms) -> None:
        self._context = context
        self._alarms = alarms

    async def create(self, request: CreateEndpoint) -> Endpoint:
        """Ask for a new endpoint: Creating from now on. Errors: AlreadyExists, NotFound, InvalidRequest, LimitExceeded."""
        context = self._context
        config = await context.endpoint_config(request.config_name)
        now_us = context.clock.now_us()
        endpoint = Endpoint(
            id=context.ids.uuid(),
            name=request.name,
            arn=context.arn(Kind.ENDPOINT, request.name),
            config_name=config.name,
            status=EndpointStatus.CREATING,
            created_at_us=now_us,
            modified_at_us=now_us,
            deployment_config=request.deployment_config,
        )
        if request.deployment_config is not None:
            check(request.deployment_config)
            await self._require_alarms(request.deployment_config)
        deployment = await self._deployment(endpoint, config, generation=1)
        tags = await tags_change(context.store, endpoint.arn, checked_tags(request.tags))
        await context.create(Kind.ENDPOINT, request.name, Add(endpoint), Add(deployment), *tags)
        say_moved(None, endpoint, config=config.name)
        return endpoint

    async def describe(self, name: str) -> EndpointDescription:
        """The endpoint with what runs of it. Errors: NotFound."""
        store = self._context.store
        endpoint = await self._context.endpoint(name)
        deployments = sorted(await store.find(Deployment, endpoint_id=endpoint.id), key=lambda one: one.generation)
        rows = await store.find(Instance, endpoint_id=endpoint.id)
        instances = [row for row in rows if row.state is InstanceState.IN_SERVICE]
        pending = [one for one in deployments if one.state in MOVING]
        now_us = self._context.clock.now_us()
        return EndpointDescription(
            endpoint=endpoint,
            active=next((one for one in deployments if one.id == endpoint.active_deployment_id), None),
            pending=pending[-1] if pending else None,
            mixed=next((one for one in deployments if one.state is DeploymentState.ROLLBACK_FAILED), None),
            latest=deployments[-1] if deployments else None,
            routing=await store.get(Routing, endpoint.id),
            now_us=now_us,
            running=Counter((row.deployment_id, row.variant_name) for row in instances),
            running_on=Counter((row.deployment_id, row.variant_name, row.instance_type) for row in instances),
            waiting_for={
                (deployment.id, variant.variant.name): waits
                for deployment in deployments
                for variant in deployment.variants
                if (waits := waiting_for(name, deployment, variant, rows, now_us)) is not None
            },
        )

    async def list(self, query: PageQuery) -> Page[Endpoint]:
        """One page of endpoints. Errors: InvalidRequest."""
        return await self._context.store.page(Endpoint, query)

    async def update(self, request: UpdateEndpoint) -> Endpoint:
        """Ask for another configuration: Updating from now on, while the one before goes on serving.

        Errors: NotFound, InProgress, InvalidRequest.
        """
        context = self._context
        endpoint = await context.endpoint(request.name)
        active = await self._require_serving(endpoint, MAY_UPDATE)
        config = await context.endpoint_config(request.config_name)
        others = await context.store.find(Deployment, endpoint_id=endpoint.id)
        generation = 1 + max(one.generation for one in others)
        deployment = await self._deployment(endpoint, config, generation=generation)
        variants = _retained(deployment, active, request)
        rollout = await self._rollout(endpoint, request, max(variant.desired_count for variant in variants))
        changed = replace(endpoint, deployment_config=request.deployment_config or endpoint.deployment_config)
        return await self._begin_update(changed, Add(replace(deployment, variants=variants, rollout=rollout)))

    async def update_capacities(self, name: str, capacities: Sequence[DesiredCapacity]) -> Endpoint:
        """Ask for other weights and instance counts: Updating from now on. A count of 0 is possible.

        Errors: NotFound, InProgress, InvalidRequest, LimitExceeded.
        """
        endpoint = await self._context.endpoint(name)
        active = await self._require_serving(endpoint, MAY_RESCALE)
        _check_capacities(capacities, active)
        before = tuple(DesiredCapacity.of(variant) for variant in active.variants)
        # AWS: each of these calls sends the test notification again (async-inference-create-endpoint).
        tests = active.topics_tests_wanted + 1
        changed = with_capacities(
            replace(active, capacities_before=before, topics_tests_wanted=tests, failure_reason=None), capacities
        )
        return await self._begin_update(endpoint, Replace(changed))

    async def delete(self, name: str) -> None:
        """Ask for the end of an endpoint: Deleting from now on. Errors: NotFound, InProgress."""
        endpoint = await self._context.endpoint(name)
        if endpoint.status in IN_PROGRESS:
            raise InProgress(endpoint.arn)
        await self._step(endpoint, EndpointStatus.DELETING)

    async def set_retry_policy(self, name: str, policy: RetryPolicy | None) -> Endpoint:
        """For invocations that are accepted from now on; None: no retries. Errors: NotFound, InvalidRequest, Conflict."""
        if policy is not None:
            check_policy(policy)
        for tries_left in reversed(range(_TRIES)):
            endpoint = replace(await self._context.endpoint(name), retry=policy)
            try:
                await self._context.store.apply(Replace(endpoint))
            except Conflict:
                if not tries_left:
                    raise
                continue
            break
        return endpoint

    async def _deployment(self, endpoint: Endpoint, config: EndpointConfig, *, generation: int) -> Deployment:
        variants = [
            DeployedVariant(
                variant=variant,
                model=await self._context.model(variant.model_name),
                desired_weight=variant.initial_weight,
                desired_count=variant.initial_instance_count,
                overrides={
                    pool.instance_type: await self._context.model(pool.model_name)
                    for pool in variant.pools
                    if pool.model_name is not None
                },
            )
            for variant in config.variants
        ]
        return Deployment(
            id=self._context.ids.uuid(),
            endpoint_id=endpoint.id,
            generation=generation,
            config=config,
            variants=tuple(variants),
            state=DeploymentState.STARTING,
            created_at_us=self._context.clock.now_us(),
        )

    async def _rollout(self, endpoint: Endpoint, request: UpdateEndpoint, instances: int) -> Rollout:
        config = request.deployment_config
        if config is None and request.retain_deployment_config:
            config = endpoint.deployment_config
        if config is None:
            return Rollout(instances=instances)
        check(config, instances)
        await self._require_alarms(config)
        return Rollout(config=config, instances=instances)

    async def _require_alarms(self, config: DeploymentConfig) -> None:
        known = await self._alarms.states(config.alarms)
        if unknown := [name for name in config.alarms if name not in known]:
            names = ", ".join(f'"{name}"' for name in unknown)
            # OURS: AWS needs cloudwatch:DescribeAlarms for this and says nothing of alarms that do not exist.
            raise InvalidRequest(f"The alarm(s) {names} do not exist: nothing would watch an update.")

    async def _require_serving(self, endpoint: Endpoint, allowed: frozenset[EndpointStatus]) -> Deployment:
        if endpoint.status in IN_PROGRESS:
            raise InProgress(endpoint.arn)
        active = None
        if endpoint.active_deployment_id is not None:
            active = await self._context.store.get(Deployment, endpoint.active_deployment_id)
        if endpoint.status not in allowed or active is None:
            # AWS: a Failed endpoint can only be deleted (DescribeEndpoint API reference); its sentence is not known.
            raise InvalidRequest(
                f'Cannot update endpoint "{endpoint.arn}" with status {endpoint.status}: {_way_out(endpoint.status)}.'
            )
        return active

    async def _begin_update(self, endpoint: Endpoint, change: Change) -> Endpoint:
        return await self._step(endpoint, EndpointStatus.UPDATING, change)

    async def _step(self, endpoint: Endpoint, status: EndpointStatus, *changes: Change) -> Endpoint:
        require_transition(endpoint.status, status)
        reason = endpoint.failure_reason if status is EndpointStatus.DELETING else None
        now_us = self._context.clock.now_us()
        changed = replace(endpoint, status=status, modified_at_us=now_us, failure_reason=reason)
        try:
            await self._context.store.apply(Replace(changed), *changes)
        except Conflict:
            # Somebody else's change came first, so this one came while that is in progress.
            raise InProgress(endpoint.arn) from None
        say_moved(endpoint.status, changed, **_told(endpoint, changes))
        return changed


def _told(endpoint: Endpoint, changes: Sequence[Change]) -> dict[str, str]:
    """From which configuration to which an update goes, for the log."""
    to = [change.entity.config.name for change in changes if isinstance(change.entity, Deployment)]
    return {"config_before": endpoint.config_name, "config": to[0]} if to else {}


def _way_out(status: EndpointStatus) -> str:
    if status is EndpointStatus.UPDATE_ROLLBACK_FAILED:
        return "only UpdateEndpoint and DeleteEndpoint are possible"
    return "delete it and create it again"


def _retained(deployment: Deployment, active: Deployment, request: UpdateEndpoint) -> tuple[DeployedVariant, ...]:
    before = {variant.variant.name: variant for variant in active.variants}
    variants = []
    for variant in deployment.variants:
        old = before.get(variant.variant.name)
        if old is not None and request.retain_counts:
            variant = replace(variant, desired_count=old.desired_count)
        if old is not None and request.retain_weights:
            variant = replace(variant, desired_weight=old.desired_weight)
        variants.append(variant)
    return tuple(variants)


def _check_capacities(capacities: Sequence[DesiredCapacity], active: Deployment) -> None:
    wanted: set[str] = set()
    for capacity in capacities:
        name = capacity.variant_name
        if name in wanted:
            raise InvalidRequest(f'The variant name "{name}" was non-unique within the request.')
        if capacity.instance_count is not None:
            check_count(capacity.instance_count)
        if capacity.weight is not None:
            check_weight(capacity.weight)
        wanted.add(name)
    known = {variant.variant.name for variant in active.variants}
    if unknown := [one.variant_name for one in capacities if one.variant_name not in known]:
        names = ", ".join(f'"{name}"' for name in unknown)
        raise InvalidRequest(
            f'The variant name(s) {names} is/are not present within endpoint configuration "{active.config.name}".'
        )
