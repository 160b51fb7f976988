//! Sending: sealed, kept in the outbox, sent, and answered.

use protocol::identity::PublicKey;
use protocol::mail::{Letter, SealError, sign_again};
use protocol::wire::{Ack, Peer, Priority, Send, SendFault, Skipped};
use zeroize::Zeroizing;

use super::directory::{Directory, Target, label};
use super::recipients::{self, Several};
use crate::client::{ANSWER_TIMEOUT, ClientError, Mesh, Trusted};
use crate::error::{CliError, Kind};
use crate::output::{Printer, age};
use crate::text;
use crate::wire::mesh::ListPeers;

/// How often a message is sealed anew when the members of its target change meanwhile.
const ROUNDS: usize = 4;
/// Why a session of an old client was left out.
const NO_E2E: &str = "no_e2e";

/// What is to be sent.
#[derive(Debug)]
pub(crate) struct Order<'a> {
    /// To whom, in the person's words.
    pub(crate) to: &'a str,
    /// What it says.
    pub(crate) text: &'a str,
    /// When it is to be shown.
    pub(crate) priority: Priority,
    /// Whether what nobody vouches for is an error.
    pub(crate) strict: bool,
}

/// What became of it.
#[derive(Debug)]
pub(crate) struct Sent {
    /// To whom, as it is shown.
    pub(crate) label: String,
    /// `targetSpec`.
    pub(crate) spec: String,
    /// The broker's answer.
    pub(crate) ack: Ack,
    /// Whether everybody it was sealed for is vouched for.
    pub(crate) verified: bool,
}

/// Sends a message.
pub(crate) async fn send(mesh: &Mesh, printer: Printer, order: &Order<'_>) -> Result<Sent, CliError> {
    let peers = mesh.client.request(&ListPeers {}, ANSWER_TIMEOUT).await?.peers;
    let trusted = mesh.trusted().await?;
    let target = {
        let now_ms = age::now_ms();
        Directory { mesh_id: mesh.id(), peers: &peers, trusted: &trusted, now_ms }.resolve(order.to)?
    };
    match &target {
        Target::One { key, label, doubt } => to_one(mesh, printer, order, *key, label, doubt.as_deref()).await,
        Target::Group(name) => to_several(mesh, printer, order, Several::Group(name), trusted, &peers).await,
        Target::Everybody => to_several(mesh, printer, order, Several::Everybody, trusted, &peers).await,
    }
}

async fn to_one(
    mesh: &Mesh,
    printer: Printer,
    order: &Order<'_>,
    key: PublicKey,
    label: &str,
    doubt: Option<&str>,
) -> Result<Sent, CliError> {
    if let Some(why) = doubt {
        unverified(printer, order.strict, &format!("{label} is unverified: {why}"))?;
    }
    let message = direct(mesh, order, key)?;
    let ack = accepted(deliver(mesh, &message).await?)?;
    Ok(Sent { label: label.to_owned(), spec: message.target_spec, ack, verified: doubt.is_none() })
}

async fn to_several(
    mesh: &Mesh,
    printer: Printer,
    order: &Order<'_>,
    to: Several<'_>,
    mut trusted: Trusted,
    peers: &[Peer],
) -> Result<Sent, CliError> {
    let mut members = recipients::first(to, &trusted, peers)?;
    let mut told = Vec::new();
    for _ in 0..ROUNDS {
        let doubtful = recipients::check(to, &trusted, &members)?;
        if doubtful != told && !doubtful.is_empty() {
            unverified(printer, order.strict, &format!("nobody vouches for {}", doubtful.join(", ")))?;
        }
        told = doubtful;
        let message = seal(mesh, order, |letter, session| {
            let km = Zeroizing::new(rand::random());
            letter.group(&to.spec(), &members, &km, session)
        })?;
        let mut ack = deliver(mesh, &message).await?;
        if ack.code == Some(SendFault::MembersChanged) {
            members = ack.members.take().unwrap_or_default();
            trusted = mesh.trusted().await?;
            continue;
        }
        let mut ack = accepted(ack)?;
        let old = to_old_clients(mesh, printer, order, &mut ack).await?;
        return Ok(Sent { label: to.spec(), spec: to.spec(), ack, verified: told.is_empty() && !old });
    }
    Err(CliError::failed(format!("the members of {} change all the time", text::line(&to.spec()))).hint("try again"))
}

