//! `calf doctor`: is this machine ready, and if not, what is to be done?
//!
//! Each check looks at one thing and gives one line. Checks only look; what they try, they undo.

mod host;
mod pool;

use calf::Result;
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

/// How a check ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "UPPERCASE")]
enum Verdict {
    /// In order.
    Ok,
    /// calf works, but something is slower or less safe than it could be.
    Warn,
    /// calf does not work.
    Fail,
}

/// One line of the report.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
struct Check {
    name: &'static str,
    verdict: Verdict,
    detail: String,
    /// How to mend it.
    help: Option<String>,
}

impl Check {
    fn ok(name: &'static str, detail: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Ok, detail: detail.into(), help: None }
    }

    fn warn(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Warn, detail: detail.into(), help: Some(help.into()) }
    }

    fn fail(name: &'static str, detail: impl Into<String>, help: impl Into<String>) -> Self {
        Self { name, verdict: Verdict::Fail, detail: detail.into(), help: Some(help.into()) }
    }
}

pub(super) fn run(context: &Context) -> Result<Outcome> {
    let mut checks = host::checks(context.fallback.is_some());
    checks.extend(pool::checks(&context.pool_path, context.reserve));
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    let value = json!({ "ready": !failed, "checks": checks });
    let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    context.output.result(&value, wrong.map(|check| check.name), || human(&checks))?;
    Ok(if failed { Outcome::Failure } else { Outcome::Success })
}

fn human(checks: &[Check]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let verdict = match check.verdict {
            Verdict::Ok => "OK  ",
            Verdict::Warn => "WARN",
            Verdict::Fail => "FAIL",
        };
        text.push_str(&format!("{verdict}  {:<width$}  {}\n", check.name, check.detail));
        if let Some(help) = &check.help {
            text.push_str(&format!("      {:<width$}  help: {help}\n", ""));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn help_stands_under_what_it_mends() {
        let checks = [Check::ok("a", "fine"), Check::fail("long", "broken", "mend it")];
        assert_eq!(
            human(&checks),
            "OK    a     fine\nFAIL  long  broken\n            help: mend it\n"
        );
    }
}
