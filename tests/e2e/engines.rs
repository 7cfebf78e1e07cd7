//! What the other scenarios stand on: three engines that see the same registry.

use crate::support::Surroundings;

#[test]
fn three_engines_run_an_image_of_the_same_registry() {
    let Some(surroundings) = Surroundings::of("surroundings") else { return };
    let image = surroundings.registry.push_text("web:v1", "one", &[]);
    for engine in &surroundings.engines {
        engine.pull(&image.by_digest());
        let container = engine.run("web", &image.by_digest(), serde_json::json!({}));
        let inspect = engine.inspect(&container);
        assert_eq!(inspect["State"]["Running"], true, "on {}: {inspect}", engine.url());
    }
}
