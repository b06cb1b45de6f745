//! `calf doctor`: prints the results of the engine's checks, as lines or as JSON.

use calf::{Check, Result, Verdict};
use serde::Serialize;
use serde_json::json;

use super::context::Context;
use super::output::Outcome;

/// A check in the output for programs.
#[derive(Serialize)]
struct View<'a> {
    name: &'a str,
    verdict: &'static str,
    detail: &'a str,
    help: Option<&'a str>,
}

impl<'a> From<&'a Check> for View<'a> {
    fn from(check: &'a Check) -> Self {
        let Check { name, verdict, detail, help, .. } = check;
        Self { name, verdict: word(*verdict), detail, help: help.as_deref() }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Ok => "OK",
        Verdict::Warn => "WARN",
        Verdict::Fail => "FAIL",
    }
}

pub(super) fn run(context: &Context) -> Result<Outcome> {
    let checks = context.options().doctor(&context.pool_path);
    let failed = checks.iter().any(|check| check.verdict == Verdict::Fail);
    let views: Vec<View> = checks.iter().map(View::from).collect();
    let value = json!({ "ready": !failed, "checks": views });
    let wrong = checks.iter().filter(|check| check.verdict != Verdict::Ok);
    context.output.result(&value, wrong.map(|check| check.name), || human(&views))?;
    Ok(if failed { Outcome::Failure } else { Outcome::Success })
}

fn human(checks: &[View]) -> String {
    let width = checks.iter().map(|check| check.name.len()).max().unwrap_or(0);
    let mut text = String::new();
    for check in checks {
        let View { name, verdict, detail, help } = check;
        text.push_str(&format!("{verdict:<4}  {name:<width$}  {detail}\n"));
        if let Some(help) = help {
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
        let view = |name, verdict, detail, help| View { name, verdict, detail, help };
        let checks =
            [view("a", "OK", "fine", None), view("long", "FAIL", "broken", Some("mend it"))];
        assert_eq!(
            human(&checks),
            "OK    a     fine\nFAIL  long  broken\n            help: mend it\n"
        );
    }
}
