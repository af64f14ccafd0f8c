// Mints one token per algorithm with jose, and writes tokens and keys to a directory.
//
//     node mint.mjs JOSE DIRECTORY ISSUER AUDIENCE SUBJECT
//
// JOSE is the path of the jose module: `import` ignores NODE_PATH.

import { writeFileSync } from "node:fs";
import { pathToFileURL } from "node:url";

const [jose, directory, issuer, audience, subject] = process.argv.slice(2);
const { SignJWT, exportJWK, generateKeyPair } = await import(pathToFileURL(jose));
const keys = [];
for (const alg of ["RS256", "PS256", "ES256", "ES384", "EdDSA"]) {
    const { publicKey, privateKey } = await generateKeyPair(alg, { extractable: true });
    keys.push({ ...(await exportJWK(publicKey)), kid: alg, alg, use: "sig" });
    const token = await new SignJWT({ repository_id: "456" })
        .setProtectedHeader({ alg, kid: alg, typ: "JWT" })
        .setIssuer(issuer)
        .setSubject(subject)
        .setAudience(audience)
        .setIssuedAt()
        .setExpirationTime("10m")
        .sign(privateKey);
    writeFileSync(`${directory}/${alg}.jwt`, token);
}
writeFileSync(`${directory}/jwks.json`, JSON.stringify({ keys }));
