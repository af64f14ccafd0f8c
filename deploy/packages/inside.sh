#!/bin/bash
# The steps of `deploy/packages/try`, in the container.
set -euo pipefail

registry=123456789012.dkr.ecr.eu-central-1.amazonaws.com
config=/etc/ecr-broker/config.toml
rotation=/etc/logrotate.d/ecr-broker

now() {
    cut --delimiter=' ' --fields=1 /proc/uptime
}
# step WHAT: says so, with the seconds since the last step.
start=$(now)
step() {
    printf '%5.1f s  %s\n' "$(now | awk -v "start=$start" '{ print $1 - start }')" "$*"
    start=$(now)
}
arch=$(dpkg --print-architecture)
deb=$(echo /packages/*_"$arch".deb)
rpm=$(echo /packages/*."$(uname --machine)".rpm)

# Where a step's output goes to a log, too.
exec 3>&1
fail() {
    printf 'failed: %s\n' "$*" >&3
    systemctl status --no-pager --full ecr-broker >&3 || true
    exit 1
}

# A simulated AWS of the package's own program, as another service.
with_simulated_aws() {
    install -m 0755 /usr/bin/ecr-broker /packages/simulated-aws
    systemd-run --quiet --unit=simulated-aws --service-type=exec /packages/simulated-aws simulate-aws --listen 127.0.0.1:4599
    for _ in {1..100}; do
        ! (: </dev/tcp/127.0.0.1/4599) 2>/dev/null || return 0
        sleep 0.1
    done
    fail 'the simulated AWS does not listen'
}

# use_simulated_aws: the operator's settings of the broker.
use_simulated_aws() {
    install -m 0600 /dev/stdin /etc/ecr-broker/environment <<<$'AWS_ENDPOINT_URL=http://127.0.0.1:4599\nAWS_ACCESS_KEY_ID=x\nAWS_SECRET_ACCESS_KEY=x'
}

complete() { # ZSH_DIRECTORY
    local file
    for file in /usr/bin/{ecr-broker,docker-credential-ecr-broker} /usr/lib/systemd/system/ecr-broker.{service,socket} "$config" "$rotation" \
        /usr/share/man/man1/{ecr-broker{,-serve,-config-check},docker-credential-ecr-broker}.1.gz /usr/share/zsh/"$1"/_ecr-broker \
        /usr/share/{bash-completion/completions/ecr-broker,fish/vendor_completions.d/ecr-broker.fish} /usr/share/doc/ecr-broker/copyright; do
        [[ -r $file ]] || fail "$file was not installed"
    done
    getent passwd ecr-broker >/dev/null || fail 'the user ecr-broker is missing'
    getent group ecr-broker >/dev/null || fail 'the group ecr-broker is missing'
    [[ $(systemctl is-enabled ecr-broker) == disabled ]] || fail 'the installation enabled the service'
    [[ $(systemctl is-active ecr-broker) == inactive ]] || fail 'the installation started the service'
}

# password: the password that the broker gives docker's helper, as a caller of the group gets it.
password() {
    setpriv --reuid=daemon --regid=daemon --groups="$(getent group ecr-broker | cut -d: -f3)" \
        docker-credential-ecr-broker get <<<"$registry" | sed -n 's/.*"Secret":"\([^"]*\)".*/\1/p'
}

serves() {
    local got
    got=$(ecr-broker get "$registry") || fail "get: exit code $?"
    grep -q '^username *AWS$' <<<"$got" || fail "get printed: $got"
    [[ -n $(password) ]] || fail "docker's helper got no password"
}

# upgrades LOG COMMAND...: a running broker becomes the new one, and keeps credentials and the operator's configuration.
upgrades() {
    local before pid
    printf '\n# edited by the operator\n' >>"$config"
    before=$(password)
    pid=$(systemctl show --value --property=MainPID ecr-broker)
    "${@:2}" >"$1" 2>&1 || fail "the upgrade failed: $(<"$1")"
    [[ $(systemctl is-active ecr-broker) == active ]] || fail 'the broker does not run after the upgrade'
    [[ $(systemctl show --value --property=MainPID ecr-broker) != "$pid" ]] || fail 'the old broker runs on after the upgrade'
    [[ $(password) == "$before" ]] || fail 'the credential was lost in the upgrade'
    grep -q '^# edited by the operator' "$config" || fail 'the upgrade replaced the configuration'
}

# upgrades_broken LOG COMMAND...: the upgrade of a broker that its configuration keeps from starting succeeds, and says so in the log.
# Then the broker runs again.
upgrades_broken() {
    printf 'no setting\n' >>"$config"
    "${@:2}" >"$1" 2>&1 || fail "the upgrade failed: $(<"$1")"
    grep -q 'does not start' "$1" || fail "the upgrade did not say that the broker does not start: $(<"$1")"
    sed -i '$d' "$config"
    systemctl restart ecr-broker || fail 'systemctl restart'
}

