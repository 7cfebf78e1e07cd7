# shellcheck shell=bash
# Private Docker engines for tests and demonstrations, and a registry that all of them see. Sourced, never run.
#
#   engines_tools                          makes sure of the programs (installs Debian packages where something is missing)
#   engines_start DIR N                    N engines; their sockets are DIR/engine-1.sock ... DIR/engine-N.sock
#   podman_start DIR                       Podman's Docker-compatible service at DIR/engine-podman.sock, as engine `podman`; before
#                                          registry_start, once
#   engine_stop|engine_start DIR K         takes one engine down, in good order, and up again
#   engine_kill DIR K                      the same as a crash: containers live on without their engine
#   engine_end DIR K                       as a service manager ends it: the engine stops its containers itself
#   wire_lay DIR K                         a wire from this network to engine K's: prints its name, and our address on it
#   wire_cut DIR K NAME both|in|out|down   no packet passes; or none reaches the engine's side, or leaves it; or the link is down
#   wire_heal DIR K NAME                   everything passes again
#   wire_remove NAME
#   engine_run DIR K COMMAND...            runs a command in the engine's network (its published ports are on 127.0.0.1 there)
#   registry_start DIR [USER PASSWORD]     a registry at 127.0.0.1:PORT in this network and in every engine's
#   registry_address DIR                   prints 127.0.0.1:PORT
#   registry_stop DIR                      the registry is down; registry_start brings it back with its images and port
#   REGISTRY=NAME registry_start ...       one more registry, with a port of its own
#   engines_cleanup DIR                    ends and removes everything; for `trap ... EXIT`, may be called again and again
#
# Everything lies below DIR, which the caller makes (`mktemp -d`; its path must be short, a socket's path has 107 bytes).
# What a function started is written down there, so that another process can end it. Images: see images.sh.
#
# Each engine has a network namespace of its own. Started with `nsenter --net` and not with `ip netns exec`: the latter
# mounts a new /sys, in which the cgroups are missing, and dockerd refuses to start.
# Safe under `set -euo pipefail`. Every wait has a deadline.

# A loaded machine with two cores needs 10 seconds to start three engines.
ENGINES_START_SECONDS=90
# The engine kills containers after their own grace period of 10 seconds; ours are killed before.
ENGINES_STOP_SECONDS=20
# An engine that stops its containers itself waits for the grace period of each.
ENGINES_END_SECONDS=40
ENGINES_REGISTRY_SECONDS=20
# A socket's path has at most 107 bytes, and `/engine-9/run/containerd/containerd-debug.sock` is the longest below DIR.
ENGINES_DIR_LIMIT_BYTES=60

# Debian keeps some of the programs where only root looks.
PATH=$PATH:/usr/sbin:/sbin

engines_say() { printf 'engines: %s\n' "$*" >&2; }

# What is needed, as `command package` (a path instead of a command is a file).
engines_needs() {
    cat <<'LIST'
dockerd docker.io
docker docker.io
docker-registry docker-registry
busybox busybox-static
podman podman
/usr/lib/podman/netavark netavark
runc runc
unshare util-linux
ip iproute2
iptables iptables
nsenter util-linux
curl curl
jq jq
openssl openssl
docker-credential-ecr-login amazon-ecr-credential-helper
perl perl-base
git git
haproxy haproxy
faketime faketime
socat socat
gcc gcc
/usr/include/stdio.h libc6-dev
LIST
}

