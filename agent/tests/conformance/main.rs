//! One list of checks for every engine: what a replacement asks of it, and how it refuses.
//!
//! Each check runs on the simulated engine, always and under paused time, and on a real one when `NIGHTSHIFT_TEST_ENGINE`
//! names the socket of an engine that `scripts/engines up` (or `scripts/test`) started. So the model stays like the real
//! thing: whoever changes one side sees the other go red. With `NIGHTSHIFT_TEST_PODMAN` they run on Podman too, where some are
//! known to fail ([`podman`]).

mod builds;
mod containers;
mod docker;
mod fixture;
mod health;
mod images;
mod podman;
mod recreation;
mod refusals;
mod simulated;

use std::time::Duration;

/// Longest time of one check on a real engine: the longest waits for a health check and some starts on a busy machine.
const DEADLINE: Duration = Duration::from_secs(90);

macro_rules! checks {
    ($($module:ident: $($check:ident),+ $(,)?;)+) => {
        mod on_the_simulated_engine {
            $($(
                #[tokio::test(start_paused = true)]
                async fn $check() {
                    let fixture = crate::simulated::SimulatedFixture::new();
                    let check = crate::$module::$check(&fixture);
                    tokio::time::timeout(crate::DEADLINE, check).await.expect("in time");
                }
            )+)+
        }

        mod on_a_real_engine {
            $($(
                #[tokio::test]
                async fn $check() {
                    let Some(fixture) = crate::docker::DockerFixture::from_environment(stringify!($check)).await else {
                        return;
                    };
                    let check = crate::$module::$check(&fixture);
                    tokio::time::timeout(crate::DEADLINE, check).await.expect("in time");
                    fixture.clean_up().await;
                }
            )+)+
        }

        mod on_podman {
            $($(
                #[tokio::test]
                async fn $check() {
                    let fixture = crate::docker::DockerFixture::named(crate::podman::VARIABLE, stringify!($check)).await;
                    let Some(fixture) = fixture else { return };
                    crate::podman::judge(stringify!($check), crate::$module::$check(&fixture)).await;
                    fixture.clean_up().await;
                }
            )+)+
        }
    };
}

checks! {
    containers:
        the_engine_says_who_it_is,
        a_container_goes_through_its_states,
        a_name_belongs_to_one_container,
        what_does_not_exist_is_not_found,
        a_running_container_is_not_removed,
        a_host_port_belongs_to_one_running_container,
        a_stop_gives_the_container_its_grace_period,
        a_restart_policy_is_replaced,
        a_container_that_removes_itself_is_gone_after_its_stop,
        a_paused_container_takes_no_start_and_no_command,
        a_second_network_is_connected_before_the_start,
        the_end_of_the_log_is_read,
        a_command_tells_its_exit_code_and_output,
        a_command_that_does_not_end_is_given_up,
        a_containers_own_end_is_told_without_a_kill,
        networks_are_made_found_by_label_and_removed_when_nobody_is_in_them,
        a_container_is_discarded_with_its_unnamed_volumes,
        what_a_command_wrote_is_told_also_when_it_does_not_end;
    health:
        a_healthy_container_says_so,
        an_unhealthy_container_says_so,
        a_stopped_container_is_unhealthy,
        events_are_replayed_from_a_time_on,
        a_stream_shows_what_happens_while_it_is_open;
    images:
        an_image_is_pulled_by_its_digest,
        a_pull_says_why_it_failed,
        a_private_image_is_pulled_with_the_right_password_only,
        a_tag_moves,
        the_last_name_of_a_used_image_stays,
        a_digest_goes_with_the_last_tag_of_its_repository;
    recreation:
        a_container_is_made_again_on_another_image,
        a_replacement_keeps_name_and_data_and_can_be_taken_back;
    refusals:
        a_program_that_does_not_exist_is_not_started,
        a_configuration_that_makes_no_sense_is_refused,
        a_new_name_is_another_and_a_legal_one,
        a_network_is_connected_again_only_before_the_start,
        a_paused_container_is_renamed_and_stopped_but_not_removed,
        a_container_in_a_restart_loop_keeps_its_name_until_it_is_stopped,
        a_container_that_never_ran_is_stopped_without_effect,
        a_log_that_the_driver_does_not_keep_is_refused,
        a_removed_containers_volume_is_kept;
    builds:
        what_is_built_runs,
        an_image_is_built_from_nothing,
        a_build_asks_for_its_base_anew,
        a_failed_build_is_the_sources_own_fault,
        a_base_image_that_cannot_be_had_is_nobodys_fault,
        a_private_base_image_is_fetched_with_the_right_password_only,
        a_context_that_breaks_off_says_why,
        a_build_that_hangs_is_ended_by_its_deadline,
        a_build_that_nobody_waits_for_is_cancelled,
        a_push_gives_the_digest_that_the_registry_serves,
        a_push_says_why_it_failed;
}
