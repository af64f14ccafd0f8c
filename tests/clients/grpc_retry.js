// Exhausts the rate of a caller, and calls a broker with grpc-js's own retry policy.
//
//     node grpc_retry.js PROTOS ADDRESS
//
// PROTOS is a folder with google/rpc/status.proto. ADDRESS is HOST:PORT of a broker with a simulated AWS that lets a caller make 10
// requests per second, with a burst of 100. The policy's own backoff is far too short: only the delay that the broker asks for leads to
// an answer.
"use strict";

const assert = require("node:assert");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const [protos, address] = process.argv.slice(2);
const registry = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";
const includeDirs = [path.join(__dirname, "../../proto"), protos];
const definition = loader.loadSync("ecrbroker/v1/registry_credentials.proto", { includeDirs, keepCase: true });
const Service = grpc.loadPackageDefinition(definition).ecrbroker.v1.RegistryCredentialsService;
const retryPolicy = {
  maxAttempts: 3,
  initialBackoff: "0.001s",
  maxBackoff: "0.001s",
  backoffMultiplier: 1,
  retryableStatusCodes: ["RESOURCE_EXHAUSTED"],
};
const config = { methodConfig: [{ name: [{ service: "ecrbroker.v1.RegistryCredentialsService" }], retryPolicy }] };

// A batch costs its number of registries.
function call(client, count) {
  const requests = Array(count).fill({ registry });
  const deadline = Date.now() + 30_000;
  return new Promise((resolve, reject) => {
    client.BatchGetRegistryCredentials({ requests }, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

async function main() {
  const plain = new Service(address, grpc.credentials.createInsecure());
  await call(plain, 100);
  const refused = await call(plain, 20).then(() => assert.fail("the burst is not used up"), (error) => error);
  assert.strictEqual(refused.code, grpc.status.RESOURCE_EXHAUSTED);
  const wait = Number(refused.metadata.get("grpc-retry-pushback-ms")[0]);
  assert(wait > 0, String(wait));
  plain.close();
  const retrying = new Service(address, grpc.credentials.createInsecure(), { "grpc.service_config": JSON.stringify(config) });
  const start = Date.now();
  const { results } = await call(retrying, 20);
  assert.strictEqual(results.length, 20);
  console.log(`ok   answered after ${Date.now() - start} ms; the broker asked for ${wait} ms before`);
  retrying.close();
}

main().catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
