// Calls a broker with @grpc/grpc-js and the messages of proto/, which @grpc/proto-loader loads.
//
//     node grpc_client.js PROTOS ADDRESS...
//
// PROTOS is a folder with google/rpc/status.proto. ADDRESS is HOST:PORT or unix:/PATH of a broker with a simulated AWS.
// Prints one line per check, and exits with 1 if one fails.
"use strict";

const assert = require("node:assert");
const path = require("node:path");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const PROTO = path.join(__dirname, "../../proto");
const PRIVATE = "123456789012.dkr.ecr.eu-central-1.amazonaws.com";

function service(protos) {
  const definition = loader.loadSync("ecrbroker/v1/registry_credentials.proto", {
    includeDirs: [PROTO, protos],
    keepCase: true,
    enums: String,
    oneofs: true,
  });
  return grpc.loadPackageDefinition(definition).ecrbroker.v1.RegistryCredentialsService;
}

function call(client, method, request) {
  return new Promise((resolve, reject) => {
    const deadline = Date.now() + 10_000;
    client[method](request, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer)));
  });
}

const checks = {
  async private_credentials(client) {
    const request = { registry: `https://${PRIVATE}/team/app:1` };
    const { credentials } = await call(client, "GetRegistryCredentials", request);
    assert.strictEqual(credentials.registry, PRIVATE);
    assert.strictEqual(credentials.username, "AWS");
    assert.strictEqual(credentials.registry_type, "REGISTRY_TYPE_PRIVATE");
    assert(credentials.password.length > 1500);
    const again = await call(client, "GetRegistryCredentials", request);
    assert.strictEqual(again.credentials.cache_status, "CACHE_STATUS_HIT");
  },

  async batch(client) {
    const requests = [{ registry: "public.ecr.aws" }, { registry: "ghcr.io" }];
    const { results } = await call(client, "BatchGetRegistryCredentials", { requests });
    assert.deepStrictEqual(results.map((result) => result.result), ["credentials", "error"]);
    assert.strictEqual(results[1].error.code, grpc.status.INVALID_ARGUMENT);
  },

  async error(client) {
    await assert.rejects(call(client, "GetRegistryCredentials", {}), (error) => {
      assert.strictEqual(error.code, grpc.status.INVALID_ARGUMENT);
      assert.match(error.details, /private_registry/);
      assert.strictEqual(error.metadata.get("grpc-status-details-bin").length, 1);
      return true;
    });
  },
};

async function main([protos, ...addresses]) {
  const Service = service(protos);
  let failed = false;
  for (const address of addresses) {
    const client = new Service(address, grpc.credentials.createInsecure());
    for (const [name, check] of Object.entries(checks)) {
      try {
        await check(client);
        console.log(`ok   ${address} ${name}`);
      } catch (error) {
        failed = true;
        console.log(`FAIL ${address} ${name}: ${error}`);
      }
    }
    client.close();
  }
  process.exitCode = failed ? 1 : 0;
}

if (process.argv.length < 4) {
  console.error("usage: node grpc_client.js PROTOS ADDRESS...");
  process.exitCode = 2;
} else {
  main(process.argv.slice(2));
}
