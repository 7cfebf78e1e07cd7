//! Jobs on engines: how a candidate tests itself and how one is built, on the simulated engine and on a real one, and that
//! nothing stays behind.
//!
//! Real engines come from `NIGHTSHIFT_TEST_ENGINE`, as for the conformance suite, whose fixtures are used here.

mod builds;
#[path = "../conformance/docker.rs"]
mod docker;
mod faults;
#[path = "../conformance/fixture.rs"]
#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod fixture;
mod node;
#[path = "../conformance/simulated.rs"]
mod simulated;
mod stories;

use std::time::Duration;

/// Longest time of one story on a real engine: a test that takes too long, and slow starts on a busy machine.
const DEADLINE: Duration = Duration::from_secs(120);

macro_rules! stories {
    ($($of:ident::$story:ident),+ $(,)?) => {
        mod on_the_simulated_engine {
            $(
                #[tokio::test(start_paused = true)]
                async fn $story() {
                    let fixture = crate::simulated::SimulatedFixture::new();
                    let story = crate::$of::$story(&fixture);
                    tokio::time::timeout(crate::DEADLINE, story).await.expect("in time");
                }
            )+
        }

        mod on_a_real_engine {
            $(
                #[tokio::test]
                async fn $story() {
                    let Some(fixture) = crate::docker::DockerFixture::from_environment(stringify!($story)).await else {
                        return;
                    };
                    let story = crate::$of::$story(&fixture);
                    tokio::time::timeout(crate::DEADLINE, story).await.expect("in time");
                    fixture.clean_up().await;
                }
            )+
        }
    };
}

stories! {
    stories::a_container_that_ends_well_passes,
    stories::a_container_that_ends_badly_fails,
    stories::a_command_that_ends_well_passes,
    stories::a_command_that_fails_fails_with_its_output,
    stories::a_test_that_takes_too_long_fails,
    stories::a_command_that_takes_too_long_fails,
    stories::a_container_that_crashes_before_it_is_ready_fails,
    stories::a_container_that_is_never_healthy_fails,
    stories::a_program_that_is_not_there_fails,
    stories::a_test_that_somebody_stops_is_no_verdict,
    stories::an_image_that_cannot_be_fetched_is_no_verdict,
    stories::an_agent_that_is_killed_leaves_nothing_behind,
    stories::an_agent_that_ends_leaves_nothing_behind,
    stories::a_container_of_a_test_is_no_instance,
    stories::an_image_that_was_here_before_stays,
    stories::what_another_agent_made_is_not_touched,
    builds::what_passes_is_pushed_and_nothing_stays,
    builds::what_fails_its_test_is_pushed_nowhere,
    builds::what_cannot_be_built_is_pushed_nowhere,
    builds::a_base_image_out_of_reach_is_no_verdict,
    builds::a_registry_that_takes_nothing_is_no_verdict,
    builds::what_the_nodes_own_file_does_not_allow_is_refused,
    builds::the_nodes_own_tag_is_given_back,
    builds::an_agent_that_is_killed_while_it_builds_leaves_nothing_behind,
}

/// In real time on both engines: git is real.
mod with_git {
    #[tokio::test]
    async fn a_branch_is_cloned_and_the_clone_goes_on_the_simulated_engine() {
        let fixture = crate::simulated::SimulatedFixture::new();
        crate::builds::a_branch_is_cloned_and_the_clone_goes(&fixture).await;
    }

    #[tokio::test]
    async fn a_branch_is_cloned_and_the_clone_goes_on_a_real_engine() {
        let Some(fixture) = crate::docker::DockerFixture::from_environment("cloned").await else { return };
        crate::builds::a_branch_is_cloned_and_the_clone_goes(&fixture).await;
        fixture.clean_up().await;
    }
}
