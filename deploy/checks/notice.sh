# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# NOTICE: the licences of the crates in the programs.

need cargo 'the Rust toolchain installer'

lists() { # FILE: it is what the lock file makes it
    deploy/release/notice | diff "$1" - || { echo 'make it again: deploy/release/notice >NOTICE'; return 1; }
}
passes 'NOTICE: the crates of Cargo.lock' lists NOTICE
replaced NOTICE $'\n  moka\n' $'\n' >"$work/NOTICE"
catches 'a crate that NOTICE does not name' lists "$work/NOTICE"
