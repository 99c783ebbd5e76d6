# in_a_notebook.sh COMMAND…: run it where /opt/ml/metadata says which role this is, as in a SageMaker notebook, and only for it:
# in a mount namespace of its own, whose /opt is the machine's with a layer on top.
set -eu
layer=$(mktemp -d)
export layer
trap 'rmdir "$layer"' EXIT
unshare --map-root-user --mount sh -euc '
    mount -t tmpfs tmpfs "$layer"
    mkdir "$layer/upper" "$layer/work"
    mkdir -p /opt
    mount -t overlay overlay -o "lowerdir=/opt,upperdir=$layer/upper,workdir=$layer/work" /opt
    mkdir -p /opt/ml/metadata
    echo "{\"ResourceName\": \"notebook\", \"ExecutionRoleArn\": \"$ROLE\"}" >/opt/ml/metadata/resource-metadata.json
    exec "$@"' sh "$@"
