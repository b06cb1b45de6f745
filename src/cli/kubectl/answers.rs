//! Asks the drivers, several at a time, and puts their answers together.

use std::sync::Mutex;
use std::thread;

use calf::{Error, ErrorKind};
use serde_json::{Value, json};

use super::drivers::{CONTAINER, Driver};
use super::program::{Kubectl, Ran};
use crate::cli::exit_code::FAILURE;

/// How many nodes are asked at a time.
const AT_ONCE: usize = 16;

/// What the drivers are asked.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Question {
    Volumes,
    Templates,
    Status,
    Doctor,
}

/// What the drivers have said.
#[derive(Default)]
pub(super) struct Answers {
    /// What is listed: each document has the `node` and the `pod` that it is from.
    pub(super) documents: Vec<Value>,
    /// By the names of their nodes.
    pub(super) failed: Vec<Failure>,
}

/// A node that gave no answer.
pub(super) struct Failure {
    pub(super) node: String,
    pub(super) pod: String,
    pub(super) error: Error,
}

impl Question {
    fn command(self) -> &'static [&'static str] {
        match self {
            Self::Volumes => &["volume", "list"],
            Self::Templates => &["template", "list"],
            Self::Status => &["status"],
            Self::Doctor => &["doctor"],
        }
    }

    /// The list in the answer, or the field that shows that the document is one.
    fn field(self) -> &'static str {
        match self {
            Self::Volumes => "volumes",
            Self::Templates => "templates",
            Self::Status => "pool",
            Self::Doctor => "checks",
        }
    }

    /// The documents in a driver's answer; `None` if it is none.
    fn documents(self, answer: Value) -> Option<Vec<Value>> {
        let documents = match self {
            Self::Volumes | Self::Templates => match answer {
                Value::Object(mut fields) => match fields.remove(self.field()) {
                    Some(Value::Array(list)) => list,
                    _ => return None,
                },
                _ => return None,
            },
            Self::Status | Self::Doctor if answer[self.field()].is_null() => return None,
            Self::Status | Self::Doctor => vec![answer],
        };
        documents.iter().all(Value::is_object).then_some(documents)
    }
}

impl Answers {
    /// Keeps the documents of volumes that occupy most, in that order.
    pub(super) fn keep_largest(&mut self, count: usize) {
        self.documents.sort_by_key(|volume| std::cmp::Reverse(volume["allocated"].as_u64()));
        self.documents.truncate(count);
    }
}

/// Asks all drivers.
pub(super) fn ask(kubectl: &Kubectl, drivers: &[Driver], question: Question) -> Answers {
    let waiting = Mutex::new(drivers.iter());
    let told = Mutex::new(Vec::new());
    thread::scope(|scope| {
        for _ in 0..drivers.len().min(AT_ONCE) {
            scope.spawn(|| {
                while let Some(driver) = next(&waiting) {
                    let answer = ask_one(kubectl, driver, question);
                    told.lock().unwrap_or_else(|broken| broken.into_inner()).push((driver, answer));
                }
            });
        }
    });
    let mut told = told.into_inner().unwrap_or_else(|broken| broken.into_inner());
    told.sort_by(|(a, _), (b, _)| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
    let mut answers = Answers::default();
    for (driver, answer) in told {
        let pod = format!("{}/{}", driver.namespace, driver.pod);
        match answer {
            Ok(documents) => answers.documents.extend(documents.into_iter().map(|mut document| {
                document["node"] = json!(driver.node);
                document["pod"] = json!(pod);
                document
            })),
            Err(error) => {
                answers.failed.push(Failure { node: driver.node.clone(), pod, error });
            }
        }
    }
    answers
}

fn next<'a>(waiting: &Mutex<std::slice::Iter<'a, Driver>>) -> Option<&'a Driver> {
    waiting.lock().unwrap_or_else(|broken| broken.into_inner()).next()
}

fn ask_one(kubectl: &Kubectl, driver: &Driver, question: Question) -> Result<Vec<Value>, Error> {
    let failed = |why: String| {
        let subject = format!("node {} (pod {}/{})", driver.node, driver.namespace, driver.pod);
        Error::new(ErrorKind::Internal, "ask", subject, why)
    };
    if let Some(problem) = &driver.problem {
        return Err(failed(problem.clone()));
    }
    let namespace = format!("--namespace={}", driver.namespace);
    let mut arguments =
        vec!["exec", &namespace, &driver.pod, "--container", CONTAINER, "--", "calf"];
    arguments.extend(question.command());
    arguments.extend(["--output", "json"]);
    let ran = kubectl.run(&arguments).map_err(|error| failed(error.to_string()))?;
    // `doctor` ends with this code if it found something, and says what.
    let code = ran.status.code();
    let found =
        question == Question::Doctor && code == Some(FAILURE.into()) && !ran.stdout.is_empty();
    if !ran.status.success() && !found {
        let (why, help) = reason(&ran);
        let error = failed(why);
        return Err(match help {
            Some(help) => error.remedy(help),
            None => error,
        });
    }
    let answer: Value = serde_json::from_slice(&ran.stdout)
        .map_err(|error| failed(format!("its answer is no JSON: {error}")))?;
    let no_answer = || failed(format!("its answer has no `{}`", question.field()));
    question.documents(answer).ok_or_else(no_answer)
}

/// Why a run failed, and what to do: the error of the node's calf, or else what kubectl says.
fn reason(ran: &Ran) -> (String, Option<String>) {
    let lines = ran.stderr.lines().rev();
    let told = lines.filter_map(|line| serde_json::from_str::<Value>(line).ok());
    for document in told {
        let error = &document["error"];
        if let Some(message) = error["message"].as_str() {
            let help = error["help"].as_array().and_then(|help| help.first()?.as_str());
            return (visible(message), help.map(visible));
        }
    }
    match ran.stderr.trim() {
        "" => (format!("kubectl ended with {}", ran.status), None),
        text => (visible(text), None),
    }
}

/// Text of a node, which may not steer the operator's terminal.
pub(super) fn visible(text: &str) -> String {
    let show =
        |c: char| if c.is_control() { c.escape_default().to_string() } else { c.to_string() };
    text.chars().map(show).collect()
}
