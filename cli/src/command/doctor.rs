//! `doctor`: looks at everything that can be wrong here. Exit 0 if all that is needed works, 1 if something does not.
//!
//! `--json`: `{"healthy": bool, "checks": [{"name", "verdict": "ok"|"warning"|"failed", "found", "remedy"?}]}`.

use clap::Args;
use serde_json::json;

use super::Context;
use crate::doctor::{self, Check, Verdict};
use crate::error::CliError;
use crate::output::{Style, table};

/// The words of `doctor`.
#[derive(Debug, Args)]
pub(crate) struct DoctorArgs {
    /// First clear away what sessions that are gone left behind
    #[arg(long)]
    tidy: bool,
}

/// Runs `doctor`.
pub(crate) async fn run(context: &Context, args: DoctorArgs) -> Result<(), CliError> {
    if args.tidy {
        doctor::tidy()?;
    }
    let mut checks = doctor::look_at_tools().await;
    checks.extend(doctor::look_at_person(context.printer).await);
    checks.extend(doctor::look_at_sessions());
    let failed = checks.iter().filter(|check| check.verdict == Verdict::Failed).count();
    let document = json!({ "healthy": failed == 0, "checks": checks });
    context.printer.result(&document, |style| shown(style, &checks))?;
    if failed == 0 {
        return Ok(());
    }
    let things = if failed == 1 { "one thing does" } else { "several things do" };
    Err(CliError::failed(format!("{things} not work")).hint("the table says what to do").already_documented())
}

fn shown(style: Style, checks: &[Check]) -> String {
    let rows = checks.iter().map(|check| {
        let verdict = match check.verdict {
            Verdict::Ok => "ok",
            Verdict::Warning => "warning",
            Verdict::Failed => "failed",
        };
        let remedy = check.remedy.clone().unwrap_or_else(|| table::NOTHING.to_owned());
        vec![check.name.to_owned(), verdict.to_owned(), check.found.clone(), remedy]
    });
    table::render(style, &["what", "verdict", "found", "what to do"], rows.collect())
}
