//! `GET /metrics`: who may see it, and that it is what Prometheus expects. What is on it is tried in `metrics::tests`.

use crate::scene::Scene;

#[tokio::test]
async fn whoever_may_look_gets_the_numbers() {
    let mut scene = Scene::new().await;
    for role in ["viewer", "operator", "admin"] {
        let token = scene.token(role, role, &[]).await;
        let answer = scene.http.get(scene.url("/metrics")).bearer_auth(&token).send().await.unwrap();
        assert_eq!(answer.status().as_u16(), 200, "{role}");
        assert_eq!(answer.headers()["content-type"], "text/plain; version=0.0.4; charset=utf-8");
        assert_eq!(answer.headers()["cache-control"], "no-store");
        let text = answer.text().await.unwrap();
        assert!(text.lines().any(|line| line == "nightshift_app_enabled{app=\"db\"} 1"), "{text}");
        assert!(!text.contains(&token), "no secret is in it");
    }
    scene.stop().await;
}

#[tokio::test]
async fn others_get_nothing() {
    let mut scene = Scene::new().await;
    let (url, ci) = (scene.url("/metrics"), scene.token("ci", "ci", &["web"]).await);
    assert!(scene.send(scene.http.get(&url)).await.refused(401).contains("not accepted"));
    assert!(scene.send(scene.http.get(&url).bearer_auth("nst_wrong")).await.refused(401).contains("not accepted"));
    assert!(scene.send(scene.http.get(&url).bearer_auth(ci)).await.refused(403).contains("`viewer`"));
    let viewer = scene.token("viewer", "viewer", &[]).await;
    assert!(scene.send(scene.http.post(&url).bearer_auth(viewer)).await.refused(405).contains("only GET"));
    scene.stop().await;
}
