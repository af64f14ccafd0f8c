# shellcheck shell=bash disable=SC2154 # variables of deploy/check
# Files for hosts: logrotate with a real broker, systemd-tmpfiles, AppArmor's parser.

need logrotate 'apt-get install logrotate'
need systemd-tmpfiles 'apt-get install systemd'
need apparmor_parser 'apt-get install apparmor'
host=deploy/host

rotates() { # SNIPPET
    python3 "$host/rotate.py" "$ECR_BROKER" "$1" >"$work/rotate" 2>&1 || { cat "$work/rotate"; return 1; }
}
passes 'logrotate.d: no record is lost by a rotation under load' rotates "$host/logrotate.d/ecr-broker"
for mistake in 'rotate 90|rotate 1' 'nocreate|create 0666' 'delaycompress|delaycompres'; do
    replaced "$host/logrotate.d/ecr-broker" $'\n    '"${mistake%|*}" $'\n    '"${mistake#*|}" >"$work/logrotate"
    catches "logrotate.d: '${mistake#*|}'" rotates "$work/logrotate"
done

makes_directory() { # FILE
    rm -rf "$work/host"
    mkdir -p "$work/host/run"
    systemd-tmpfiles --create --root="$work/host" "$(realpath "$1")" >"$work/tmpfiles" 2>&1 || { cat "$work/tmpfiles"; return 1; }
    [[ $(stat --format='%F %a %u:%g' "$work/host/run/ecr-broker") == 'directory 750 65532:65532' ]]
}
if ((EUID == 0)); then
    passes 'tmpfiles.d: makes the directory of the socket' makes_directory "$host/tmpfiles.d/ecr-broker.conf"
    replaced "$host/tmpfiles.d/ecr-broker.conf" ' 0750 ' ' 0755 ' >"$work/tmpfiles.conf"
    catches 'a directory that every user can enter' makes_directory "$work/tmpfiles.conf"
else
    printf 'SKIPPED  tmpfiles.d: only root can make directories of another user\n'
fi
# The container's user, to whom the directory belongs.
passes "tmpfiles.d: the image's user" grep -q '^USER 65532:65532$' deploy/container/Containerfile

# The parser says that no kernel keeps its cache here, and succeeds.
parses() { # FILE
    apparmor_parser --skip-kernel-load --skip-cache "$1" >"$work/apparmor" 2>&1 || { cat "$work/apparmor"; return 1; }
}
passes 'apparmor.d: apparmor_parser' parses "$host/apparmor.d/ecr-broker"
replaced "$host/apparmor.d/ecr-broker" 'network inet6 stream,' 'network inet6 strem,' >"$work/apparmor.profile"
catches 'a misspelt rule of AppArmor' parses "$work/apparmor.profile"
# The directories that the unit makes are in the profile, too.
permits() { # FILE
    local directory
    for directory in "/run/$(sed -n 's/^RuntimeDirectory=//p' deploy/systemd/ecr-broker.service)" \
        "/var/log/$(sed -n 's/^LogsDirectory=//p' deploy/systemd/ecr-broker.service)" \
        "/var/lib/$(sed -n 's/^StateDirectory=//p' deploy/systemd/ecr-broker.service)"; do
        grep -qxF "  $directory/** rw," "$1" || return 1
    done
}
passes "apparmor.d: the unit's directories" permits "$host/apparmor.d/ecr-broker"
# So are the programs of the packages and of install.sh.
runs_programs() { # FILE
    local rules program
    # Braces mean in a profile what they mean to bash.
    rules=$(sed -n 's|^  \(/[a-z/{},]*/ecr-broker\) mr,$|\1|p' "$1")
    rules=$(eval "printf '%s\n' $rules")
    for program in "$(sed -n 's/^ExecStart=\([^ ]*\).*/\1/p' deploy/systemd/ecr-broker.service)" \
        "$(sed -n 's/^from=.* prefix=\([^ ]*\) .*/\1/p' deploy/install.sh)/bin/ecr-broker"; do
        grep -qxF "$program" <<<"$rules" || { echo "$program is not in: $rules"; return 1; }
    done
}
passes 'apparmor.d: the programs' runs_programs "$host/apparmor.d/ecr-broker"
replaced "$host/apparmor.d/ecr-broker" '{local/,}' '' >"$work/apparmor.profile"
catches 'a profile without the program of install.sh' runs_programs "$work/apparmor.profile"
replaced "$host/apparmor.d/ecr-broker" '/var/log/ecr-broker/** rw,' '/var/log/ecr-broker/** r,' >"$work/apparmor.profile"
catches 'an audit log that the profile refuses' permits "$work/apparmor.profile"
