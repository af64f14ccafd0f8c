# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# deploy/check itself, in a copy with small parts: one that fails fails the whole, first or last, and its lines are printed.

copy=$work/copy
mkdir --parents "$copy/deploy/checks" "$copy/deploy/container"
cp deploy/check "$copy/deploy/"
cp deploy/container/build "$copy/deploy/container/"
printf 'passes "a good part" true\n' | tee "$copy/deploy/checks/good.sh" >"$copy/deploy/checks/other.sh"
printf 'echo the line before\nfalse\ntrue\n' >"$copy/deploy/checks/ended.sh"
printf 'fail "a planted mistake"\n' >"$copy/deploy/checks/mistake.sh"
broker=$(realpath "$ECR_BROKER")

copied() { # PART...
    ECR_BROKER=$broker TOOLS=$tools "$copy/deploy/check" "$@" >"$work/log" 2>&1 || { cat "$work/log"; return 1; }
}
says() { # TEXT
    grep --quiet --fixed-strings -- "$1" "$work/log" || fail "the check ended otherwise: $(<"$work/log")"
}
passes 'check: parts without a mistake' copied good other
catches 'a part that ends at a command' copied ended good other
says 'the line before'
says 'part ended failed'
catches 'a last part that fails' copied good other mistake
says 'a planted mistake'
catches 'a single part that fails' copied ended