engines_has() {
    case $1 in
        /*) [ -e "$1" ] ;;
        # It becomes the only program of an image: it must not need a library.
        busybox) command -v busybox >/dev/null && ! ldd "$(command -v busybox)" 2>/dev/null | grep -q '=>' ;;
        *) command -v "$1" >/dev/null ;;
    esac
}

# Prints the packages that are missing, on one line.
engines_missing() {
    local what package missing=""
    while read -r what package; do
        engines_has "$what" || missing="$missing $package"
    done < <(engines_needs)
    printf '%s' "${missing# }"
}

# The units that start with the machine.
engines_enabled() {
    find /etc/systemd/system -mindepth 2 -type l -path '*.wants/*' -printf '%f\n' 2>/dev/null | sort -u || true
}

engines_tools() {
    local missing log
    missing=$(engines_missing)
    if [ "$(id -u)" != 0 ]; then
        engines_say "must run as root: engines need network namespaces and mounts${missing:+ (missing as well: $missing)}"
        return 1
    fi
    [ -n "$missing" ] || return 0
    if ! command -v apt-get >/dev/null; then
        engines_say "missing: $missing (Debian's package names); there is no apt-get here, install them yourself"
        return 1
    fi
    engines_say "installing: $missing"
    log=$(mktemp)
    # The packages' own services must not start: a policy for the time of the installation, as Debian foresees it.
    local policy=/usr/sbin/policy-rc.d ours=""
    if [ ! -e "$policy" ]; then
        printf '#!/bin/sh\nexit 101\n' >"$policy" && chmod 755 "$policy" && ours=yes
    fi
    local status=0 enabled unit
    enabled=$(engines_enabled)
    # shellcheck disable=SC2086 # a list of words
    { DEBIAN_FRONTEND=noninteractive apt-get -qq update && \
        DEBIAN_FRONTEND=noninteractive apt-get -qq install -y --no-install-recommends $missing; } >"$log" 2>&1 </dev/null || status=1
    [ -z "$ours" ] || rm -f "$policy"
    # Nor at the next start of the machine.
    for unit in $(engines_enabled); do
        grep -qxF -- "$unit" <<<"$enabled" || systemctl --quiet disable "$unit" >>"$log" 2>&1 || true
    done
    missing=$(engines_missing)
    if [ "$status" != 0 ] || [ -n "$missing" ]; then
        tail -n 5 "$log" >&2
        engines_say "could not install: $missing"
        rm -f "$log"
        return 1
    fi
    rm -f "$log"
}

# Waits until a command succeeds: engines_wait SECONDS COMMAND...
engines_wait() {
    local end=$((SECONDS + $1))
    shift
    until "$@" >/dev/null 2>&1; do
        [ "$SECONDS" -lt "$end" ] || return 1
        sleep 0.1
    done
}

engines_gone() { ! kill -0 "$1" 2>/dev/null || [ "$(engines_state "$1")" = Z ]; }
engines_state() { sed -n 's/^State:[[:space:]]*\(.\).*/\1/p' "/proc/$1/status" 2>/dev/null || true; }

# Ends a process that we started: politely, then not. engines_end PID SECONDS
engines_end() {
    engines_gone "$1" && return 0
    kill -TERM "$1" 2>/dev/null || true
    engines_wait "$2" engines_gone "$1" && return 0
    kill -KILL "$1" 2>/dev/null || true
    engines_wait 5 engines_gone "$1" || engines_say "process $1 does not end"
}

# Processes whose command line names a file below a directory: containerd, shims and proxies of its engine.
engines_processes_of() {
    local entry
    for entry in /proc/[0-9]*/cmdline; do
        # A process may be gone by now; the shell itself says so, hence the braces.
        if { tr '\0' ' ' <"$entry"; } 2>/dev/null | grep -qF -- "$1/"; then
            entry=${entry#/proc/}
            [ "${entry%/cmdline}" = "$$" ] || [ "${entry%/cmdline}" = "$BASHPID" ] || printf '%s\n' "${entry%/cmdline}"
        fi
    done
}

engine_api() { # DIR K METHOD PATH
    curl -sS --fail-with-body --max-time 10 --unix-socket "$1/engine-$2.sock" -X "$3" "http://engine$4"
}

# Whether the process of a pid file is there and is the one: a number may have been given to another by now.
engine_pid() { # DIR K
    local pid
    pid=$(cat "$1/engine-$2/pid" 2>/dev/null) || return 1
    [ -n "$pid" ] && { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$1/engine-$2/" && printf '%s\n' "$pid"
}

engine_name() { cat "$1/engine-$2/name" 2>/dev/null; }

engine_run() {
    local dir=$1 number=$2
    shift 2
    nsenter "--net=/var/run/netns/$(engine_name "$dir" "$number")" -- "$@"
}

# Starts the process; does not wait.
engine_launch() { # DIR K
    local home=$1/engine-$2 name
    name=$(engine_name "$1" "$2")
    # The files of a crashed engine would be taken for a running one. That of its containerd even for good, where the
    # first process of the machine does not reap the dead.
    rm -f "$1/engine-$2.sock" "$home/pid" "$home/run/containerd/containerd.pid" "$home"/run/containerd/*.sock*
    # No system-wide configuration: what stands there is for another engine. (Engine 20.10 still makes /etc/docker/key.json.)
    printf '{}\n' >"$home/daemon.json"
    nsenter "--net=/var/run/netns/$name" -- dockerd \
        --config-file "$home/daemon.json" --data-root "$home/data" --exec-root "$home/run" -p "$home/pid" \
        -H "unix://$1/engine-$2.sock" --cgroup-parent "/$name" --exec-opt native.cgroupdriver=cgroupfs \
        >>"$home/log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$home/launched"
    disown
}

engine_up_or_ended() { # DIR K
    engine_api "$1" "$2" GET /_ping || engines_gone "$(cat "$1/engine-$2/launched")"
}

engine_await() { # DIR K
    if ! engines_wait "$ENGINES_START_SECONDS" engine_up_or_ended "$1" "$2" ||
        ! engine_api "$1" "$2" GET /_ping >/dev/null 2>&1; then
        tail -n 15 "$1/engine-$2/log" >&2
        engines_say "engine $2 did not start (deadline $ENGINES_START_SECONDS s); its last words are above"
        return 1
    fi
}

engine_start() {
    engine_launch "$1" "$2"
    engine_await "$1" "$2"
}

# Gives an engine a network of its own.
engine_network() { # DIR K
    local name=nightshift-$$-$2
    # The name may be there from an earlier caller with our process number, or a second set of engines.
    while [ -e "/var/run/netns/$name" ]; do name=$name-$RANDOM; done
    printf '%s\n' "$name" >"$1/engine-$2/name"
    if ! ip netns add "$name" || ! ip -n "$name" link set lo up; then
        engines_say "cannot make a network namespace here: see the line above"
        return 1
    fi
}

engines_start() {
    local dir=$1 count=$2 number
    if [ "${#dir}" -gt "$ENGINES_DIR_LIMIT_BYTES" ]; then
        engines_say "the path \`$dir\` is too long for sockets below it: at most $ENGINES_DIR_LIMIT_BYTES bytes"
        return 1
    fi
    for number in $(seq 1 "$count"); do
        mkdir -p "$dir/engine-$number"
        engine_network "$dir" "$number" || return 1
        engine_launch "$dir" "$number"
    done
    for number in $(seq 1 "$count"); do engine_await "$dir" "$number" || return 1; done
}

# Kills the containers, so that nobody waits for their grace periods, then ends the engine with its containerd.
engine_stop() { # DIR K
    local pid id
    [ "$2" != podman ] || podman_thaw "$1"
    if pid=$(engine_pid "$1" "$2"); then
        for id in $(engine_api "$1" "$2" GET /containers/json 2>/dev/null | jq -r '.[].Id' 2>/dev/null || true); do
            engine_api "$1" "$2" POST "/containers/$id/kill" >/dev/null 2>&1 || true
        done
        engines_end "$pid" "$ENGINES_STOP_SECONDS"
    fi
}

# As a service manager does at a shutdown or an upgrade: the engine itself stops its containers, by their own signals.
engine_end() { # DIR K
    local pid
    pid=$(engine_pid "$1" "$2") || return 0
    kill -TERM "$pid" 2>/dev/null || true
    engines_wait "$ENGINES_END_SECONDS" engines_gone "$pid" || { engines_say "engine $2 does not end"; return 1; }
}

engine_kill() { # DIR K
    local pid containerd
    pid=$(engine_pid "$1" "$2") || return 0
    containerd=$(cat "$1/engine-$2/run/containerd/containerd.pid" 2>/dev/null || true)
    for pid in $pid $containerd; do
        kill -KILL "$pid" 2>/dev/null || true
        engines_wait 5 engines_gone "$pid" || engines_say "engine $2 does not end"
    done
}

# --- Podman -----------------------------------------------------------------------------------------------------------
# Podman has no daemon that could clean up: each container has a watcher of its own, and files, mounts and locks lie in /run and
# /dev/shm of the whole machine. So it lives in namespaces of its own: it has a /run for itself (without systemd, whatever the
# machine has), and when its first process ends, the kernel ends all others and takes the mounts away.

podman_config() { # DIR
    local home=$1/engine-podman
    # The default limits are higher than some machines allow, and then nothing starts.
    cat >"$home/containers.conf" <<CONF
[containers]
default_ulimits = []
[engine]
cgroup_manager = "cgroupfs"
events_logger = "file"
events_logfile_max_size = "100m"
runtime = "runc"
[network]
network_backend = "netavark"
network_config_dir = "$home/networks"
CONF
    # Unlike Docker, Podman asks for TLS on 127.0.0.0/8 too, and it takes no range of ports.
    cat >"$home/registries.conf" <<CONF
[[registry]]
location = "$(registry_address "$1")"
insecure = true
CONF
    cat >"$home/storage.conf" <<CONF
[storage]
driver = "overlay"
graphroot = "$home/data"
runroot = "$home/run"
CONF
}

podman_start() { # DIR
    local dir=$1 home=$1/engine-podman name
    mkdir -p "$home/data" "$home/run" "$home/tmp" "$home/networks"
    registry_port "$dir" || return 1
    podman_config "$dir"
    engine_network "$dir" podman || return 1
    name=$(engine_name "$dir" podman)
    # The shell is the first process there: it takes up whatever loses its parent, and ends all of it on a signal.
    # shellcheck disable=SC2016 # for that shell
    CONTAINERS_CONF=$home/containers.conf CONTAINERS_REGISTRIES_CONF=$home/registries.conf \
        CONTAINERS_STORAGE_CONF=$home/storage.conf TMPDIR=$home/tmp \
        nsenter "--net=/var/run/netns/$name" -- unshare --mount --pid --fork --kill-child --mount-proc -- sh -c '
            trap "exit 0" TERM
            mount -t tmpfs podman-run /run && mount -t tmpfs podman-shm /dev/shm || exit 1
            podman --root "${1}data" --runroot "${1}run" --tmpdir "${1}tmp" system service --time 0 "unix://$2" &
            wait "$!"' podman "$home/" "$dir/engine-podman.sock" >>"$home/log" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$home/launched"
    disown
    engine_await "$dir" podman || return 1
    # Of the two it is the inner one that hears signals.
    tr -d ' \n' <"/proc/$(cat "$home/launched")/task/$(cat "$home/launched")/children" >"$home/pid"
}

# Where cgroups are of version 1, a frozen process cannot be killed, and the first process would wait for it for ever.
podman_thaw() { # DIR
    local container state
    for container in "$1"/engine-podman/data/overlay-containers/*/; do
        container=${container%/}
        for state in /sys/fs/cgroup/freezer/libpod_parent/*"${container##*/}"/freezer.state; do
            [ ! -e "$state" ] || echo THAWED >"$state" || true
        done
    done
}

# The cgroups of its containers, which no namespace takes away. Only ours: another Podman has the same parent, and one that is in
# use is not empty.
podman_sweep() { # DIR
    local container
    for container in "$1"/engine-podman/data/overlay-containers/*/; do
        container=${container%/}
        find /sys/fs/cgroup -depth -type d -path "*/libpod_parent/*${container##*/}*" -exec rmdir {} + 2>/dev/null || true
    done
    find /sys/fs/cgroup -maxdepth 3 -depth -type d \( -name libpod_parent -o -path '*/libpod_parent/conmon' \) \
        -exec rmdir {} + 2>/dev/null || true
}

# Removes what an engine left: shims with their containers, mounts, cgroups, the network namespace.
engine_sweep() { # DIR K
    local home=$1/engine-$2 name pid child point
    name=$(engine_name "$1" "$2") || return 0
    for pid in $(engines_processes_of "$home"); do
        for child in $(cat "/proc/$pid/task/$pid/children" 2>/dev/null || true); do
            case $(cat "/proc/$child/cgroup" 2>/dev/null || true) in
                *"/$name/"*) kill -KILL "$child" 2>/dev/null || true ;;
            esac
        done
        engines_end "$pid" 5
    done
    for pid in $(ip netns pids "$name" 2>/dev/null || true); do
        engines_end "$pid" 5
    done
    awk -v home="$home/" 'index($5, home) == 1 { print $5 }' /proc/self/mountinfo | sort -r | while read -r point; do
        umount -l "$point" 2>/dev/null || true
    done
    [ "$2" != podman ] || podman_sweep "$1"
    find /sys/fs/cgroup -depth -type d \( -path "*/$name" -o -path "*/$name/*" \) -exec rmdir {} + 2>/dev/null || true
    if [ -e "/var/run/netns/$name" ]; then
        ip netns del "$name" || engines_say "network namespace $name stays"
    fi
}

