"""Mints one token per algorithm with PyJWT, and writes tokens and keys to a directory.

    python mint.py DIRECTORY ISSUER AUDIENCE SUBJECT
"""

import json
import sys
import time
from pathlib import Path

import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from jwt.algorithms import ECAlgorithm, OKPAlgorithm, RSAAlgorithm

directory, issuer, audience, subject = Path(sys.argv[1]), *sys.argv[2:]
rsa_key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
keys = {
    "RS256": (rsa_key, RSAAlgorithm),
    "PS256": (rsa_key, RSAAlgorithm),
    "ES256": (ec.generate_private_key(ec.SECP256R1()), ECAlgorithm),
    "ES384": (ec.generate_private_key(ec.SECP384R1()), ECAlgorithm),
    "EdDSA": (ed25519.Ed25519PrivateKey.generate(), OKPAlgorithm),
}
now = int(time.time())
claims = {"iss": issuer, "sub": subject, "aud": audience, "iat": now, "nbf": now, "exp": now + 600, "jti": "1", "nested": {"a": [1]}}
jwks = []
for algorithm, (key, kind) in keys.items():
    jwks.append({**kind.to_jwk(key.public_key(), as_dict=True), "kid": algorithm, "alg": algorithm, "use": "sig"})
    jwks[-1].pop("key_ops", None)
    (directory / f"{algorithm}.jwt").write_text(jwt.encode(claims, key, algorithm=algorithm, headers={"kid": algorithm}))
(directory / "jwks.json").write_text(json.dumps({"keys": jwks}))
