# shellcheck shell=bash
# Small images, made on the spot and put straight into a registry: no engine, no builder, nothing from outside.
# Sourced, never run; needs engines.sh.
#
#   image_push DIR REPOSITORY:TAG [OPTION VALUE]...       prints the digest
#
#   --text TEXT          what the web server of the image answers (default: the tag)
#   --cmd SHELL          what it runs instead of the web server on port 80, a line for sh
#   --env K=V            may be repeated, as --label and --volume
#   --label K=V
#   --volume PATH        declared volume
#   --health SHELL       health check, a line for sh; `web` asks the image's own web server; `none` (default) has none
#   --health-interval S  seconds between checks (default 1; decimals are good), --health-retries N (default 2),
#   --health-start S     start period (default 0)
#   --stop-signal NAME
#   --created TIME       RFC 3339 (default: now)
#   --config JSON        the configuration as the engine's API writes it, in place of command, variables, port and labels
#   --file PATH          one more file, in the image's root directory
#   --platform OS/ARCH   what it says it was built for (default: this machine's); its program is this machine's in any case
#   --login USER:WORD    for a registry that wants to know
#
# An image is `FROM scratch`: one layer with the static busybox, the same in all images, and one with the text. Its program
# `rest SECONDS` does nothing, and ends at once when it is asked to: `sleep` as a container's first process takes no signal.

image_hash() { printf 'sha256:%s\n' "$(sha256sum "$1" | cut -d' ' -f1)"; }

image_tar() { # FROM TO: always the same bytes for the same files
    tar --sort=name --mtime=@0 --owner=0 --group=0 --numeric-owner -C "$1" -cf "$2" .
    gzip -n -c "$2" >"$2.gz"
}

image_base() { # DIR: makes the layer that all images share, once
    local applet work
    mkdir -p "$1/images"
    [ ! -e "$1/images/base.tar.gz" ] || return 0
    # Several may do this at the same time: each on its own, the bytes are the same, and a rename is whole.
    work=$(mktemp -d "$1/images/XXXXXX")
    mkdir -p "$work/base/bin" "$work/base/tmp" "$work/base/data"
    cp "$(command -v busybox)" "$work/base/bin/busybox"
    for applet in sh httpd sleep wget cat echo env test true false touch rm mkdir ls kill date nc seq dd hostname; do
        ln -s busybox "$work/base/bin/$applet"
    done
    # shellcheck disable=SC2016 # for the image's shell
    printf '#!/bin/sh\ntrap "kill \\$!; exit 0" TERM INT QUIT USR1\nsleep "${1:-500}" &\nwait\n' >"$work/base/bin/rest"
    chmod 755 "$work/base" "$work/base/bin/rest"
    chmod 1777 "$work/base/tmp"
    image_tar "$work/base" "$work/base.tar"
    mv "$work/base.tar" "$1/images/base.tar"
    mv "$work/base.tar.gz" "$1/images/base.tar.gz"
    rm -rf -- "$work"
}

image_curl() { # LOGIN ARGUMENTS...: the login goes through a file descriptor, no process list shows it
    local login=$1
    shift
    curl -sS --fail-with-body --max-time 60 ${login:+-K} ${login:+<(printf 'user = "%s"\n' "$login")} "$@"
}

image_blob() { # URL LOGIN FILE
    local url=$1 login=$2 file=$3 digest location
    digest=$(image_hash "$file")
    if image_curl "$login" -o /dev/null -I "$url/blobs/$digest" 2>/dev/null; then return 0; fi
    location=$(image_curl "$login" -o /dev/null -D - -X POST "$url/blobs/uploads/" |
        tr -d '\r' | sed -n 's/^[Ll]ocation: //p') || return 1
    [ -n "$location" ] || { engines_say "the registry at $url gave no place for an upload"; return 1; }
    image_curl "$login" -o /dev/null -X PUT -H 'Content-Type: application/octet-stream' --data-binary "@$file" \
        "$location&digest=$digest"
}

image_architecture() {
    case $(uname -m) in
        x86_64) echo amd64 ;;
        aarch64) echo arm64 ;;
        *) uname -m ;;
    esac
}

