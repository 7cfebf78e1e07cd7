//! What a job makes on a node, and how it is told from everything else there: containers, networks, and images.
//!
//! Pure: the bodies that the engine's API takes, and the reading of an image's own test. A job's container and network have
//! names and labels that fit together, which no image and no person can have by accident: only those are ever removed.

use serde_json::{Value, json};

use super::JobOrder;
use crate::ids::JobId;
use crate::labels::Labels;
use crate::spec::{SelfTest, TEST_LABEL, TestRun};

/// Label with the job's id on everything that a job makes.
pub const LABEL_JOB: &str = "nightshift.job";
/// Label with the agent that made it: several may share an engine, and their nodes may even have the same name in two fleets.
pub const LABEL_JOB_AGENT: &str = "nightshift.job.agent";

/// How much of a test's output the engine keeps on the node's disk: more than is ever shown, and a test that writes without
/// end fills no disk.
const ENGINE_LOG: (&str, &str) = ("1m", "2");
/// Most words of an image's own test.
const LABEL_WORDS_LIMIT: usize = 64;

/// The name of a job's container and network. Two fleets may number their jobs alike, so the agent belongs to it: names are
/// exclusive on an engine.
#[must_use]
pub fn job_name(job: &JobId, agent: &str) -> String {
    format!("nightshift-job-{job}-{agent}")
}

/// The job to which something of this name with these labels belongs, and the agent that made it; `None` for what no job has
/// made: a label alone says nothing, for images bring labels along.
#[must_use]
pub fn owner<'a>(name: &str, labels: &'a Labels) -> Option<(JobId, &'a str)> {
    let job: JobId = labels.get(LABEL_JOB)?.parse().ok()?;
    let agent = labels.get(LABEL_JOB_AGENT).filter(|agent| !agent.is_empty())?;
    (name == job_name(&job, agent)).then_some((job, agent.as_str()))
}

/// Repository of the names that images have on the node that has built them.
pub const BUILD_REPOSITORY: &str = "nightshift/build";

/// The name of what a job builds, until it is gone again: whether it is pushed or not.
#[must_use]
pub fn build_name(job: &JobId, agent: &str) -> String {
    format!("{BUILD_REPOSITORY}:{job}-{agent}")
}

/// The job of this agent that has built an image of this name; `None` for what it has not built.
#[must_use]
pub fn built_by(name: &str, agent: &str) -> Option<JobId> {
    let tag = name.strip_prefix(BUILD_REPOSITORY)?.strip_prefix(':')?;
    tag.strip_suffix(agent)?.strip_suffix('-').filter(|_| !agent.is_empty())?.parse().ok()
}

fn labels(order: &JobOrder, agent: &str) -> Value {
    json!({ LABEL_JOB: order.id, LABEL_JOB_AGENT: agent })
}

/// The network of a job: its own, and without a way out unless the test asks for one.
#[must_use]
pub fn network_body(order: &JobOrder, agent: &str) -> Value {
    let test = order.work.test();
    json!({
        "Name": job_name(&order.id, agent), "Driver": "bridge", "CheckDuplicate": true, "Internal": !test.internet,
        "Labels": labels(order, agent),
    })
}

/// The container of a test of `image` (a reference that the engine knows): limits, its own network, and nothing of the host.
#[must_use]
pub fn container_body(order: &JobOrder, agent: &str, image: &str) -> Value {
    let test = order.work.test();
    let env: Vec<String> = test.env.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let limits = &test.limits;
    let mut body = json!({
        "Image": image,
        "Env": env,
        "Labels": labels(order, agent),
        "HostConfig": {
            "NetworkMode": job_name(&order.id, agent),
            "RestartPolicy": { "Name": "no", "MaximumRetryCount": 0 },
            "AutoRemove": false,
            "PublishAllPorts": false,
            "Memory": limits.memory.0,
            "MemorySwap": limits.memory.0,
            "NanoCpus": u64::from(limits.cpus_milli) * 1_000_000,
            "PidsLimit": limits.pids,
            "LogConfig": { "Type": "json-file", "Config": { "max-size": ENGINE_LOG.0, "max-file": ENGINE_LOG.1 } },
        },
    });
    if let TestRun::Entrypoint(words) = &test.run {
        body["Entrypoint"] = json!(words);
    }
    body
}