# installed: the files that install.sh may change; one that is replaced has another inode.
installed() {
    find /usr /etc /root -printf '%p %i\n' | sort
}

# refuses TEXT ARGUMENT...: install.sh says so and changes nothing.
refuses() {
    local before
    before=$(installed)
    ! /packages/install.sh --from /packages "${@:2}" >/packages/install.log 2>&1 || fail "install.sh ${*:2} succeeded"
    grep -q -- "$1" /packages/install.log || fail "install.sh: $(</packages/install.log)"
    diff <(echo "$before") <(installed) >/packages/changed || fail "install.sh ${*:2} changed files: $(</packages/changed)"
}

# broken PROGRAM PATTERN COMMAND...: runs the command where PROGRAM fails with arguments of that pattern.
broken() {
    mkdir -p /packages/stubs
    install -m 0755 /dev/stdin "/packages/stubs/$1" <<END
#!/bin/sh
case "\$*" in $2) exit 1 ;; esac
exec $(type -P "$1") "\$@"
END
    local code=0
    PATH=/packages/stubs:$PATH "${@:3}" || code=$?
    rm "/packages/stubs/$1"
    return "$code"
}

# aborts PROGRAM PATTERN: install.sh ends where PROGRAM fails with arguments of that pattern; what it put can be uninstalled.
aborts() {
    ! broken "$@" /packages/install.sh --from /packages >/packages/install.log 2>&1 || fail "install.sh succeeded without $1"
    [[ -e /usr/local/bin/ecr-broker ]] || fail "install.sh ended before $1: $(</packages/install.log)"
    /packages/install.sh --uninstall >/packages/install.log 2>&1 || fail "install.sh --uninstall after $1: $(</packages/install.log)"
}

# gone FILE...: the service is away, and of all files and directories these alone are left.
gone() {
    local left
    left=$(find /usr /etc | sort | comm -3 /packages/clean - | tr -d '\t')
    [[ $left == "$(printf '%s\n' "$@" | sort)" ]] || fail "left after the removal: $left"
    [[ $(systemctl show --value --property=LoadState ecr-broker) == not-found ]] || fail 'the unit is left after the removal'
    ! readlink /proc/[0-9]*/exe | grep -q '^/usr/bin/ecr-broker' || fail 'the broker runs after the removal'
}

export DEBIAN_FRONTEND=noninteractive
find /usr /etc | sort >/packages/clean
apt-get install -q -y --no-install-recommends "$deb" >/packages/apt.log 2>&1 || fail "apt-get install: $(</packages/apt.log)"
complete vendor-completions
refuses 'a package owns the service'
step "deb: installed $(ecr-broker --version)"
with_simulated_aws
use_simulated_aws
systemctl enable --quiet --now ecr-broker || fail 'systemctl enable --now'
serves
step 'deb: service started, credentials for get and docker'
upgrades /packages/apt.log apt-get install -q -y --reinstall "$deb"
upgrades_broken /packages/apt.log apt-get install -q -y --reinstall "$deb"
step 'deb: upgraded while it runs, also with a broken configuration'
apt-get remove -q -y ecr-broker >/packages/apt.log 2>&1 || fail "apt-get remove: $(</packages/apt.log)"
gone /etc/ecr-broker "$config" /etc/ecr-broker/environment "$rotation"
apt-get purge -q -y ecr-broker >/packages/apt.log 2>&1 || fail "apt-get purge: $(</packages/apt.log)"
gone /etc/ecr-broker /etc/ecr-broker/environment
step 'deb: removed and purged'
# systemd refuses everything, as without D-Bus: dpkg gets through, and says what is left to do. apt would set another PATH.
for change in "--install $deb" '--purge ecr-broker'; do
    # shellcheck disable=SC2086 # an action and its operand
    broken systemctl '*' dpkg $change >/packages/dpkg.log 2>&1 || fail "dpkg $change without systemctl: $(</packages/dpkg.log)"
    grep -q 'ecr-broker: run: systemctl daemon-reload' /packages/dpkg.log || fail "dpkg $change said nothing: $(</packages/dpkg.log)"
done
systemctl daemon-reload
gone /etc/ecr-broker /etc/ecr-broker/environment
step 'deb: installed and purged without systemctl'