# The image's configuration, as the engine writes it.
image_config() { # WHOLE CREATED PLATFORM CMD HEALTH INTERVAL RETRIES START SIGNAL LISTS DIFF_IDS...
    local whole=$1
    shift
    # shellcheck disable=SC2016 # for jq
    jq -cn --argjson whole "$whole" --arg created "$1" --arg platform "$2" --arg cmd "$3" --arg health "$4" --argjson interval "$5" \
        --argjson retries "$6" --argjson start "$7" --arg signal "$8" --argjson lists "$9" --args '
        def pairs: map(capture("^(?<key>[^=]*)=(?<value>.*)$")) | from_entries;
        ($platform / "/") as $names |
        {created: $created, os: $names[0], architecture: $names[1],
         rootfs: {type: "layers", diff_ids: $ARGS.positional},
         history: [{created: $created, created_by: "busybox"}, {created: $created, created_by: "text"}],
         config: ($whole // {Env: (["PATH=/bin"] + $lists.env), Cmd: ["sh", "-c", $cmd], WorkingDir: "/", ExposedPorts: {"80/tcp": {}},
             Labels: ($lists.label | pairs)}
           + (if $lists.volume == [] then {} else {Volumes: ($lists.volume | map({(.): {}}) | add)} end)
           + (if $signal == "" then {} else {StopSignal: $signal} end)
           + (if $health == "none" then {} else {Healthcheck: {Test: ["CMD-SHELL", $health],
                Interval: ($interval * 1e9 | floor), Timeout: 5000000000, Retries: $retries,
                StartPeriod: ($start * 1e9 | floor)}} end))}' "${@:10}"
}

image_push() {
    local dir=$1 name=$2
    shift 2
    local repository=${name%:*} tag=${name##*:}
    local text=$tag cmd="" health=none interval=1 retries=2 start=0 signal="" created="" login="" whole=null file="" platform
    platform=linux/$(image_architecture)
    local lists='{"env": [], "label": [], "volume": []}'
    while [ "$#" -gt 0 ]; do
        [ "$#" -ge 2 ] || { engines_say "image_push: \`$1\` needs a value"; return 1; }
        case $1 in
            --text) text=$2 ;;
            --cmd) cmd=$2 ;;
            --env | --label | --volume)
                # shellcheck disable=SC2016 # for jq
                lists=$(jq -c --arg list "${1#--}" --arg value "$2" '.[$list] += [$value]' <<<"$lists") ;;
            --health) health=$2 ;;
            --health-interval) interval=$2 ;;
            --health-retries) retries=$2 ;;
            --health-start) start=$2 ;;
            --stop-signal) signal=$2 ;;
            --created) created=$2 ;;
            --config) whole=$2 ;;
            --file) file=$2 ;;
            --platform) platform=$2 ;;
            --login) login=$2 ;;
            *) engines_say "image_push: unknown option \`$1\`"; return 1 ;;
        esac
        shift 2
    done
    # The first process of a container gets no signal that it does not ask for: without the trap, each stop would take
    # its whole grace period.
    [ -n "$cmd" ] || cmd="trap 'exit 0' TERM; httpd -f -p 80 -h /www & echo serving; wait"
    [ "$health" != web ] || health='wget -q -O /dev/null http://127.0.0.1/'
    [ -n "$created" ] || created=$(date -u +%Y-%m-%dT%H:%M:%S.%NZ)
    image_base "$dir" || return 1
    local work url
    work=$(mktemp -d "$dir/images/XXXXXX")
    url="http://$(registry_address "$dir")/v2/$repository"
    mkdir -p "$work/text/www"
    printf '%s\n' "$text" >"$work/text/www/index.html"
    [ -z "$file" ] || cp "$file" "$work/text/"
    image_tar "$work/text" "$work/text.tar"
    image_config "$whole" "$created" "$platform" "$cmd" "$health" "$interval" "$retries" "$start" "$signal" "$lists" \
        "$(image_hash "$dir/images/base.tar")" "$(image_hash "$work/text.tar")" >"$work/config.json" || return 1
    image_manifest "$dir/images/base.tar.gz" "$work" >"$work/manifest.json" || return 1
    image_blob "$url" "$login" "$dir/images/base.tar.gz" || return 1
    image_blob "$url" "$login" "$work/text.tar.gz" || return 1
    image_blob "$url" "$login" "$work/config.json" || return 1
    image_curl "$login" -o /dev/null -X PUT -H 'Content-Type: application/vnd.docker.distribution.manifest.v2+json' \
        --data-binary "@$work/manifest.json" "$url/manifests/$tag" || return 1
    image_hash "$work/manifest.json"
    rm -rf -- "$work"
}