/// Whether a test's end is that of its container, or that of a command inside it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// The container's own end.
    Container,
    /// A command inside, once the container is ready.
    Command(Vec<String>),
}

/// How a test comes to its verdict, as its app file and the image say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TestPlan {
    /// What decides.
    pub verdict: Verdict,
    /// Whether the image has a health check of its own.
    pub has_health_check: bool,
}

/// The image names its own test in a way that nobody can run.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error(
    "the image's label `{TEST_LABEL}` is no command: allowed is a JSON list of a program and its arguments, such as \
     `[\"/app/self-test\"]`"
)]
pub struct MalformedTest;

/// Reads what decides a test, from the image's raw inspect.
///
/// # Errors
/// The image's own test cannot be read: the image is bad.
pub fn test_plan(test: &SelfTest, image: &Value) -> Result<TestPlan, MalformedTest> {
    let config = &image["Config"];
    let check = config["Healthcheck"]["Test"].as_array();
    let first = check.and_then(|words| words.first()).and_then(Value::as_str);
    let has_health_check = first.is_some_and(|word| word != "NONE");
    let verdict = match &test.run {
        TestRun::Command(words) => Verdict::Command(words.clone()),
        TestRun::Entrypoint(_) => Verdict::Container,
        TestRun::Image => match config["Labels"][TEST_LABEL].as_str() {
            None => Verdict::Container,
            Some(text) => Verdict::Command(read_words(text).ok_or(MalformedTest)?),
        },
    };
    Ok(TestPlan { verdict, has_health_check })
}