engines_numbers() { # DIR: the numbers of the engines that were made
    local home
    for home in "$1"/engine-*/name; do
        [ -e "$home" ] || continue
        home=${home%/name}
        printf '%s\n' "${home##*/engine-}"
    done
}

engines_stop() {
    local number
    # At the same time: each may take its whole deadline. A wait for these only, the caller may have other children.
    local waits=()
    for number in $(engines_numbers "$1"); do
        engine_stop "$1" "$number" &
        waits+=($!)
    done
    [ "${#waits[@]}" = 0 ] || wait "${waits[@]}" || true
    for number in $(engines_numbers "$1"); do engine_sweep "$1" "$number"; done
}

# --- wires ------------------------------------------------------------------------------------------------------------
# Who runs in an engine's network reaches this one by a wire, and a cut wire is what it is for a node behind a broken network:
# no packet comes, and nobody says so. Addresses are of 198.18.0.0/15, which is kept free for tests, four for each wire.

wire_lay() { # DIR K
    local engine number base address
    engine=$(engine_name "$1" "$2")
    for _ in $(seq 1 50); do
        number=$RANDOM
        base=$((number * 4))
        address=198.$((18 + base / 65536)).$((base / 256 % 256))
        # The name is taken: by another wire.
        ip link add "nsw$number" type veth peer name "nsw$number" netns "$engine" 2>/dev/null || continue
        ip addr add "$address.$((base % 256 + 1))/30" dev "nsw$number"
        ip link set "nsw$number" up
        ip -n "$engine" addr add "$address.$((base % 256 + 2))/30" dev "nsw$number"
        ip -n "$engine" link set "nsw$number" up
        printf 'nsw%s %s.%s\n' "$number" "$address" "$((base % 256 + 1))"
        return 0
    done
    engines_say "cannot lay a wire to the network of engine $2"
    return 1
}