/// Sends what an old client cannot open in a group as a direct message to its session; whether there was one.
async fn to_old_clients(mesh: &Mesh, printer: Printer, order: &Order<'_>, ack: &mut Ack) -> Result<bool, CliError> {
    let (old, others): (Vec<Skipped>, Vec<Skipped>) =
        std::mem::take(&mut ack.skipped).into_iter().partition(|skipped| skipped.reason == NO_E2E);
    ack.skipped = others;
    let any = !old.is_empty();
    for skipped in old {
        let shown = label(&skipped.name, &skipped.pubkey);
        if order.strict {
            printer.warning(&format!("{shown} is an old client's session, and was left out"));
            ack.skipped.push(skipped);
            continue;
        }
        printer.warning(&format!(
            "{shown} is an old client's session, for which nobody vouches: it got a copy of its own"
        ));
        let message = direct(mesh, order, skipped.pubkey)?;
        let answer = deliver(mesh, &message).await?;
        if answer.queued {
            ack.recipients = Some(ack.recipients.unwrap_or(0) + answer.recipients.unwrap_or(1));
        } else {
            ack.skipped.push(skipped);
        }
    }
    Ok(any)
}

fn unverified(printer: Printer, strict: bool, what: &str) -> Result<(), CliError> {
    if strict {
        return Err(CliError::refused(format!("nothing was sent: {what}"))
            .hint("an admin can vouch: claudemesh member attest NAME; or send without --strict"));
    }
    printer.warning(&format!("{what}; whoever runs the broker could read this"));
    Ok(())
}

fn direct(mesh: &Mesh, order: &Order<'_>, to: PublicKey) -> Result<Send, CliError> {
    seal(mesh, order, |letter, session| letter.direct(&to, session))
}

