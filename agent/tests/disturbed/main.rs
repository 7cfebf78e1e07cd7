//! Real steps on real engines that are disturbed: agent, engine or both are killed at every boundary between two engine
//! calls (the crash matrix), calls fail in every way, and people do something to the container meanwhile.
//!
//! The agent is a process of its own ([`agent`]) behind a proxy ([`proxy`]), at which a test decides about each request. So the
//! program under test has no fault points: it is killed from outside while the proxy holds its request.
//!
//! Nobody wrote down the boundaries of the matrix: an undisturbed step is recorded first, and each change that it makes is one,
//! as is each phase of the journal that comes without a change. Every day nearly all deaths of agents and lost replies are tried,
//! and some cells in which engines die; `scripts/test --full` tries all of them. A cell that fails says how it is run alone.

use nightshift_core::spec::UpdateOrder;

use crate::cell::Version;

mod agent;
mod boundary;
mod cell;
mod failing;
mod people;
mod place;
mod proxy;
mod registry;
mod run;
mod scene;

/// The tests of one update order.
macro_rules! orders {
    ($($module:ident: $order:expr;)+) => {
        $(mod $module {
            use nightshift_core::spec::UpdateOrder;

            use crate::cell::Version;
            use crate::run;

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn a_good_image_survives_every_death_of_the_agent() {
                run::deaths_of_agents($order, Version::Good, run::Extent::All).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_image_that_ends_is_taken_back_through_every_death_of_the_agent() {
                run::deaths_of_agents($order, Version::EndsAtOnce, run::Extent::All).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_unhealthy_image_is_taken_back_through_every_death_of_the_agent() {
                run::deaths_of_agents($order, Version::Unhealthy, run::Extent::All).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn an_image_that_cannot_start_is_taken_back_through_every_death_of_the_agent() {
                run::deaths_of_agents($order, Version::CannotStart, run::Extent::All).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn one_container_runs_after_the_engine_died_at_a_chosen_boundary() {
                run::deaths_of_engines($order, run::Extent::Sample).await;
            }

            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            #[ignore = "minutes: scripts/test --full"]
            async fn one_container_runs_after_the_engine_died_at_any_boundary() {
                run::deaths_of_engines($order, run::Extent::All).await;
            }
        })+
    };
}

orders! {
    stop_first: UpdateOrder::StopFirst;
    start_first: UpdateOrder::StartFirst;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_image_that_is_unhealthy_alone_is_taken_back_through_deaths_of_the_agent() {
    run::deaths_of_agents(UpdateOrder::StartFirst, Version::TurnsBad, run::Extent::Sample).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
#[ignore = "minutes: scripts/test --full"]
async fn an_image_that_is_unhealthy_alone_is_taken_back_through_every_death_of_the_agent() {
    run::deaths_of_agents(UpdateOrder::StartFirst, Version::TurnsBad, run::Extent::All).await;
}
