#!/usr/bin/env bash
# Creates certificates with openssl in the given directory: CAs of two trust domains, a third CA with the name of the first,
# the certificates of the broker and of a workload, and certificates with the workload's ID from CAs that may not issue it.
set -euo pipefail
cd "$1"
id=spiffe://a.example/ns/ci/sa/runner

authority() { # FILE NAME
    openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 30 -subj "/CN=$2" \
        -addext "keyUsage=critical,keyCertSign,cRLSign" -keyout "$1.key" -out "$1.pem"
}

signed() { # FILE AUTHORITY SUBJECT-ALTERNATIVE-NAME EXTENDED-USE [KEY-USAGE]
    openssl req -new -newkey rsa:2048 -nodes -subj "/O=example" -keyout "$1.key" -out "$1.csr"
    printf '%s\n' "subjectAltName=$3" "extendedKeyUsage=$4" "keyUsage=critical,${5:-digitalSignature}" \
        "basicConstraints=critical,CA:false" >"$1.ext"
    openssl x509 -req -in "$1.csr" -CA "$2.pem" -CAkey "$2.key" -CAcreateserial -days 7 -extfile "$1.ext" -out "$1.crt"
}

authority a "authority a"
authority b "authority b"
authority same-name "authority a"
signed server a "DNS:localhost,IP:127.0.0.1" serverAuth
signed runner a "URI:$id" clientAuth,serverAuth
signed guest b "URI:spiffe://b.example/ns/ci/sa/runner" clientAuth
signed forged-by-b b "URI:$id" clientAuth
signed forged-by-same-name same-name "URI:$id" clientAuth
signed two-ids a "URI:$id,URI:spiffe://b.example/ns/ci/sa/runner" clientAuth
signed server-only a "URI:$id" serverAuth