fn seal(
    mesh: &Mesh,
    order: &Order<'_>,
    how: impl FnOnce(Letter<'_>, &protocol::identity::SessionKey) -> Result<Send, SealError>,
) -> Result<Send, CliError> {
    let (id, nonce) = (uuid::Uuid::now_v7().to_string(), rand::random());
    let letter = Letter {
        mesh_id: mesh.id(),
        id: &id,
        ts: age::now_ms(),
        priority: order.priority,
        nonce: &nonce,
        text: order.text,
    };
    how(letter, &mesh.session).map_err(|error| CliError::failed(format!("the message cannot be sealed: {error}")))
}

/// Keeps the message, sends it, and forgets it when there is an answer.
async fn deliver(mesh: &Mesh, message: &Send) -> Result<Ack, CliError> {
    let id = message.id.clone().unwrap_or_default();
    if !mesh.file.update(|memory| memory.hold(message, age::now_ms()))? {
        return Err(CliError::failed("too many messages wait for the broker's answer already")
            .hint("claudemesh inbox sends them again once the broker is back"));
    }
    let answer = mesh.client.request(message, ANSWER_TIMEOUT).await;
    if is_settled(&answer) {
        mesh.file.update(|memory| memory.settle(&id))?;
    }
    answer.map_err(|error| {
        let kept = !is_settled(&Err::<Ack, _>(error.clone()));
        let error = CliError::from(error);
        if kept {
            error.hint("it is kept, and goes out again with the next send or inbox: do not repeat it")
        } else {
            error
        }
    })
}

/// Whether the answer is one: the broker may have taken the message without being able to say so.
fn is_settled(answer: &Result<Ack, ClientError>) -> bool {
    match answer {
        Ok(ack) => ack.code != Some(SendFault::NotStored),
        Err(ClientError::Lost(_) | ClientError::TimedOut { .. } | ClientError::Connect { .. }) => false,
        Err(_) => true,
    }
}

/// Sends again what was sent and not answered. A connection that breaks leaves the rest for the next time.
pub(crate) async fn resend(mesh: &Mesh, printer: Printer) -> Result<(), CliError> {
    for mut held in mesh.file.read()?.unanswered(age::now_ms()) {
        // The certificate that goes along is of now, and so must be what it vouches for.
        sign_again(&mut held.message, mesh.id(), age::now_ms(), &mesh.session)
            .map_err(|error| CliError::failed(error.to_string()))?;
        let answer = mesh.client.request(&held.message, ANSWER_TIMEOUT).await;
        if !is_settled(&answer) {
            return answer.map(drop).map_err(CliError::from);
        }
        mesh.file.update(|memory| memory.settle(held.message.id.as_deref().unwrap_or_default()))?;
        let refused = match answer {
            Ok(ack) => accepted(ack).err().map(|error| error.message),
            Err(error) => Some(error.to_string()),
        };
        if let Some(why) = refused {
            let (to, ago) = (text::line(&held.message.target_spec), age::since(age::now_ms(), held.at));
            printer.warning(&format!("a message to {to} of {ago} ago was not taken: {why}; it is dropped"));
        }
    }
    Ok(())
}

/// An answer that says yes, or why not.
fn accepted(ack: Ack) -> Result<Ack, CliError> {
    if ack.queued {
        return Ok(ack);
    }
    let (kind, why, hint) = ack.code.map_or((Kind::Failed, "the broker did not take it", ""), meaning);
    let message = ack.error.as_deref().map(text::line).filter(|error| !error.is_empty());
    let mut error = CliError::of_kind(kind, message.unwrap_or_else(|| why.to_owned()));
    error.code = ack.code.map(|code| code.as_str().to_owned());
    Err(if hint.is_empty() { error } else { error.hint(hint) })
}

const fn meaning(fault: SendFault) -> (Kind, &'static str, &'static str) {
    match fault {
        SendFault::BadTarget => (Kind::Usage, "this is no target", "a name, a key, @group or * is expected"),
        SendFault::BadMessage => {
            (Kind::Failed, "the broker cannot read the message", "compare versions: claudemesh version")
        }
        SendFault::UnknownPeer => (Kind::Failed, "nobody has this key", "claudemesh peers shows who is here"),
        SendFault::NoRecipients => {
            (Kind::Failed, "nobody but you is in it", "claudemesh peers shows who is in which group")
        }
        SendFault::Forbidden => (Kind::Refused, "the group is restricted, and you do not belong to it", "ask an admin"),
        SendFault::MembersChanged => (Kind::Failed, "its members have changed", "try again"),
        SendFault::IdReused => (Kind::Failed, "its id was used before", "try again"),
        SendFault::MailboxFull => (Kind::Refused, "the recipient's mailbox is full", "it has to be read first"),
        SendFault::QueueFull => (Kind::Refused, "too many messages wait in this mesh", "some have to be read first"),
        SendFault::Rate => (Kind::Refused, "you send faster than you may", "try again in a moment"),
        SendFault::TooLarge => (Kind::Refused, "it is larger than a mailbox takes", "send less"),
        SendFault::NotStored => (
            Kind::Failed,
            "the broker could not store it",
            "it is kept, and goes out again with the next send or inbox",
        ),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, reason = "tests")]
    use super::*;

    #[test]
    fn every_fault_has_a_meaning_and_a_hint() {
        for &fault in SendFault::ALL {
            let ack = Ack { queued: false, code: Some(fault), ..Ack::default() };
            let error = accepted(ack).unwrap_err();
            assert_eq!(error.code.as_deref(), Some(fault.as_str()));
            assert!(error.hint.is_some() && !error.message.is_empty(), "{fault}");
        }
    }

    #[test]
    fn the_brokers_own_words_come_first_and_clean() {
        let ack = Ack { error: Some("no\u{1b}[2J such\npeer".to_owned()), ..Ack::default() };
        assert_eq!(accepted(ack).unwrap_err().message, "no such peer");
    }
}
