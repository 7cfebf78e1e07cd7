//! Jobs on engines: how a candidate tests itself, on the simulated and on a real one, and that nothing stays behind.
//!
//! Real engines come from `NIGHTSHIFT_TEST_ENGINE`, as for the conformance suite, whose fixtures are used here.

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
    ($($story:ident),+ $(,)?) => {
        mod on_the_simulated_engine {
            $(
                #[tokio::test(start_paused = true)]
                async fn $story() {
                    let fixture = crate::simulated::SimulatedFixture::new();
                    let story = crate::stories::$story(&fixture);
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
                    let story = crate::stories::$story(&fixture);
                    tokio::time::timeout(crate::DEADLINE, story).await.expect("in time");
                    fixture.clean_up().await;
                }
            )+
        }
    };
}

stories! {
    a_container_that_ends_well_passes,
    a_container_that_ends_badly_fails,
    a_command_that_ends_well_passes,
    a_command_that_fails_fails_with_its_output,
    a_test_that_takes_too_long_fails,
    a_command_that_takes_too_long_fails,
    a_container_that_crashes_before_it_is_ready_fails,
    a_container_that_is_never_healthy_fails,
    a_program_that_is_not_there_fails,
    a_test_that_somebody_stops_is_no_verdict,
    an_image_that_cannot_be_fetched_is_no_verdict,
    an_agent_that_is_killed_leaves_nothing_behind,
    an_agent_that_ends_leaves_nothing_behind,
    a_container_of_a_test_is_no_instance,
    an_image_that_was_here_before_stays,
    what_another_agent_made_is_not_touched,
}
