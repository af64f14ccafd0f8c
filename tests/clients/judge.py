"""Verifies tokens with PyJWT, with its strictest options.

    python judge.py JWKS ISSUER AUDIENCE < TOKENS

TOKENS has one JSON string per line. Prints one line per token: "ok", or the name of PyJWT's error.
"""

import json
import sys
from pathlib import Path

import jwt

ALGORITHMS = ["RS256", "PS256", "ES256", "ES384", "EdDSA"]
keys = {key.key_id: key for key in jwt.PyJWKSet.from_json(Path(sys.argv[1]).read_text()).keys}
issuer, audience = sys.argv[2:]
options = {"require": ["exp", "iat", "iss", "sub", "aud"], "strict_aud": False}

for line in sys.stdin:
    token = json.loads(line)
    try:
        kid = jwt.get_unverified_header(token).get("kid")
        key = keys.get(kid)
        if key is None:
            raise KeyError(kid)
        jwt.decode(token, key, algorithms=ALGORITHMS, issuer=issuer, audience=audience, leeway=30, options=options)
        print("ok")
    except Exception as error:
        print(type(error).__name__)
