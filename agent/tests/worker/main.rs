//! The worker on engines: stories on the simulated and on a real one, crashes and faults at every call on the simulated
//! one.
//!
//! Real engines come from `NIGHTSHIFT_TEST_ENGINE`, as for the conformance suite, whose fixtures are used here.

mod admission;
mod crashes;
#[path = "../conformance/docker.rs"]
mod docker;
#[path = "../conformance/fixture.rs"]
#[expect(dead_code, reason = "the conformance suite uses the rest")]
mod fixture;
mod interrupted;
mod node;
mod podman;
mod probes;
#[path = "../conformance/simulated.rs"]
mod simulated;
mod stories;
mod together;

use std::time::Duration;

/// Longest time of one story on a real engine: two deadlines, a monitor period and slow starts on a busy machine.
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
    a_good_image_takes_over_name_data_and_settings,
    an_unhealthy_image_is_taken_back,
    an_image_that_ends_is_taken_back,
    a_stopped_container_is_replaced_and_stays_stopped,
    a_paused_container_is_left_alone,
    a_container_in_a_restart_loop_is_replaced,
    a_failing_command_takes_the_image_back,
    an_image_is_fetched_ahead_and_held,
    earlier_images_are_let_go,
    what_shares_its_network_is_replaced_with_it,
    what_shares_its_network_is_taken_back_with_it,
    with_start_first_the_old_one_stops_when_the_new_one_is_healthy,
    with_start_first_a_bad_image_never_disturbs_the_old_one,
    start_first_is_refused_where_only_one_can_have_the_port,
}
