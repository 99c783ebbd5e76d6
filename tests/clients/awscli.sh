# The AWS CLI, as a person types it. Everything comes from the AWS variables.
set -eu
cd "$(mktemp -d)"
aws --version >&2
aws s3 mb s3://client-test >&2
printf 'from S3' >in.txt
aws s3 cp in.txt s3://client-test/in.txt --content-type text/plain >&2
topic=$(aws sns create-topic --name done --query TopicArn --output text)
aws sagemaker create-model --model-name m --execution-role-arn arn:aws:iam::123456789012:role/r \
    --primary-container Image=stub:1 --tags Key=team,Value=blue >&2
cat >async.json <<JSON
{"OutputConfig": {"S3OutputPath": "s3://client-test/out", "S3FailurePath": "s3://client-test/failed",
                  "NotificationConfig": {"SuccessTopic": "$topic"}},
 "ClientConfig": {"MaxConcurrentInvocationsPerInstance": 2}}
JSON
for config in c c2; do
    aws sagemaker create-endpoint-config --endpoint-config-name $config --async-inference-config file://async.json \
        --production-variants VariantName=v,ModelName=m,InstanceType=ml.m5.xlarge,InitialInstanceCount=1 >&2
done
in_service() { # as `aws sagemaker wait endpoint-in-service`, which looks every 30 seconds
    until [ "$(aws sagemaker describe-endpoint --endpoint-name e --query EndpointStatus --output text)" = InService ]; do :; done
}
aws sagemaker create-endpoint --endpoint-name e --endpoint-config-name c >&2
in_service
aws sagemaker wait endpoint-in-service --endpoint-name e
aws sagemaker update-endpoint --endpoint-name e --endpoint-config-name c2 >&2
in_service
aws sagemaker update-endpoint-weights-and-capacities --endpoint-name e \
    --desired-weights-and-capacities VariantName=v,DesiredInstanceCount=2 >&2
in_service
arn=$(aws sagemaker describe-endpoint --endpoint-name e --query EndpointArn --output text)
aws sagemaker add-tags --resource-arn "$arn" --tags Key=team,Value=red >&2
tag=$(aws sagemaker list-tags --resource-arn "$arn" --query 'Tags[0].Value' --output text)
output=$(aws sagemaker-runtime invoke-endpoint-async --endpoint-name e --input-location s3://client-test/in.txt \
    --inference-id mine --invocation-timeout-seconds 60 --query OutputLocation --output text)
key=${output#s3://client-test/}
until aws s3api head-object --bucket client-test --key "$key" >/dev/null 2>&1; do :; done
aws s3 cp "$output" out.txt >&2
models=$(aws sagemaker list-models --query 'length(Models)')
aws sagemaker delete-endpoint --endpoint-name e >&2
aws sagemaker wait endpoint-deleted --endpoint-name e
for config in c c2; do aws sagemaker delete-endpoint-config --endpoint-config-name $config >&2; done
aws sagemaker delete-model --model-name m >&2
printf '{"client": "%s", "bodies": ["%s"], "tag": "%s", "models": %s}' "$(aws --version 2>&1)" "$(cat out.txt)" "$tag" "$models"
