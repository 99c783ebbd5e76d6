// The AWS SDK for JavaScript 3. Everything comes from the AWS variables, but for the style of S3's addresses.
import { CreateBucketCommand, GetObjectCommand, PutObjectCommand, S3Client, waitUntilObjectExists } from "@aws-sdk/client-s3";
import {
  CreateEndpointCommand, CreateEndpointConfigCommand, CreateModelCommand, DeleteEndpointCommand, DescribeEndpointCommand,
  SageMakerClient, waitUntilEndpointInService, paginateListModels,
} from "@aws-sdk/client-sagemaker";
import { InvokeEndpointAsyncCommand, SageMakerRuntimeClient } from "@aws-sdk/client-sagemaker-runtime";
import { CreateTopicCommand, SNSClient } from "@aws-sdk/client-sns";

const s3 = new S3Client({ forcePathStyle: true });
const sagemaker = new SageMakerClient();
const runtime = new SageMakerRuntimeClient();
const Bucket = "client-test";
const wait = { maxWaitTime: 120, minDelay: 1, maxDelay: 1 };

await s3.send(new CreateBucketCommand({ Bucket }));
const { TopicArn } = await new SNSClient().send(new CreateTopicCommand({ Name: "done" }));
await sagemaker.send(new CreateModelCommand({
  ModelName: "m", ExecutionRoleArn: "arn:aws:iam::123456789012:role/r", PrimaryContainer: { Image: "stub:1" },
}));
await sagemaker.send(new CreateEndpointConfigCommand({
  EndpointConfigName: "c",
  ProductionVariants: [{ VariantName: "v", ModelName: "m", InstanceType: "ml.m5.xlarge", InitialInstanceCount: 1 }],
  AsyncInferenceConfig: { OutputConfig: { S3OutputPath: `s3://${Bucket}/out`, NotificationConfig: { SuccessTopic: TopicArn } } },
}));
await sagemaker.send(new CreateEndpointCommand({ EndpointName: "e", EndpointConfigName: "c" }));
await waitUntilEndpointInService({ client: sagemaker, ...wait }, { EndpointName: "e" });
await s3.send(new PutObjectCommand({ Bucket, Key: "in", Body: "from S3", ContentType: "text/plain" }));
const sent = [
  await runtime.send(new InvokeEndpointAsyncCommand({ EndpointName: "e", InputLocation: `s3://${Bucket}/in` })),
  await runtime.send(new InvokeEndpointAsyncCommand({ EndpointName: "e", Body: new TextEncoder().encode("inline") })),
];
const bodies = [];
for (const { OutputLocation } of sent) {
  const Key = OutputLocation.split("/").slice(3).join("/");
  await waitUntilObjectExists({ client: s3, ...wait }, { Bucket, Key });
  bodies.push(await (await s3.send(new GetObjectCommand({ Bucket, Key }))).Body.transformToString());
}
let models = 0;
for await (const page of paginateListModels({ client: sagemaker }, {})) models += page.Models.length;
await sagemaker.send(new DeleteEndpointCommand({ EndpointName: "e" }));
let missing = "";
try {
  await sagemaker.send(new DescribeEndpointCommand({ EndpointName: "none" }));
} catch (error) {
  missing = error.name;
}
console.log(JSON.stringify({ client: `node ${process.version}`, bodies, models, missing }));
