//! Each class of error has its exit code, and each message says what to do.

use tonic::{Code, Status};

use crate::double::{Double, Script};
use crate::fixture;

fn refusal(code: Code, message: &str, metadata: &[(&'static str, &str)]) -> Status {
    let mut status = Status::new(code, message);
    for (key, value) in metadata {
        status.metadata_mut().insert(*key, value.parse().expect("ascii"));
    }
    status
}

#[test]
fn the_coordinators_refusals_become_exit_codes() {
    let mut text = String::new();
    for (code, message, metadata, expect) in [
        (
            Code::FailedPrecondition,
            "`sha256:bbbbbbbbbbbb` is not tested: no passed report of `ci`",
            &[("nightshift-refusal", "rule"), ("nightshift-hint", "report its tests with `nightshift release report`")]
                [..],
            5,
        ),
        (Code::InvalidArgument, "`limit` is too large", &[("nightshift-refusal", "usage")], 2),
        (Code::NotFound, "there is no app `web`", &[("nightshift-refusal", "not-found")], 1),
        (Code::Aborted, "app `web` has an open rollout", &[("nightshift-refusal", "conflict")], 1),
        (Code::PermissionDenied, "role `viewer` may not start rollouts", &[], 1),
        (
            Code::PermissionDenied,
            "the token `ci-web` of role `ci` may not do this\nhint: it needs role `operator`",
            &[],
            1,
        ),
        (Code::Unimplemented, "", &[], 1),
        (Code::InvalidArgument, "no digest", &[], 2),
        (Code::Internal, "the store failed", &[], 70),
        (Code::ResourceExhausted, "too many tokens", &[("nightshift-refusal", "a-word-of-tomorrow")], 1),
    ] {
        let double = Double::scripted(Script { refusal: Some(refusal(code, message, metadata)), ..Script::default() });
        let arguments = ["rollout", "start", "web"];
        let ran = double.run(&arguments);
        assert_eq!(ran.exit, expect, "{code:?} {message}");
        text.push_str(&ran.transcript(&arguments));
    }
    insta::assert_snapshot!("refusals", text);
}

#[test]
fn a_refused_watch_is_not_tried_again() {
    let status = refusal(Code::NotFound, "there is no rollout `x`", &[("nightshift-refusal", "not-found")]);
    let double = Double::scripted(Script { refusal: Some(status), ..Script::default() });
    let ran = double.run(&["rollout", "watch", "x"]);
    assert_eq!((ran.exit, ran.stderr.as_str()), (1, "error: there is no rollout `x`\n"));
    assert_eq!(double.seen().len(), 1);
}

#[test]
fn wrong_usage_ends_with_2_and_sends_nothing() {
    let digest = &fixture::digest('a');
    let double = Double::new();
    let mut text = String::new();
    for arguments in [
        &["rollout", "start", "web", "--now"][..],
        &["rollout", "start", "web", "--override-freeze"],
        &["rollout", "start", "web", "--now", "--reason", ""],
        &["rollout", "start", "web", "--digest", "sha256:abc"],
        &["rollout", "start", "a b"],
        &["rollout", "start", "web", "--wait", "5"],
        &["rollback", "web", "--to", "latest"],
        &["release", "report", "web", "--digest", digest, "--result", "maybe"],
        &["release", "quarantine", "web", digest],
        &["token", "create", "king"],
        &["token", "create", "ci"],
        &["token", "create", "viewer", "--app", "web"],
        &["quiet", "next"],
        &["quiet", "next", "web", "--file", "app.toml"],
        &["quiet", "next", "web", "--at", "tomorrow"],
        &["rehearse", "app.toml"],
        &["status", "-o", "yaml"],
        &["apply"],
    ] {
        let ran = double.run(arguments);
        assert_eq!(ran.exit, 2, "{arguments:?}");
        assert_eq!(ran.stdout, "", "{arguments:?}");
        text.push_str(&ran.transcript(arguments));
    }
    assert_eq!(double.seen(), Vec::<String>::new());
    insta::assert_snapshot!("usage", text);
}

#[test]
fn what_is_not_in_a_list_is_not_found() {
    let double = Double::new();
    let mut text = String::new();
    for (arguments, expect) in [
        (&["node", "show", "n9"][..], 1),
        (&["release", "show", "web", "sha256:dddd"], 1),
        (&["release", "show", "web", "sha256:"], 1),
    ] {
        let ran = double.run(arguments);
        assert_eq!(ran.exit, expect, "{arguments:?}");
        text.push_str(&ran.transcript(arguments));
    }
    insta::assert_snapshot!("not_found", text);
}