wire_rule() { # DIR K NAME VERB CHAIN
    local way=-i
    [ "$5" = INPUT ] || way=-o
    engine_run "$1" "$2" iptables -w 10 "$4" "$5" "$way" "$3" -j DROP
}

wire_cut() { # DIR K NAME WAY
    case $4 in
        both) wire_rule "$1" "$2" "$3" -I INPUT && wire_rule "$1" "$2" "$3" -I OUTPUT ;;
        in) wire_rule "$1" "$2" "$3" -I INPUT ;;
        out) wire_rule "$1" "$2" "$3" -I OUTPUT ;;
        # The cable is out: the other side sees no carrier.
        down) ip -n "$(engine_name "$1" "$2")" link set "$3" down ;;
        *) engines_say "\`$4\` is no way to cut a wire: allowed are both, in, out, down"; return 1 ;;
    esac
}

wire_heal() { # DIR K NAME
    local chain
    for chain in INPUT OUTPUT; do
        while wire_rule "$1" "$2" "$3" -D "$chain" 2>/dev/null; do :; done
    done
    ip -n "$(engine_name "$1" "$2")" link set "$3" up
}

wire_remove() { # NAME: it may be gone with the engine's network
    ip link del "$1" 2>/dev/null || true
}

# --- registry ---------------------------------------------------------------------------------------------------------
# One process per network namespace over one directory, each on its own loopback: so every engine sees the registry under
# the same address, needs no permission for plain HTTP (engines allow it on 127.0.0.0/8), and no packet leaves the
# machine. The cache of blob descriptors is off: a process must see at once what another one stored.

