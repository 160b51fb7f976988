//! Peers that are only there: how soon they are, what they cost, and what a broker's death does to them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use ::tests::harness::{Member, Mesh};
use ::tests::measure::procfs;
use tokio::time::timeout;

use crate::crowd::Crowd;

/// From the kill until everyone is back.
const BACK: Duration = Duration::from_secs(60);
/// A crowd that heard nothing for so long has heard all there was,
const QUIET: Duration = Duration::from_millis(1_500);
/// and one that still hears something after this is not idle.
const NOISY: Duration = Duration::from_secs(30);
/// The width of the window in which the most hellos are counted.
const WINDOW: Duration = Duration::from_millis(100);

/// What came of it.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Idle {
    pub(crate) peers: usize,
    pub(crate) joined_ms: f64,
    /// Of the broker, for one peer.
    pub(crate) kib_each: f64,
    /// From the kill to the last hello that was answered.
    pub(crate) back_ms: f64,
    /// Hellos that were answered in the fullest window.
    pub(crate) most_in_window: usize,
    /// Processor time of the new broker until then.
    pub(crate) back_cpu_ms: f64,
}

/// Connects them to a broker that has just started, and kills it.
pub(crate) async fn measure(mesh: &mut Mesh, members: &[Arc<Member>], peers: usize) -> Result<Idle, String> {
    let memory = |mesh: &Mesh| procfs::rss_kib(mesh.broker_pid()).ok_or("the broker's memory may not be looked at");
    let before = memory(mesh)?;
    let (crowd, joined) = Crowd::enter(mesh.port(), members, peers, true).await?;
    quiet(&crowd).await?;
    let after = memory(mesh)?;

    crowd.board.state().joined.clear();
    let killed = Instant::now();
    mesh.kill_broker();
    mesh.launch_up();
    crowd.board.until("everyone to be back", BACK, |state| state.joined.len() >= peers).await?;
    let cpu = procfs::cpu(mesh.broker_pid())?;
    let mut back = std::mem::take(&mut crowd.board.state().joined);
    back.sort_unstable();
    mesh.look();
    Ok(Idle {
        peers,
        joined_ms: joined.as_secs_f64() * 1e3,
        kib_each: after.saturating_sub(before) as f64 / peers as f64,
        back_ms: back.last().map_or(0.0, |last| (*last - killed).as_secs_f64() * 1e3),
        most_in_window: fullest(&back),
        back_cpu_ms: cpu.as_secs_f64() * 1e3,
    })
}

/// Waits until nothing is said any more.
async fn quiet(crowd: &Crowd) -> Result<(), String> {
    let still = async {
        loop {
            let heard = crowd.board.state().heard;
            tokio::time::sleep(QUIET).await;
            if crowd.board.state().heard == heard {
                return;
            }
        }
    };
    timeout(NOISY, still).await.map_err(|_| format!("idle peers still hear something after {NOISY:?}"))
}

/// The most moments that lie within one window.
fn fullest(sorted: &[Instant]) -> usize {
    let mut first = 0;
    let mut most = 0;
    for (index, moment) in sorted.iter().enumerate() {
        while *moment - sorted[first] >= WINDOW {
            first += 1;
        }
        most = most.max(index + 1 - first);
    }
    most
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fullest_window_slides() {
        let start = Instant::now();
        let at = |ms: &[u64]| ms.iter().map(|ms| start + Duration::from_millis(*ms)).collect::<Vec<_>>();
        assert_eq!(fullest(&at(&[])), 0);
        assert_eq!(fullest(&at(&[0, 50, 99, 100, 149, 500])), 4);
    }
}
