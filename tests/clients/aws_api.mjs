// Calls the broker's ECR API with @aws-sdk/client-ecr, at AWS_ENDPOINT_URL_ECR.
//
//     node aws_api.mjs NODE_MODULES
//
// Prints the digest of the token's password, to compare it with those of other programs.

import { createHash } from "node:crypto";
import { createRequire } from "node:module";

const require = createRequire(`${process.argv[2]}/`);
const { DescribeRepositoriesCommand, ECRClient, GetAuthorizationTokenCommand } = require("@aws-sdk/client-ecr");

function check(holds, found) {
  if (!holds) throw new Error(JSON.stringify(found));
}

const client = new ECRClient({ region: "eu-central-1" });
const account = "123456789012";

const { authorizationData } = await client.send(new GetAuthorizationTokenCommand({ registryIds: [account] }));
const [entry] = authorizationData;
check(authorizationData.length === 1, authorizationData.length);
check(entry.proxyEndpoint === `https://${account}.dkr.ecr.eu-central-1.amazonaws.com`, entry.proxyEndpoint);
const [user, password] = Buffer.from(entry.authorizationToken, "base64").toString().split(":");
check(user === "AWS", user);
check(entry.expiresAt - Date.now() > 11 * 3600 * 1000 && entry.expiresAt - Date.now() <= 12 * 3600 * 1000, entry.expiresAt);

try {
  await client.send(new DescribeRepositoriesCommand({}));
  check(false, "no error");
} catch (error) {
  check(error.name === "UnknownOperationException" && /unset AWS_ENDPOINT_URL_ECR/.test(error.message), error.message);
  check(error.$metadata.attempts === 1, error.$metadata);
}

const wrongSecret = new ECRClient({ region: "eu-central-1", endpoint: process.env.AWS_ENDPOINT_URL_ECR.replace(/.$/, "") });
try {
  await wrongSecret.send(new GetAuthorizationTokenCommand({}));
  check(false, "no error");
} catch (error) {
  check(error.name === "AccessDeniedException" && error.$metadata.httpStatusCode === 403, error.message);
  check(error.$metadata.attempts === 1, error.$metadata);
}

console.log(createHash("sha256").update(password).digest("hex"));
