//! `tree --watch`: the tree again whenever it changed.
//!
//! One request waits at the broker for the next change; nothing is polled while nothing changes. On a terminal the
//! picture is painted over itself; elsewhere each change is a block of text, with `--json` a document on a line of its own.
//! A broker that goes away is waited for. Ctrl-C ends it, with exit code 0.

use std::time::Duration;

use serde::Deserialize;
use serde_json::Value;
use serde_json::value::RawValue;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use super::read;
use crate::error::{CliError, Kind};
use crate::operator::Operator;
use crate::output::tree::{TreeDocument, render};
use crate::output::{Printer, age, screen::Screen};
use crate::text;

/// How long one request waits at the broker.
const WAIT: Duration = Duration::from_secs(25);
/// How much longer its answer may take.
const MARGIN: Duration = Duration::from_secs(10);
/// How often a broker that is away is looked for.
const LOOK_EVERY: Duration = Duration::from_millis(500);
/// How often the ages on a terminal are counted on.
const REPAINT_EVERY: Duration = Duration::from_secs(1);

/// Which part of the tree is watched.
pub(super) struct Part {
    pub(super) query: Vec<(&'static str, String)>,
    pub(super) path: Option<String>,
    pub(super) depth: Option<u32>,
}

/// What the broker said.
enum Answer {
    /// Nothing has changed.
    Same,
    /// This is the tree.
    Tree(Box<RawValue>, TreeDocument),
    /// The node that is watched is not there.
    NoNode(CliError),
}

/// Watches until Ctrl-C, or until nobody reads any more.
pub(super) async fn watch(printer: Printer, operator: &Operator, part: Part) -> Result<(), CliError> {
    let mut display = Display::new(printer, part.depth);
    let mut after = None;
    // What is wrong at the very beginning is a failure, and not waited for.
    let first = ask(operator, &part, &mut after).await?;
    if let Answer::NoNode(error) = first {
        return Err(error);
    }
    display.take(first)?;
    let mut ticks = interval(REPAINT_EVERY);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let interrupted = tokio::signal::ctrl_c();
    tokio::pin!(interrupted);
    while display.is_read {
        let pause = if display.lost.is_some() { LOOK_EVERY } else { Duration::ZERO };
        let answer = {
            let next = async {
                sleep(pause).await;
                ask(operator, &part, &mut after).await
            };
            tokio::pin!(next);
            loop {
                tokio::select! {
                    answer = &mut next => break answer,
                    () = ticked(&mut ticks, display.screen.is_some()) => display.repaint(),
                    _ = &mut interrupted => return Ok(()),
                }
            }
        };
        match answer {
            Ok(answer) => display.take(answer)?,
            Err(error) if matches!(error.kind, Kind::Unreachable | Kind::TimedOut) => {
                after = None;
                display.away(&error);
            }
            Err(error) => return Err(error),
        }
    }
    Ok(())
}

/// Resolves at the next tick, on a terminal.
async fn ticked(ticks: &mut tokio::time::Interval, is_terminal: bool) {
    if !is_terminal {
        std::future::pending::<()>().await;
    }
    ticks.tick().await;
}

/// Asks for the tree after the one with this number; notes the number of the next.
async fn ask(operator: &Operator, part: &Part, after: &mut Option<u64>) -> Result<Answer, CliError> {
    #[derive(Deserialize)]
    struct Numbered {
        seq: Option<u64>,
    }
    let mut query = part.query.clone();
    if let Some(after) = *after {
        query.extend([("after", after.to_string()), ("wait", WAIT.as_secs().to_string())]);
    }
    let answer = operator.get_within(&["tree"], &query, WAIT + MARGIN).await?;
    match answer.status {
        204 => return Ok(Answer::Same),
        503 => {
            let said: Value = serde_json::from_str(&answer.body).unwrap_or_default();
            let words = said.get("message").and_then(Value::as_str).unwrap_or("it does not take requests");
            return Err(CliError::unreachable(text::line(words)));
        }
        _ => {}
    }
    // A broker that does not number its trees cannot be waited for.
    *after = serde_json::from_str::<Numbered>(&answer.body).ok().and_then(|numbered| numbered.seq);
    let (raw, document) = match read(&answer, part.path.as_deref()) {
        Ok(both) => both,
        Err(error) if answer.status == 404 && after.is_some() => return Ok(Answer::NoNode(error)),
        Err(error) => return Err(error),
    };
    match after {
        Some(_) => Ok(Answer::Tree(raw, document)),
        None => Err(CliError::failed("this broker does not number its trees, so that none can be waited for")
            .hint("broker and client may be of different versions: claudemesh version")),
    }
}

/// What is shown.
struct Display {
    printer: Printer,
    depth: Option<u32>,
    /// On a terminal.
    screen: Option<Screen>,
    document: TreeDocument,
    /// When the document came, and its own time then.
    seen: Instant,
    seen_ms: u64,
    /// When the broker last said anything.
    heard: Instant,
    /// What was shown last, without what differs from snapshot to snapshot.
    shown: Option<Value>,
    /// Why there is no newer one.
    lost: Option<String>,
    /// The node that is watched is not there.
    missing: Option<String>,
    /// False once nobody reads any more.
    is_read: bool,
}

impl Display {
    fn new(printer: Printer, depth: Option<u32>) -> Self {
        Self {
            printer,
            depth,
            screen: printer.repaints().then(Screen::default),
            document: TreeDocument::default(),
            seen: Instant::now(),
            seen_ms: 0,
            heard: Instant::now(),
            shown: None,
            lost: None,
            missing: None,
            is_read: true,
        }
    }