fn read_words(text: &str) -> Option<Vec<String>> {
    let words: Vec<String> = serde_json::from_str(text).ok()?;
    let good = words.first().is_some_and(|word| !word.is_empty()) && words.len() <= LABEL_WORDS_LIMIT;
    good.then_some(words)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::ids::Epoch;
    use crate::job::JobWork;
    use crate::spec::{HealthCheck, TestLimits};
    use crate::testing::{app, digest, node};

    fn test(run: TestRun) -> SelfTest {
        SelfTest {
            test_nodes: "role=test".parse().expect("well formed"),
            env: [("NIGHTSHIFT_TEST".to_owned(), "1".to_owned())].into(),
            run,
            timeout: std::time::Duration::from_secs(60),
            limits: TestLimits::default(),
            internet: false,
        }
    }

    fn order(test: &SelfTest) -> JobOrder {
        JobOrder {
            id: "j1".parse().expect("well formed"),
            epoch: Epoch(1),
            node: node("t1"),
            app: app(),
            image: "r.example/web:stable".parse().expect("well formed"),
            work: JobWork::SelfTest { digest: digest(1), test: test.clone(), health: HealthCheck::Auto },
            signatures: Vec::new(),
        }
    }

    #[test]
    fn a_tests_container_has_limits_and_nothing_of_the_host() {
        let test = test(TestRun::Image);
        let body = container_body(&order(&test), "a1", "sha256:0a");
        let host = &body["HostConfig"];
        assert_eq!(body["Image"], "sha256:0a");
        assert_eq!((&host["Memory"], &host["MemorySwap"]), (&json!(1 << 30), &json!(1 << 30)));
        assert_eq!((&host["NanoCpus"], &host["PidsLimit"]), (&json!(1_000_000_000), &json!(512)));
        assert_eq!(
            (&host["NetworkMode"], &host["RestartPolicy"]["Name"]),
            (&json!("nightshift-job-j1-a1"), &json!("no"))
        );
        for key in ["Binds", "Mounts", "PortBindings", "VolumesFrom", "Privileged", "Devices", "CapAdd"] {
            assert!(host.get(key).is_none(), "{key}");
        }
        assert!(body.get("Entrypoint").is_none());
        let started = super::tests::test(TestRun::Entrypoint(vec!["/t".into()]));
        assert_eq!(container_body(&order(&started), "a1", "sha256:0a")["Entrypoint"], json!(["/t"]));
    }

    #[test]
    fn a_tests_network_leads_nowhere_unless_it_is_asked_for() {
        let mut test = test(TestRun::Image);
        assert_eq!(network_body(&order(&test), "a1")["Internal"], true);
        test.internet = true;
        assert_eq!(network_body(&order(&test), "a1")["Internal"], false);
    }

    #[test]
    fn only_what_a_job_made_belongs_to_it() {
        let labels = |job: &str, agent: &str| {
            Labels::from([(LABEL_JOB.to_owned(), job.to_owned()), (LABEL_JOB_AGENT.to_owned(), agent.to_owned())])
        };
        let ours = labels("j1", "a1");
        assert_eq!(owner("nightshift-job-j1-a1", &ours), Some(("j1".parse().expect("well formed"), "a1")));
        // What an image with such labels runs as.
        assert_eq!(owner("web", &labels("j1", "a1")), None);
        assert_eq!(owner("nightshift-job-j2-a1", &labels("j1", "a1")), None);
        assert_eq!(owner("nightshift-job-j1-a2", &labels("j1", "a1")), None);
        assert_eq!(owner("nightshift-job-j1-a1", &Labels::new()), None);
        assert_eq!(owner("nightshift-job-", &labels("", "a1")), None);
        assert_eq!(owner("nightshift-job-j1-a1", &labels("j1", "")), None);
    }

    #[test]
    fn what_an_agent_has_built_has_its_name() {
        let job: JobId = "j1".parse().expect("well formed");
        assert_eq!(build_name(&job, "a1"), "nightshift/build:j1-a1");
        for (name, agent, expect) in [
            ("nightshift/build:j1-a1", "a1", Some(&job)),
            ("nightshift/build:j1-a1", "a2", None),
            ("nightshift/build:j1-a1", "1", None),
            ("nightshift/build:j1-a1", "", None),
            ("nightshift/build:-a1", "a1", None),
            ("nightshift/builder:j1-a1", "a1", None),
            ("r.example/nightshift/build:j1-a1", "a1", None),
        ] {
            assert_eq!(built_by(name, agent).as_ref(), expect, "{name} {agent}");
        }
    }

    #[test]
    fn what_decides_a_test() {
        let inside = |word: &str| Verdict::Command(vec![word.to_owned()]);
        let labelled = |text: &str| json!({"Config": {"Labels": {TEST_LABEL: text}}});
        let command = TestRun::Command(vec!["/c".into()]);
        let entrypoint = TestRun::Entrypoint(vec!["/e".into()]);
        for (run, image, expect) in [
            (TestRun::Image, json!({"Config": {"Labels": null}}), Ok(Verdict::Container)),
            (TestRun::Image, json!({"Config": null}), Ok(Verdict::Container)),
            (TestRun::Image, labelled("[\"/t\"]"), Ok(inside("/t"))),
            (TestRun::Image, labelled("/t"), Err(MalformedTest)),
            (TestRun::Image, labelled("[]"), Err(MalformedTest)),
            (TestRun::Image, labelled("[\"\"]"), Err(MalformedTest)),
            (TestRun::Image, labelled("[1]"), Err(MalformedTest)),
            (command, labelled("[\"/t\"]"), Ok(inside("/c"))),
            (entrypoint, labelled("nonsense"), Ok(Verdict::Container)),
        ] {
            assert_eq!(test_plan(&test(run.clone()), &image).map(|plan| plan.verdict), expect, "{run:?} {image}");
        }
    }

    #[test]
    fn a_health_check_that_is_switched_off_is_none() {
        for (check, expect) in [
            (json!(null), false),
            (json!({"Test": []}), false),
            (json!({"Test": ["NONE"]}), false),
            (json!({"Test": ["CMD", "true"]}), true),
        ] {
            let image = json!({"Config": {"Healthcheck": check}});
            let plan = test_plan(&test(TestRun::Image), &image).expect("readable");
            assert_eq!(plan.has_health_check, expect, "{image}");
        }
    }
}