# Of RPM systems' package "filesystem", so a package for them does not own these.
filesystem=(/usr/share/fish /usr/share/fish/vendor_completions.d /usr/share/zsh/site-functions)
mkdir "${filesystem[@]}"
# Debian's rpm knows none of Debian's packages, so their names cannot be looked up.
rpm --install --nodeps "$rpm" 2>/packages/rpm.log || fail "rpm --install: $(</packages/rpm.log)"
complete site-functions
systemctl start ecr-broker || fail 'systemctl start'
serves
step 'rpm: installed, service started, credentials for get and docker'
upgrades /packages/rpm.log rpm --upgrade --force --nodeps "$rpm"
upgrades_broken /packages/rpm.log rpm --upgrade --force --nodeps "$rpm"
step 'rpm: upgraded while it runs, also with a broken configuration'
rpm --erase ecr-broker 2>/packages/rpm.log || fail "rpm --erase: $(</packages/rpm.log)"
gone /etc/ecr-broker "$config.rpmsave" /etc/ecr-broker/environment "${filesystem[@]}"
rm -r /etc/ecr-broker
rpm --install --nodeps "$rpm" 2>/packages/rpm.log || fail "rpm --install: $(</packages/rpm.log)"
rpm --erase ecr-broker 2>/packages/rpm.log || fail "rpm --erase: $(</packages/rpm.log)"
gone "${filesystem[@]}"
rm -r /usr/share/fish /usr/share/zsh/site-functions
step 'rpm: removed, with and without files of the operator'

refuses 'the unit hides it' --prefix /root/ecr-broker
aborts install '*/ecr-broker.socket.new'
gone
aborts systemd-sysusers ecr-broker.conf
gone /etc/ecr-broker "$config"
rm -r /etc/ecr-broker
step 'archive: aborted and removed'
(umask 077 && /packages/install.sh --from /packages) >/packages/install.log 2>&1 || fail "install.sh: $(</packages/install.log)"
use_simulated_aws
systemctl enable --quiet --now ecr-broker || fail 'systemctl enable --now'
[[ -r /usr/local/share/zsh/site-functions/_ecr-broker ]] || fail 'install.sh installed no completion for zsh'
[[ -r $rotation ]] || fail 'install.sh installed no settings for logrotate'
echo '# edited by the operator' >>"$rotation"
serves
step 'archive: installed under umask 077, service started, credentials for get and docker'
upgrades /packages/install.log /packages/install.sh --from /packages
again() {
    ! /packages/install.sh --from /packages || fail 'install.sh succeeded with a broken configuration'
}
upgrades_broken /packages/install.log again
grep -q '^# edited by the operator' "$rotation" || fail 'the upgrade replaced the settings for logrotate'
step 'archive: upgraded while it runs, also with a broken configuration'
refuses 'has the service' --without-service
refuses 'has the service' --helper-only
refuses 'starts /usr/local/bin/ecr-broker' --prefix /opt/ecr-broker
serves
step 'archive: not narrowed, and not doubled, while it runs'
/packages/install.sh --uninstall >/packages/install.log 2>&1 || fail "install.sh --uninstall: $(</packages/install.log)"
gone /etc/ecr-broker "$config" /etc/ecr-broker/environment "$rotation"
rm "$rotation"
step 'archive: removed'
/packages/install.sh --from /packages >/packages/install.log 2>&1 || fail "install.sh: $(</packages/install.log)"
systemctl enable --quiet --now ecr-broker || fail 'systemctl enable --now'
apt-get install -q -y --no-install-recommends -o Dpkg::Options::=--force-confold "$deb" >/packages/apt.log 2>&1 ||
    fail "apt-get install: $(</packages/apt.log)"
grep -q 'hides the unit of the package' /packages/apt.log || fail "the package said nothing of the other unit: $(</packages/apt.log)"
/packages/install.sh --uninstall >/packages/install.log 2>&1 || fail "install.sh --uninstall: $(</packages/install.log)"
systemctl enable --quiet --now ecr-broker || fail 'systemctl enable --now'
serves
[[ -e $rotation ]] || fail "the archive's removal took the package's settings for logrotate"
apt-get purge -q -y ecr-broker >/packages/apt.log 2>&1 || fail "apt-get purge: $(</packages/apt.log)"
gone /etc/ecr-broker /etc/ecr-broker/environment
step 'archive: replaced by the deb'
/packages/install.sh --from /packages --without-service >/packages/install.log 2>&1 || fail "install.sh: $(</packages/install.log)"
refuses 'has both programs' --without-service --helper-only
/packages/install.sh --uninstall >/packages/install.log 2>&1 || fail "install.sh --uninstall: $(</packages/install.log)"
gone /etc/ecr-broker /etc/ecr-broker/environment
step 'archive: programs alone installed and removed'
/packages/install.sh --from /packages --helper-only --prefix /usr/helper >/packages/install.log 2>&1 || fail "install.sh: $(</packages/install.log)"
/packages/install.sh --uninstall --prefix /usr/helper >/packages/install.log 2>&1 || fail "install.sh --uninstall: $(</packages/install.log)"
gone /etc/ecr-broker /etc/ecr-broker/environment
step "archive: docker's helper alone installed and removed, below a new prefix"
touch /packages/passed
