//! An exchange that is under way is asked about again when the policy is replaced: one that the new policy stops is ended.
//!
//! The head as it came is kept while the exchange runs, so that it is parsed, decided and vetted as if it came now, by the same functions.
//! What is not kept is the body: where the verdict would depend on it, the exchange goes on.

use std::future::poll_fn;
use std::rc::Rc;
use std::task::Poll;

use crate::io::clock;
use crate::io::facts::{Fields, Parameters};
use crate::io::flow::Connection;
use crate::io::held;
use crate::io::judge::subject_host;
use crate::parse::framing::{self, Framing};
use crate::parse::head;
use crate::parse::target;
use crate::policy::{Look, Subject, Via};

/// The word for the outcome of an exchange that a new policy ended.
pub(crate) const CODE: &str = "policy_replaced";

impl Connection {
    /// Ends when a policy comes into force that stops what is under way; does not end otherwise.
    pub(crate) async fn recalled(&self) {
        self.recalled_unless(|| self.still_goes()).await;
    }

    /// The same, of something that is asked about in another way.
    pub(crate) async fn recalled_unless(&self, still_goes: impl Fn() -> bool) {
        let mut asked = self.worker.generation();
        poll_fn(|cx| {
            let now = self.worker.generation();
            if now != asked {
                asked = now;
                if !still_goes() {
                    return Poll::Ready(());
                }
            }
            self.entry.wakes(cx.waker());
            Poll::Pending
        })
        .await;
    }

    /// Whether the request that is under way would be admitted now, to the address that it went to.
    fn still_goes(&self) -> bool {
        // The head was parsed before, so that none of these fails.
        let Ok(head) = head::request(&self.asked) else { return false };
        let Ok(target) = target::canonical(&self.asks(&head)) else { return false };
        let Ok(framing) = framing::request(&head) else { return false };
        let Some((_, upstream)) = &self.upstream else { return true };
        let address = upstream.vetted.address();
        let paths: Vec<&str> = std::iter::once(&*target.path).chain(target.readings.iter()).collect();
        let parameters = Parameters(target.query.unwrap_or_default());
        let body = match framing {
            Framing::None | Framing::Length(0) => Look::Absent,
            _ if !held::is_readable(&head, framing) => Look::Unreadable,
            _ => Look::NotLooked,
        };
        let policy = self.worker.policy();
        let agent = Rc::clone(&self.arrival.agent);
        let subject = Subject {
            agent: &agent,
            scheme: self.arrival.scheme,
            host: subject_host(&target.host),
            port: target.port,
            address: Some(address.ip()),
            method: head.method,
            paths: &paths,
            headers: Look::At(&Fields(&head)),
            query: target.query.map_or(Look::Absent, |_| Look::At(&parameters)),
            body,
            time_ns: clock::wall(),
            ..Subject::EMPTY
        };
        let via = if policy.upstream(&subject.host, target.port).is_some() { Via::Upstream } else { Via::Resolved };
        policy.admits_still(&subject).is_none_or(|decision| {
            decision.admit().is_ok_and(|permit| permit.vet(&policy, address, via, &self.worker.own).is_ok())
        })
    }
}