registry_home() { printf '%s/%s\n' "$1" "${REGISTRY:-registry}"; }

registry_address() { printf '127.0.0.1:%s\n' "$(cat "$(registry_home "$1")/port")"; }

registry_config() { # DIR PORT
    printf 'version: 0.1\nlog: {level: warn}\nstorage:\n  filesystem: {rootdirectory: %s}\n' "$(registry_home "$1")/data"
    printf '  maintenance: {uploadpurging: {enabled: false}}\nhttp: {addr: "127.0.0.1:%s"}\n' "$2"
    if [ -s "$(registry_home "$1")/htpasswd" ]; then
        printf 'auth:\n  htpasswd: {realm: nightshift-test, path: %s}\n' "$(registry_home "$1")/htpasswd"
    fi
}

# A port that is free in this network. Below 32768: the kernel gives those to nobody on its own account.
registry_free_port() {
    local port
    for _ in $(seq 1 200); do
        port=$((10240 + RANDOM % 20000))
        (exec 3<>"/dev/tcp/127.0.0.1/$port") 2>/dev/null || { printf '%s\n' "$port"; return 0; }
    done
    return 1
}

registry_answers() { # DIR PREFIX...
    local dir=$1 status
    shift
    status=$("$@" curl -s -o /dev/null -w '%{http_code}' --max-time 2 "http://$(registry_address "$dir")/v2/") || return 1
    [ "$status" = 200 ] || [ "$status" = 401 ]
}

