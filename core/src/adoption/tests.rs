//! Containers as Watchtower's and Compose's users start them, and the files that come of them. Every file is read by the reader of app
//! files: what is proposed can be applied.

use super::*;
use crate::config::read_app;
use crate::spec::{AppSpec, RolloutMode};
use crate::testing::node;

fn plain(name: &str, image: &str) -> FoundContainer {
    FoundContainer {
        name: name.into(),
        image: image.into(),
        labels: Labels::new(),
        has_health_check: false,
        from_registry: true,
        refusal: None,
    }
}

fn labelled(name: &str, image: &str, labels: &[(&str, &str)]) -> FoundContainer {
    let labels = labels.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
    FoundContainer { labels, ..plain(name, image) }
}

fn compose(name: &str, image: &str, project: &str, service: &str) -> FoundContainer {
    labelled(name, image, &[(COMPOSE_PROJECT, project), (COMPOSE_SERVICE, service)])
}

/// What is proposed for these nodes, `n1` and so on, of which nothing belongs to an app yet. Every file must be good.
fn adopt(nodes: Vec<Vec<FoundContainer>>) -> (Adoption, Vec<AppSpec>) {
    let found: Vec<_> =
        nodes.into_iter().enumerate().map(|(at, containers)| (node(&format!("n{}", at + 1)), containers)).collect();
    let adoption = propose(&found, |_, _| None, &BTreeSet::new());
    let read = |proposal: &Proposal| {
        let spec = read_app("proposed.toml", &proposal.toml).unwrap_or_else(|problems| {
            panic!("{problems:?}\n{}", proposal.toml);
        });
        assert_eq!((&spec.name, &spec.image), (&proposal.app, &proposal.image));
        let mine = |on: &NodeName, one: &FoundContainer| {
            proposal.containers.iter().any(|(node, name)| node == on && *name == one.name)
        };
        for (on, one) in found.iter().flat_map(|(on, containers)| containers.iter().map(move |one| (on, one))) {
            let chosen = spec.instances.matches(&one.name, &one.labels, &one.image, &spec.image.repository);
            assert_eq!(chosen, mine(on, one), "{} on {on} and\n{}", one.name, proposal.toml);
        }
        spec
    };
    let specs = adoption.proposals.iter().map(read).collect();
    (adoption, specs)
}

/// App, image and selector of each proposal.
fn shapes(specs: &[AppSpec]) -> Vec<(String, String, InstanceSelector)> {
    specs.iter().map(|spec| (spec.name.to_string(), spec.image.familiar(), spec.instances.clone())).collect()
}

fn by_name(pattern: &str) -> InstanceSelector {
    InstanceSelector::Name(pattern.parse().expect("well formed"))
}

#[test]
fn equal_images_and_services_become_one_app_over_all_nodes() {
    let shop = "r.example/shop:stable";
    let (adoption, specs) = adopt(vec![
        vec![
            plain("proxy", "nginx"),
            compose("shop-web-1", shop, "shop", "web"),
            compose("shop-web-2", shop, "shop", "web"),
        ],
        vec![
            plain("proxy", "nginx:latest"),
            compose("shop-web-1", shop, "shop", "web"),
            compose("shop-job-1", shop, "shop", "job"),
        ],
    ]);
    assert_eq!(
        shapes(&specs),
        [
            ("job".to_owned(), shop.to_owned(), by_name("shop-job-1")),
            ("nginx".to_owned(), "nginx:latest".to_owned(), by_name("proxy")),
            ("web".to_owned(), shop.to_owned(), by_name("shop-web-*")),
        ]
    );
    assert_eq!(adoption.proposals[2].containers.len(), 3);
    assert_eq!(adoption.left_out, []);
}

#[test]
fn what_finds_a_container_is_its_label_its_name_or_its_image_and_never_another_one() {
    let (image, other) = ("r.example/web:1", "r.example/db:1");
    let mine = |name: &str| labelled(name, image, &[("nightshift.app", "front")]);
    let label = InstanceSelector::Label { key: "nightshift.app".into(), value: "front".into() };
    for (nodes, expect) in [
        (vec![vec![mine("a"), mine("b")]], vec![("front", label)]),
        (vec![vec![plain("web1", image), plain("web12", image)]], vec![("web", by_name("web*"))]),
        // `ab*` would take what is not of this image, and so would nothing but the image.
        (
            vec![vec![plain("abc", image), plain("abk", image), plain("abe", other)]],
            vec![("db", by_name("abe")), ("web", InstanceSelector::Image)],
        ),
        (vec![vec![plain("x", image), plain("y", image)]], vec![("web", InstanceSelector::Image)]),
    ] {
        let (adoption, specs) = adopt(nodes);
        let shapes: Vec<_> = specs.iter().map(|spec| (spec.name.as_str(), spec.instances.clone())).collect();
        assert_eq!(shapes, expect);
        assert_eq!(adoption.left_out, []);
    }
    // One name, one repository, two tags: nothing tells them apart.
    let (adoption, specs) = adopt(vec![vec![plain("web", "r.example/web:1")], vec![plain("web", "r.example/web:2")]]);
    assert_eq!((specs, adoption.left_out.len()), (Vec::new(), 2));
    assert!(adoption.left_out[0].reason.contains("nightshift.app="), "{}", adoption.left_out[0].reason);
}

