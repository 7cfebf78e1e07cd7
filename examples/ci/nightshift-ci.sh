#!/bin/sh
# A CI job for an image that Nightshift keeps fresh: build, test, push on success, report the digest. Needs docker and curl.
#
#   nightshift-ci.sh release                      builds, tests, pushes and reports; prints the digest
#   nightshift-ci.sh report DIGEST passed|failed  reports one more suite of a digest that is pushed already (SUITE)
#
# What it does is said by the environment:
#
#   APP                 the app in Nightshift
#   IMAGE               REGISTRY/PATH, as the app follows it, without tag
#   TAG                 the tag that the app follows (default: stable)
#   CONTEXT             directory with the Dockerfile (default: .)
#   TEST                shell line that tests the image $CANDIDATE, such as: docker run --rm "$CANDIDATE" npm test
#   SUITE               name of these tests (default: ci)
#   BUILD_URL           link to this run (default: none)
#   NIGHTSHIFT_SERVER   https://HOST:7443
#   NIGHTSHIFT_TOKEN    a token of role `ci` that is bound to the app
#   NIGHTSHIFT_CA       file with the coordinator's ca.pem; or NIGHTSHIFT_CA_PEM: its text
#
# `docker login` comes before. When a test fails, nothing is pushed, nothing is reported, and the exit code is 1: what no
# registry has needs no verdict. A report that is repeated changes nothing, so a job may be run again.
set -eu

# A coordinator that restarts is back within seconds.
REPORT_RETRIES=6
REPORT_SECONDS=30

say() { printf 'nightshift-ci: %s\n' "$*" >&2; }
die() {
    say "$*"
    exit 2
}

# Makes sure that each of these variables is set.
need() {
    for name in "$@"; do
        eval "value=\${$name:-}"
        # shellcheck disable=SC2154 # set by eval
        [ -n "$value" ] || die "$name is not set; the head of $0 says what it is for"
    done
}

# Text as it stands between quotes in JSON: what would need escapes is in no suite and no link.
plain() { # WHAT TEXT
    case $2 in *[\"\\]* | *[[:cntrl:]]*) die "$1 has a character that cannot be sent: $2" ;; esac
    printf '%s' "$2"
}

work=
clean_up() { [ -z "$work" ] || rm -rf "$work"; }
trap clean_up EXIT
trap 'exit 130' INT
trap 'exit 143' TERM

authority() { # prints the file
    if [ -n "${NIGHTSHIFT_CA:-}" ]; then
        printf '%s' "$NIGHTSHIFT_CA"
        return
    fi
    printf '%s\n' "$NIGHTSHIFT_CA_PEM" >"$work/ca.pem"
    printf '%s' "$work/ca.pem"
}

report() { # DIGEST RESULT
    case $1 in sha256:*) ;; *) die "\`$1\` is no digest: sha256:..." ;; esac
    case $2 in passed | failed) ;; *) die "\`$2\` is no result: passed or failed" ;; esac
    suite=$(plain SUITE "${SUITE:-ci}")
    url=$(plain BUILD_URL "${BUILD_URL:-}")
    body=$(printf '{"digest": "%s", "result": "%s", "suite": "%s", "url": "%s"}' "$1" "$2" "$suite" "$url")
    # The token goes through a pipe: no list of processes shows it.
    printf 'header = "Authorization: Bearer %s"\n' "$NIGHTSHIFT_TOKEN" |
        curl --config - --silent --show-error --fail-with-body --cacert "$(authority)" \
            --retry "$REPORT_RETRIES" --retry-connrefused --max-time "$REPORT_SECONDS" \
            --header 'Content-Type: application/json' --data "$body" \
            "${NIGHTSHIFT_SERVER%/}/v1/apps/$APP/reports" >&2 || {
        say "the report of $1 was not taken"
        exit 1
    }
}

# What the registry calls the image that was just pushed.
pushed_digest() {
    docker image inspect --format '{{range .RepoDigests}}{{println .}}{{end}}' "$IMAGE:$TAG" | sed -n "s|^$IMAGE@||p" | head -n 1
}

release() {
    need TEST
    # --pull: with the newest security fixes of the base.
    docker build --pull --iidfile "$work/image" "${CONTEXT:-.}" >&2
    CANDIDATE=$(cat "$work/image")
    export CANDIDATE
    say "testing $CANDIDATE"
    # Tests have no business with the token.
    if ! env -u NIGHTSHIFT_TOKEN sh -c "$TEST" >&2; then
        say "a test failed: nothing is pushed"
        exit 1
    fi
    docker tag "$CANDIDATE" "$IMAGE:$TAG"
    docker push "$IMAGE:$TAG" >&2
    digest=$(pushed_digest)
    [ -n "$digest" ] || die "docker does not say which digest $IMAGE:$TAG has"
    report "$digest" passed
    printf '%s\n' "$digest"
}

[ "$#" -gt 0 ] || die "usage: $0 release, or $0 report DIGEST passed|failed"
verb=$1
shift
need APP NIGHTSHIFT_SERVER NIGHTSHIFT_TOKEN
[ -n "${NIGHTSHIFT_CA:-}" ] || need NIGHTSHIFT_CA_PEM
TAG=${TAG:-stable}
work=$(mktemp -d)
case $verb in
    release)
        [ "$#" -eq 0 ] || die "usage: $0 release"
        need IMAGE
        release
        ;;
    report)
        [ "$#" -eq 2 ] || die "usage: $0 report DIGEST passed|failed"
        report "$1" "$2"
        ;;
    *) die "unknown verb \`$verb\`: release or report" ;;
esac
