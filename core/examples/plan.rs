//! Reads what `recreate::plan` needs as JSON on stdin, and writes the plan as JSON on stdout; a refusal goes to stderr.
//!
//! `scripts/record-inspects` carries the plan out on a real engine with it. By hand it shows what Nightshift would
//! create for a container: no engine is touched.

use std::io::{Write, stderr, stdin, stdout};
use std::process::ExitCode;

use nightshift_core::labels::Labels;
use nightshift_core::recreate::{Input, Product, plan};
use serde::Deserialize;
use serde_json::{Value, json};

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Question {
    container: Value,
    old_image: Value,
    new_image: Value,
    image_name: String,
    api_version: String,
    temporary_name: String,
    labels: Labels,
}

fn answer() -> Result<Value, Box<dyn std::error::Error>> {
    let question: Question = serde_json::from_reader(stdin().lock())?;
    let plan = plan(&Input {
        container: &question.container,
        old_image: &question.old_image,
        new_image: &question.new_image,
        image_name: &question.image_name,
        new_image_id: question.new_image["Id"].as_str().unwrap_or(""),
        api_version: question.api_version.parse()?,
        product: Product::Docker,
        temporary_name: &question.temporary_name,
        labels: &question.labels,
    })?;
    let connects: Vec<Value> =
        plan.connects.iter().map(|connect| json!({"network": connect.network, "body": connect.body})).collect();
    Ok(json!({"create_body": plan.create_body, "connects": connects, "final_name": plan.final_name}))
}

fn main() -> ExitCode {
    let (written, code) = match answer() {
        Ok(plan) => (writeln!(stdout(), "{plan}"), ExitCode::SUCCESS),
        Err(error) => (writeln!(stderr(), "{error}"), ExitCode::FAILURE),
    };
    if written.is_ok() { code } else { ExitCode::FAILURE }
}