#[test]
fn what_cannot_be_adopted_is_listed_with_its_reason() {
    let off = labelled("off", "nginx", &[("com.centurylinklabs.watchtower.enable", "false")]);
    let one_off = labelled("once", "nginx", &[(COMPOSE_ONE_OFF, "True")]);
    let removed = FoundContainer { refusal: Some("it was started with --rm".into()), ..plain("rm", "nginx") };
    let built = FoundContainer { from_registry: false, ..plain("built", "mine:dev") };
    let pinned = plain("pinned", &format!("nginx@sha256:{}", "a".repeat(64)));
    let by_id = plain("by-id", &format!("sha256:{}", "b".repeat(64)));
    let both = plain("both", &format!("caddy:2@sha256:{}", "c".repeat(64)));
    let found = [(node("n1"), vec![off, one_off, removed, built, pinned, by_id, both, plain("mine", "web")])];
    let owner = |_: &NodeName, one: &FoundContainer| (one.name == "mine").then(crate::testing::app);
    let adoption = propose(&found, owner, &BTreeSet::new());
    let left: Vec<_> = adoption.left_out.iter().map(|left| (left.container.as_str(), left.reason.as_str())).collect();
    assert_eq!(
        left,
        [
            ("built", "its image never came from a registry: it was built or loaded on the node"),
            ("by-id", "its image is given by an id: there is no tag to follow"),
            ("mine", "belongs to app `web` already"),
            ("off", "its label says `com.centurylinklabs.watchtower.enable=false`"),
            ("once", "a one-off container of `docker compose run`"),
            ("pinned", "its image is given by a digest alone: there is no tag to follow"),
            ("rm", "it was started with --rm"),
        ]
    );
    let kept: Vec<_> = adoption.proposals.iter().map(|one| one.image.familiar()).collect();
    assert_eq!(kept, ["caddy:2"], "a tag with a digest is what Nightshift itself writes");
}

#[test]
fn labels_become_the_words_of_the_file_or_a_remark() {
    let web = labelled(
        "web",
        "r.example/web:stable",
        &[
            ("com.centurylinklabs.watchtower.monitor-only", "true"),
            ("com.centurylinklabs.watchtower.scope", "shop\nname = \"evil\""),
            ("com.centurylinklabs.watchtower.stop-signal", "SIGHUP"),
            ("com.centurylinklabs.watchtower.depends-on", "/db"),
            ("com.centurylinklabs.watchtower.lifecycle.pre-update", "sh -c \"dump > '/backup'\""),
            ("com.centurylinklabs.watchtower.lifecycle.pre-update-timeout", "5"),
            ("com.centurylinklabs.watchtower.lifecycle.post-update", "/warm-up"),
            ("com.centurylinklabs.watchtower.lifecycle.pre-check", "/nothing"),
        ],
    );
    let web = FoundContainer { has_health_check: true, ..web };
    let (adoption, specs) = adopt(vec![vec![web, plain("db", "postgres:17")]]);
    let spec = &specs[1];
    assert_eq!(spec.after, ["postgres".parse().expect("well formed")]);
    assert_eq!(spec.update.mode, RolloutMode::Manual);
    assert_eq!(spec.health, crate::spec::HealthCheck::Docker);
    assert!(!spec.hooks.is_empty());
    insta::assert_snapshot!("watchtower", adoption.proposals[1].toml);
    insta::assert_snapshot!("plain", adoption.proposals[0].toml);
}

#[test]
fn names_are_legal_and_nobody_elses() {
    let image = "r.example/shop/web:1";
    let found = [(
        node("n1"),
        vec![
            compose("a-web-1", image, "a", "web"),
            compose("b-web-1", image, "b", "web"),
            compose("c", image, "c", "wéb ünit"),
            plain("d", image),
        ],
    )];
    let adoption = propose(&found, |_, _| None, &["web".parse().expect("well formed")].into());
    let names: Vec<_> = adoption.proposals.iter().map(|one| one.app.to_string()).collect();
    assert_eq!(names, ["a-web", "b-web", "w-b--nit", "web-2"]);
}

#[test]
fn other_labels_stay_on_the_node() {
    let labels = labelled(
        "x",
        "y",
        &[
            ("traefik.http.middlewares.auth.basicauth.users", "ann:secret"),
            ("com.docker.compose.service", "web"),
            ("com.centurylinklabs.watchtower.scope", "a"),
            ("nightshift.app", "web"),
        ],
    );
    let visible = visible_labels(&labels.labels);
    assert_eq!(visible.len(), 3);
    assert!(!visible.values().any(|value| value.contains("secret")));
}