    fn take(&mut self, answer: Answer) -> Result<(), CliError> {
        if self.lost.take().is_some() && self.screen.is_none() {
            self.printer.note("the broker is back");
            self.shown = Some(Value::Null);
        }
        self.heard = Instant::now();
        match answer {
            Answer::Same => {}
            Answer::NoNode(error) => {
                if self.missing.is_none() && self.screen.is_none() {
                    self.printer.warning(&error.message);
                }
                self.missing = Some(error.message);
                self.shown = Some(Value::Null);
            }
            Answer::Tree(raw, document) => {
                (self.seen, self.seen_ms, self.missing) = (self.heard, document.at_ms, None);
                self.document = document;
                self.show(&raw)?;
            }
        }
        self.repaint();
        Ok(())
    }

    /// Off a terminal: what changed, once.
    fn show(&mut self, raw: &RawValue) -> Result<(), CliError> {
        if self.screen.is_some() {
            return Ok(());
        }
        let mut lasting: Value = serde_json::from_str(raw.get()).unwrap_or_default();
        if let Some(members) = lasting.as_object_mut() {
            members.remove("seq");
            members.remove("at_ms");
        }
        if self.shown.as_ref() != Some(&lasting) {
            let is_first = self.shown.replace(lasting).is_none();
            let blank = if is_first { "" } else { "\n" };
            let (document, depth) = (&self.document, self.depth);
            self.is_read =
                self.printer.next_result(&raw, |style| format!("{blank}{}", render(style, document, depth)))?;
        }
        Ok(())
    }

    /// There is no answer; what was seen last stays.
    fn away(&mut self, error: &CliError) {
        let words = text::line(&error.message);
        if self.lost.is_none() && self.screen.is_none() {
            let at = jiff::Zoned::now().strftime("%H:%M:%S").to_string();
            self.printer.warning(&format!("{words}; the tree was last seen at {at}, waiting for the broker"));
        }
        self.lost = Some(words);
        self.repaint();
    }

    /// On a terminal: the picture as of now.
    fn repaint(&mut self) {
        let Some(screen) = &mut self.screen else { return };
        let style = self.printer.style();
        // What nobody sees does not grow older.
        let until = if self.lost.is_some() { self.heard } else { Instant::now() };
        self.document.at_ms = self.seen_ms.saturating_add(ms(until.duration_since(self.seen)));
        let mut lines: Vec<String> = match &self.missing {
            None => render(style, &self.document, self.depth).lines().map(str::to_owned).collect(),
            Some(words) => vec![style.red(words)],
        };
        if let Some(words) = &self.lost {
            lines.push(style.red(&format!("{words}; last seen {} ago", age::duration(ms(self.heard.elapsed())))));
        }
        self.is_read = screen.paint(&lines);
    }
}

fn ms(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}
