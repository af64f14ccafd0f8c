// Catches an outage of AWS behind the broker's ECR API as users of @aws-sdk/client-ecr do, at AWS_ENDPOINT_URL_ECR.
//
//     node aws_outage.mjs NODE_MODULES

import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const ecr = require("@aws-sdk/client-ecr");

async function failure(parameters) {
  const client = new ecr.ECRClient({ region: "eu-central-1", maxAttempts: 2 });
  return client.send(new ecr.GetAuthorizationTokenCommand(parameters)).catch((error) => error);
}

const outage = await failure({});
if (!(outage instanceof ecr.ServerException)) throw outage;
if (outage.$metadata.httpStatusCode !== 500 || outage.$metadata.attempts !== 2) throw new Error(JSON.stringify(outage.$metadata));
const invalid = await failure({ registryIds: ["12"] });
if (!(invalid instanceof ecr.InvalidParameterException)) throw invalid;
console.log("caught");