image_manifest() { # BASE WORK
    # shellcheck disable=SC2016 # for jq
    jq -cn --arg config "$(image_hash "$2/config.json")" --argjson config_size "$(stat -c %s "$2/config.json")" \
        --arg base "$(image_hash "$1")" --argjson base_size "$(stat -c %s "$1")" \
        --arg text "$(image_hash "$2/text.tar.gz")" --argjson text_size "$(stat -c %s "$2/text.tar.gz")" '
        def layer($digest; $size):
            {mediaType: "application/vnd.docker.image.rootfs.diff.tar.gzip", size: $size, digest: $digest};
        {schemaVersion: 2, mediaType: "application/vnd.docker.distribution.manifest.v2+json",
         config: {mediaType: "application/vnd.docker.container.image.v1+json", size: $config_size, digest: $config},
         layers: [layer($base; $base_size), layer($text; $text_size)]}'
}

# Makes a tag point to a digest that is there already: image_retag DIR REPOSITORY DIGEST TAG [USER:WORD]
image_retag() {
    local url work login=${5:-} media='application/vnd.docker.distribution.manifest.v2+json'
    url="http://$(registry_address "$1")/v2/$2/manifests"
    work=$(mktemp "$1/images/XXXXXX")
    image_curl "$login" -o "$work" -H "Accept: $media" "$url/$3" &&
        image_curl "$login" -o /dev/null -X PUT -H "Content-Type: $media" --data-binary "@$work" "$url/$4" || return 1
    rm -f "$work"
}

# Signs a digest as cosign does, with OpenSSL, in the place of earlier signatures. The text that is signed names another digest where
# one is given.
image_sign() { # DIR REPOSITORY DIGEST KEY [NAMED]
    local dir=$1 repository=$2 digest=$3 key=$4 named=${5:-$3} work url
    mkdir -p "$dir/images"
    work=$(mktemp -d "$dir/images/XXXXXX")
    url="http://$(registry_address "$dir")/v2/$repository"
    printf '{"critical":{"identity":{"docker-reference":"%s"},"image":{"docker-manifest-digest":"%s"},"type":"cosign container image signature"},"optional":null}' \
        "$repository" "$named" >"$work/payload"
    printf '{}' >"$work/config.json"
    # shellcheck disable=SC2016 # for jq
    jq -cn --arg signature "$(openssl dgst -sha256 -sign "$key" "$work/payload" | base64 -w0)" \
        --arg payload "$(image_hash "$work/payload")" --argjson size "$(wc -c <"$work/payload")" --arg config "$(image_hash "$work/config.json")" '
        {schemaVersion: 2, mediaType: "application/vnd.oci.image.manifest.v1+json",
         config: {mediaType: "application/vnd.oci.image.config.v1+json", size: 2, digest: $config},
         layers: [{mediaType: "application/vnd.dev.cosign.simplesigning.v1+json", size: $size, digest: $payload,
                   annotations: {"dev.cosignproject.cosign/signature": $signature}}]}' >"$work/manifest.json" || return 1
    image_blob "$url" "" "$work/payload" || return 1
    image_blob "$url" "" "$work/config.json" || return 1
    image_curl "" -o /dev/null -X PUT -H 'Content-Type: application/vnd.oci.image.manifest.v1+json' \
        --data-binary "@$work/manifest.json" "$url/manifests/${digest/:/-}.sig" || return 1
    rm -rf -- "$work"
}

# Puts an index at REPOSITORY:TAG that names these images for these platforms; prints its digest.
image_index() { # DIR REPOSITORY:TAG DIGEST PLATFORM [DIGEST PLATFORM]...
    local dir=$1 name=$2 entries='[]' kind=application/vnd.docker.distribution.manifest work url size
    shift 2
    work=$(mktemp -d "$dir/images/XXXXXX")
    url="http://$(registry_address "$dir")/v2/${name%:*}"
    while [ "$#" -ge 2 ]; do
        size=$(image_curl "" -H "Accept: $kind.v2+json" "$url/manifests/$1" | wc -c) || return 1
        # shellcheck disable=SC2016 # for jq
        entries=$(jq -c --arg kind "$kind.v2+json" --arg digest "$1" --arg platform "$2" --argjson size "$size" '
            ($platform / "/") as $names |
            . + [{mediaType: $kind, size: $size, digest: $digest, platform: {os: $names[0], architecture: $names[1]}}]' <<<"$entries")
        shift 2
    done
    # shellcheck disable=SC2016 # for jq
    jq -cn --arg kind "$kind.list.v2+json" --argjson entries "$entries" \
        '{schemaVersion: 2, mediaType: $kind, manifests: $entries}' >"$work/index.json" || return 1
    image_curl "" -o /dev/null -X PUT -H "Content-Type: $kind.list.v2+json" --data-binary "@$work/index.json" \
        "$url/manifests/${name##*:}" || return 1
    image_hash "$work/index.json"
    rm -rf -- "$work"
}
