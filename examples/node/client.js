// Requests credentials from a broker: with a deadline, retries and round robin, also over a Unix socket.
//
//     node client.js TARGET SECONDS REGISTRY...
//
// TARGET is unix:/run/ecr-broker/broker.sock, or dns:///broker.example:50051 for several brokers. The folder `protos` is that of
// ecr-broker-stubs-VERSION-typescript.tar.gz.
"use strict";

const path = require("node:path");
const { setTimeout: sleep } = require("node:timers/promises");
const grpc = require("@grpc/grpc-js");
const loader = require("@grpc/proto-loader");

const serviceConfig = JSON.stringify({
  loadBalancingConfig: [{ round_robin: {} }],
  methodConfig: [{ name: [{ service: "ecrbroker.v1.RegistryCredentialsService" }], waitForReady: true }],
});

// Beyond loopback the credentials are those of createSsl.
function connect(target) {
  const includeDirs = [path.join(__dirname, "protos")];
  const definition = loader.loadSync("ecrbroker/v1/registry_credentials.proto", { includeDirs, keepCase: true });
  const { RegistryCredentialsService } = grpc.loadPackageDefinition(definition).ecrbroker.v1;
  const options = { "grpc.service_config": serviceConfig };
  return new RegistryCredentialsService(target, grpc.credentials.createInsecure(), options);
}

async function credentials(broker, registry, timeout) {
  const deadline = Date.now() + timeout;
  for (;;) {
    try {
      return await new Promise((resolve, reject) => {
        broker.GetRegistryCredentials({ registry }, { deadline }, (error, answer) => (error ? reject(error) : resolve(answer.credentials)));
      });
    } catch (error) {
      const delay = retryDelay(error);
      if (!(delay <= deadline - Date.now())) throw error;
      await sleep(delay);
    }
  }
}

// Returns the milliseconds before a retry, if one can help. The trailer has the delay of RetryInfo; a lost connection has none.
function retryDelay(error) {
  const [delay] = error.metadata?.get("grpc-retry-pushback-ms") ?? [];
  if (delay !== undefined) return Number(delay);
  return error.code === grpc.status.UNAVAILABLE ? 200 : undefined;
}

async function main([target, seconds, ...registries]) {
  const broker = connect(target);
  for (const registry of registries) {
    const found = await credentials(broker, registry, seconds * 1000);
    const expires = new Date(found.expire_time.seconds * 1000).toISOString();
    console.log(found.registry, found.username, "until", expires);
  }
  broker.close();
}

main(process.argv.slice(2)).catch((error) => {
  console.error(error);
  process.exitCode = 1;
});
