//! Podman as one more real engine: the same checks, and which of them it is known not to pass.
//!
//! The list is part of the claim in `docs/podman.md`, so it must stay true both ways: a check that fails must be on it, and
//! one that is on it must fail.

use std::panic::AssertUnwindSafe;
use std::time::Duration;

use futures::FutureExt as _;

use crate::DEADLINE;

/// Names the socket of Podman's service, beside a registry that it knows: `scripts/lib/engines.sh` has `podman_start`.
pub(crate) const VARIABLE: &str = "NIGHTSHIFT_TEST_PODMAN";

/// What is not passed on Podman 4.3, and why.
const FAILS: [(&str, &str); 38] = [
    ("the_engine_says_who_it_is", "no registry on `127.0.0.0/8` is spoken to without TLS unless it is named"),
    (
        "a_stop_gives_the_container_its_grace_period",
        "a stop that is heeded is told as `die` alone, without `kill` and `stop`",
    ),
    ("a_stream_shows_what_happens_while_it_is_open", "the stream of events has no `kill` before the `die`"),
    ("events_are_replayed_from_a_time_on", "`POST /containers/{id}/update` is not there"),
    ("an_image_is_pulled_by_its_digest", "layers are told one after another, without sizes"),
    ("the_last_name_of_a_used_image_stays", "the digest stays"),
    ("a_name_belongs_to_one_container", "the refusal has the status 500 and not 409"),
    ("a_running_container_is_not_removed", "the refusal has the status 500 and not 409"),
    ("a_host_port_belongs_to_one_running_container", "the refusal has other words"),
    ("a_restart_policy_is_replaced", "`POST /containers/{id}/update` is not there"),
    ("a_container_that_removes_itself_is_gone_after_its_stop", "`POST /containers/{id}/update` is not there"),
    ("a_paused_container_takes_no_start_and_no_command", "the refusal has the status 500 and not 409"),
    ("a_healthy_container_says_so", "health checks need systemd"),
    ("an_unhealthy_container_says_so", "health checks need systemd"),
    ("a_stopped_container_is_unhealthy", "health checks need systemd"),
    (
        "a_private_image_is_pulled_with_the_right_password_only",
        "its registry would have to be in `registries.conf` before Podman starts",
    ),
    ("a_digest_goes_with_the_last_tag_of_its_repository", "the digest stays"),
    (
        "a_container_is_made_again_on_another_image",
        "the inspect does not tell the network that the container was created on",
    ),
    (
        "a_replacement_keeps_name_and_data_and_can_be_taken_back",
        "the inspect does not tell the network that the container was created on",
    ),
    ("a_program_that_does_not_exist_is_not_started", "the refusal has the status 500 and not 400"),
    ("a_configuration_that_makes_no_sense_is_refused", "the refusal has the status 500 and not 400"),
    ("a_new_name_is_another_and_a_legal_one", "a rename to the present name is done"),
    ("a_network_is_connected_again_only_before_the_start", "the refusal has the status 500 and not 403"),
    ("a_paused_container_is_renamed_and_stopped_but_not_removed", "`POST /containers/{id}/update` is not there"),
    ("a_container_in_a_restart_loop_keeps_its_name_until_it_is_stopped", "there is no state `restarting`"),
    ("a_container_that_never_ran_is_stopped_without_effect", "`POST /containers/{id}/update` is not there"),
    (
        "networks_are_made_found_by_label_and_removed_when_nobody_is_in_them",
        "the refusal of a name that is taken has the status 500 and not 409",
    ),
    ("what_is_built_runs", "health checks need systemd"),
    ("an_image_is_built_from_nothing", "short names are shown as `docker.io/library/NAME`"),
    ("a_failed_build_is_the_sources_own_fault", "a command's failure is told in other words"),
    (
        "a_base_image_that_cannot_be_had_is_nobodys_fault",
        "`COPY --from` of an image that cannot be fetched is told as an image that is not there, without the reason",
    ),
    (
        "a_private_base_image_is_fetched_with_the_right_password_only",
        "its registry would have to be in `registries.conf` before Podman starts",
    ),
    ("a_context_that_breaks_off_says_why", "what is no tar is refused without a word"),
    ("a_build_that_hangs_is_ended_by_its_deadline", "the command runs on, in no container that is listed"),
    ("a_build_that_nobody_waits_for_is_cancelled", "the command runs on, in no container that is listed"),
    ("a_push_gives_the_digest_that_the_registry_serves", "the digest is told in a sentence only, and not in `aux`"),
    ("a_push_says_why_it_failed", "its registry would have to be in `registries.conf` before Podman starts"),
    ("a_log_that_the_driver_does_not_keep_is_refused", "the refusal has the status 500 and not 501"),
];

/// Longest time of a check that is known to fail. Most fail at once; those that wait for what Podman never says end here, so
/// that all of it costs seconds and not minutes.
const FAILS_WITHIN: Duration = Duration::from_secs(5);

/// Runs a check and compares how it ends with what is known of it.
pub(crate) async fn judge(name: &str, check: impl Future<Output = ()>) {
    let Some((_, why)) = FAILS.iter().find(|(known, _)| *known == name) else {
        tokio::time::timeout(DEADLINE, check).await.expect("in time");
        return;
    };
    let outcome = tokio::time::timeout(FAILS_WITHIN, AssertUnwindSafe(check).catch_unwind()).await;
    let passed = matches!(outcome, Ok(Ok(())));
    assert!(
        !passed,
        "`{name}` passes on Podman and is listed as failing ({why}): take it off the list, and see docs/podman.md"
    );
}