registry_launch() { # DIR WHERE PREFIX...
    local dir=$1 where=$2 home
    home=$(registry_home "$1")
    shift 2
    "$@" docker-registry serve "$home/config.yml" >>"$home/log-$where" 2>&1 </dev/null &
    printf '%s\n' "$!" >"$home/pid-$where"
    disown
    if ! engines_wait "$ENGINES_REGISTRY_SECONDS" registry_answers "$dir" "$@"; then
        tail -n 5 "$home/log-$where" >&2
        engines_say "the registry ($where) did not start within $ENGINES_REGISTRY_SECONDS s; its last words are above"
        return 1
    fi
}

# Chooses the registry's port, once and for all.
registry_port() { # DIR
    local port home
    home=$(registry_home "$1")
    mkdir -p "$home/data"
    [ ! -e "$home/port" ] || return 0
    port=$(registry_free_port) || { engines_say "no free port for the registry"; return 1; }
    printf '%s\n' "$port" >"$home/port"
}

registry_start() {
    local dir=$1 number home
    home=$(registry_home "$1")
    registry_port "$dir" || return 1
    if [ "$#" = 3 ]; then
        # bcrypt is all that the registry takes; perl is on every Debian and reaches it through the C library.
        # shellcheck disable=SC2016 # for perl
        NAME=$2 WORD=$3 perl -e '
            my $salt = join "", map { (".", "/", "A".."Z", "a".."z", 0..9)[rand 64] } 1..21;
            print "$ENV{NAME}:", crypt($ENV{WORD}, q($2b$05$) . $salt . "u"), "\n"' >"$home/htpasswd"
    fi
    registry_config "$dir" "$(cat "$home/port")" >"$home/config.yml"
    registry_launch "$dir" host env || return 1
    for number in $(engines_numbers "$dir"); do
        registry_launch "$dir" "$number" nsenter "--net=/var/run/netns/$(engine_name "$dir" "$number")" -- || return 1
    done
}

registry_stop() {
    local file pid
    for file in "$(registry_home "$1")"/pid-*; do
        [ -e "$file" ] || continue
        pid=$(cat "$file")
        if { tr '\0' ' ' <"/proc/$pid/cmdline"; } 2>/dev/null | grep -qF -- "$(registry_home "$1")/"; then
            engines_end "$pid" 5
        fi
        rm -f "$file"
    done
}

# --- all of it --------------------------------------------------------------------------------------------------------

engines_cleanup() {
    local dir=$1
    [ -n "$dir" ] && [ -d "$dir" ] || return 0
    # Not interrupted half way by an impatient second Ctrl-C.
    trap '' INT TERM
    local home
    for home in "$dir"/*/config.yml; do
        [ -e "$home" ] || continue
        home=${home%/config.yml}
        REGISTRY=${home##*/} registry_stop "$dir"
    done
    engines_stop "$dir"
    if grep -qF " $dir/" /proc/self/mountinfo; then
        engines_say "something is still mounted below $dir: not removed"
        return 1
    fi
    rm -rf -- "$dir"
}
