//! Images: pulls, tags, removals.

use nightshift_agent::engine::{Error, PullFailure};
use nightshift_core::image::Digest;
use serde_json::{Value, json};

use crate::fixture::{Fixture, Image, Kind, created_from, login, pulled};

async fn id_of(fixture: &dyn Fixture, reference: &str) -> String {
    let inspect = fixture.engine().inspect_image(reference).await.expect("the engine has it");
    inspect["Id"].as_str().expect("an id").to_owned()
}

async fn has(fixture: &dyn Fixture, reference: &str) -> bool {
    match fixture.engine().inspect_image(reference).await {
        Ok(_) => true,
        Err(error) if error.is_not_found() => false,
        Err(error) => panic!("{error}"),
    }
}

pub(crate) async fn an_image_is_pulled_by_its_digest(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = fixture.push(Kind::Web).await;
    assert!(!has(fixture, &image.reference()).await);
    let mut told = Vec::new();
    engine.pull(&image.reference(), None, &mut |progress| told.push(progress)).await.expect("it was pushed");
    let last = told.last().expect("progress is told");
    assert!(last.layers_done == last.layers_total && last.layers_total > 0, "{told:?}");
    let never_back = |pair: &[_]| matches!(pair, [before, after] if grows(before, after));
    assert!(told.windows(2).all(never_back), "{told:?}");

    let inspect = engine.inspect_image(&image.reference()).await.expect("it is there");
    assert_eq!(inspect["RepoDigests"], json!([image.reference()]));
    assert_eq!(inspect["RepoTags"].as_array().map(Vec::len), Some(0), "a pull by digest gives no tag");
    assert_eq!(inspect["Os"], "linux");
    let listed = engine.list_images().await.expect("the engine is up");
    let listed = listed.iter().find(|listed| inspect["Id"] == listed.id.as_str()).expect("it is listed");
    assert_eq!(listed.repo_digests, [image.reference()]);
    assert!(listed.repo_tags.is_empty() && listed.size_bytes > 0, "{listed:?}");
    engine.pull(&image.reference(), None, &mut |_| ()).await.expect("again is good, too");
}

fn grows(before: &nightshift_core::instance::PullProgress, after: &nightshift_core::instance::PullProgress) -> bool {
    before.layers_done <= after.layers_done && before.layers_total <= after.layers_total
}

pub(crate) async fn a_pull_says_why_it_failed(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let Image { name, .. } = fixture.push(Kind::Web).await;
    let unknown: Digest = format!("sha256:{}", "0".repeat(64)).parse().expect("well formed");
    let nobody_listens = format!("127.0.0.1:1/web@{unknown}");
    for (reference, expect) in
        [(name.repository.at(&unknown), PullFailure::NotFound), (nobody_listens, PullFailure::Unreachable)]
    {
        let error = engine.pull(&reference, None, &mut |_| ()).await.expect_err("there is none");
        assert!(matches!(&error, Error::Pull { failure, .. } if *failure == expect), "{error:?}");
    }
    for not_exact in [name.familiar(), name.repository.familiar(), String::new()] {
        let error = engine.pull(&not_exact, None, &mut |_| ()).await.expect_err("no digest, no pull");
        assert!(matches!(&error, Error::InvalidArgument { .. }), "{error:?}");
    }
}

pub(crate) async fn a_private_image_is_pulled_with_the_right_password_only(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (image, right) = fixture.push_private().await;
    let wrong = login(image.name.repository.registry(), "wr0ng-s3cret");
    for auth in [None, Some(&wrong)] {
        let error = engine.pull(&image.reference(), auth, &mut |_| ()).await.expect_err("the wrong password");
        assert!(matches!(&error, Error::Pull { failure: PullFailure::Denied, .. }), "{error:?}");
        assert!(!format!("{error} {error:?}").contains("s3cret"), "{error:?}");
    }
    engine.pull(&image.reference(), Some(&right), &mut |_| ()).await.expect("the right password");
}

pub(crate) async fn a_tag_moves(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let (old, new) = (pulled(fixture, Kind::Web).await, pulled(fixture, Kind::Web).await);
    let repository = old.name.repository.familiar();
    let followed = format!("{repository}:followed");
    engine.tag(&old.reference(), &repository, "followed").await.expect("it is there");
    engine.tag(&old.reference(), &repository, "followed").await.expect("again is good, too");
    assert_eq!(id_of(fixture, &followed).await, id_of(fixture, &old.reference()).await);
    engine.tag(&id_of(fixture, &new.reference()).await, &repository, "followed").await.expect("also by its id");
    assert_eq!(id_of(fixture, &followed).await, id_of(fixture, &new.reference()).await);
    assert!(has(fixture, &old.reference()).await, "the image that lost its tag stays");
}

pub(crate) async fn the_last_name_of_a_used_image_stays(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    let (_, container) = created_from(fixture, &image, json!({})).await;
    let keep = fixture.name("keep");
    engine.tag(&image.reference(), &keep, "v1").await.expect("it is there");
    engine.remove_image(&image.reference()).await.expect("it has another name");
    assert!(!has(fixture, &image.reference()).await);
    let refused = engine.remove_image(&format!("{keep}:v1")).await;
    assert!(matches!(refused, Err(Error::Conflict { .. })), "{refused:?}");
    engine.remove(&container).await.expect("it never ran");
    engine.remove_image(&format!("{keep}:v1")).await.expect("nobody uses it");
    assert!(!has(fixture, &format!("{keep}:v1")).await);
}

pub(crate) async fn a_digest_goes_with_the_last_tag_of_its_repository(fixture: &dyn Fixture) {
    let engine = fixture.engine();
    let image = pulled(fixture, Kind::Web).await;
    let (repository, keep) = (image.name.repository.familiar(), fixture.name("keep"));
    engine.tag(&image.reference(), &repository, "v1").await.expect("it is there");
    engine.tag(&image.reference(), &keep, "v1").await.expect("it is there");
    engine.remove_image(&format!("{repository}:v1")).await.expect("it has another name");
    let inspect: Value = engine.inspect_image(&format!("{keep}:v1")).await.expect("it is still there");
    assert_eq!(inspect["RepoTags"], json!([format!("{keep}:v1")]));
    assert_eq!(inspect["RepoDigests"], json!([]), "removed without having been asked for");
}
